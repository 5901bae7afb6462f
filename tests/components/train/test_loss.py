"""The loss and its gradients: transformers' own, whole or chunked, in one piece or in micro-batches."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from switchpoint.components.data.samples import NO_TOKEN
from switchpoint.components.train import loss as loss_module
from switchpoint.components.train.loss import install_loss, summed_losses

VOCAB = 384
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "nemotron"]


def small_model(kind: str, **changes: object) -> PreTrainedModel:
    config = AutoConfig.for_model(
        kind, vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, pad_token_id=None, bos_token_id=0,
        eos_token_id=0, **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.train()


def samples(number: int = 6, length: int = 16) -> torch.Tensor:
    return torch.randint(1, VOCAB, (number, length + 1), generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(
    kind: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "CHUNKED_VOCAB_SIZE", 1 if chunked else 10**9)
    model, tokens = small_model(kind), samples()
    tokens[1, 10:] = tokens[4, 3:] = NO_TOKEN
    inputs, labels = tokens[:, :-1].clamp(min=0), tokens[:, 1:].contiguous()
    expected = model(input_ids=inputs, labels=inputs, shift_labels=labels, ignore_index=NO_TOKEN, use_cache=False).loss
    expected.backward()
    wanted = gradients(model)
    model.zero_grad()
    install_loss(model)
    total, by_source = summed_losses(model, tokens, [2, 0, 0, 2, 3, 0], None)
    num_labels = (labels != NO_TOKEN).sum()
    (total / num_labels).backward()
    assert float(total.detach() / num_labels) == pytest.approx(float(expected.detach()), rel=1e-5)
    found = gradients(model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert by_source.shape == (4,)
    assert float(by_source[1]) == 0
    assert float(by_source.sum()) == pytest.approx(float(total.detach()), rel=1e-5)


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_each_source_has_the_loss_of_its_own_samples(chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNKED_VOCAB_SIZE", 1 if chunked else 10**9)
    model, tokens = small_model("llama"), samples()
    install_loss(model)
    _, together = summed_losses(model, tokens, [1, 0, 1, 0, 0, 1], None)
    for source, rows in ((0, [1, 3, 4]), (1, [0, 2, 5])):
        alone, _ = summed_losses(model, tokens[rows], [0, 0, 0], None)
        assert float(alone.detach()) == pytest.approx(float(together[source]), rel=1e-5)


def test_capped_logits_take_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a matrix product know nothing of the cap: the loss would be another one."""
    monkeypatch.setattr(loss_module, "CHUNKED_VOCAB_SIZE", 1)
    used: list[str] = []
    original = nn.functional.linear_cross_entropy
    monkeypatch.setattr(
        nn.functional, "linear_cross_entropy", lambda *a, **k: (used.append("chunked"), original(*a, **k))[1]
    )
    for kind, expected in (("llama", ["chunked"]), ("gemma2", [])):
        used.clear()
        model = small_model(kind)
        install_loss(model)
        summed_losses(model, samples(), [0] * 6, None)
        assert used == expected
