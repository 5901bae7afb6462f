"""Models whose configuration names a token for padding: nothing is padded, so its row is trained as every other one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig, PretrainedConfig

from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.loss import summed_losses
from switchpoint.components.train.model import build_model
from switchpoint.components.train.weights import export, full_state
from tests.components.train.test_families import ALONE, folder_job

VOCAB, END_OF_TEXT = 64, 5
SPECIAL = [END_OF_TEXT, 1, VOCAB - 1]
LLAMA: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIGS = {
    "llama": lambda **ids: LlamaConfig(**LLAMA, vocab_size=VOCAB, tie_word_embeddings=False, **ids),
    "opt": lambda **ids: OPTConfig(
        hidden_size=16, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=VOCAB,
        word_embed_proj_dim=16, max_position_embeddings=64, dropout=0.0, tie_word_embeddings=False, **ids,
    ),
    "gpt2": lambda **ids: GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=VOCAB, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, **ids
    ),
}  # fmt: skip


def stored(folder: Path, config: PretrainedConfig) -> Path:
    """Write the same random weights whatever the configuration names as padding."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return folder


def row_gradients(prepared: Planned, run: Path, folder: Path) -> torch.Tensor:
    """Return the gradient of the token embedding, on samples that hold every row under test."""
    model = build_model(folder_job(prepared, run, folder), ALONE)
    tokens = torch.randint(VOCAB, (3, 17), generator=torch.Generator().manual_seed(1))
    tokens[:, [4, 6, 8]] = torch.tensor(SPECIAL)
    loss, _ = summed_losses(model, tokens, [0, 0, 0], None)
    loss.backward()
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    gradient = embedding.weight.grad
    assert gradient is not None
    return gradient


@pytest.mark.parametrize("pad", [END_OF_TEXT, 1, -1], ids=["end of text", "begin of text", "last row"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_row_of_the_padding_token_has_its_gradient(prepared: Planned, tmp_path: Path, kind: str, pad: int) -> None:
    if kind == "gpt2" and pad < 0:
        pytest.skip("transformers makes no row of it")
    ids = {"bos_token_id": 1, "eos_token_id": END_OF_TEXT}
    plain = stored(tmp_path / "plain", CONFIGS[kind](**ids, pad_token_id=None))
    padded = stored(tmp_path / "padded", CONFIGS[kind](**ids, pad_token_id=pad))
    assert json.loads((padded / "config.json").read_text())["pad_token_id"] == pad
    expected = row_gradients(prepared, tmp_path / "one", plain)
    found = row_gradients(prepared, tmp_path / "two", padded)
    assert expected[SPECIAL].abs().amax(dim=1).min() > 0
    assert torch.equal(found, expected)


def test_the_exported_configuration_is_the_users(prepared: Planned, tmp_path: Path) -> None:
    config = CONFIGS["llama"](bos_token_id=1, eos_token_id=END_OF_TEXT, pad_token_id=END_OF_TEXT)
    model = build_model(folder_job(prepared, tmp_path / "run", stored(tmp_path / "stored", config)), ALONE)
    export(model, full_state(model), tmp_path / "out", prepared.store.local_folder(prepared.plan.tokenizer))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pad_token_id"] == END_OF_TEXT
