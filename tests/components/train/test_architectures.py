"""The table of architectures in docs/training.md: a tiny model of each, through `plan`'s checks and the trainer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from switchpoint.components.plan.base_config import MASKING
from switchpoint.components.plan.base_folders import checked_folder
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.data import document_positions
from switchpoint.components.train.loss import summed_losses
from switchpoint.components.train.model import build_model
from switchpoint.components.train.optimizer import build_optimizer, set_learning_rate
from switchpoint.components.train.weights import export, full_state
from tests.components.train.test_families import ALONE, folder_job

DOCS = Path(__file__).parents[3] / "docs" / "training.md"
VOCAB, LENGTH = 96, 64
IDS: Mapping[str, Any] = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
WIDE: Mapping[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
USUAL: Mapping[str, Any] = WIDE | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": LENGTH}
GPT: Mapping[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "opt": WIDE | {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": LENGTH},
    "gpt2": GPT, "gpt_bigcode": GPT, "gptj": GPT | {"rotary_dim": 4}, "codegen": GPT | {"rotary_dim": 4},
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": LENGTH,
        "attention_types": [[["global", "local"], 1]],
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": LENGTH},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "gemma3": {"text_config": dict(USUAL) | {"vocab_size": VOCAB}, "vision_config": WIDE | {"image_size": 28}},
    "mixtral": USUAL | {"num_local_experts": 4},
    "qwen2_moe": USUAL | {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_moe": USUAL | {"num_experts": 4, "moe_intermediate_size": 16},
    "olmoe": USUAL | {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": USUAL | {
        "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    },
    "gpt_oss": USUAL | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "falcon": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": LENGTH,
    },
    "bert": WIDE | {"max_position_embeddings": LENGTH},
}  # fmt: skip
"""The sizes of families that do not call them as most do."""


def small_config(kind: str) -> Any:
    return AutoConfig.for_model(kind, **(IDS if kind != "gemma3" else {}), **SIZES.get(kind, USUAL))


def documented() -> dict[str, str]:
    """Return what the table says of each `model_type`."""
    section = DOCS.read_text(encoding="utf-8").split("| `model_type` | |", 1)[1]
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", section.split("\n\n", 1)[0], re.MULTILINE)
    return {kind: said for kinds, said in rows for kind in re.findall(r"`(\w+)`", kinds)}


def tokens(seed: int) -> torch.Tensor:
    return torch.randint(1, VOCAB, (2, 33), generator=torch.Generator().manual_seed(seed))


def train_one_step(model: Any) -> None:
    """Raise AssertionError where a weight gets no gradient, or a gradient that is not finite."""
    loss, _ = summed_losses(model, tokens(1), [0, 0], None)
    (loss / 64).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    optimizer = build_optimizer(model, Optimizer())
    set_learning_rate(optimizer, 1e-3)
    optimizer.step()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=tokens(2), use_cache=False).logits
    return found


def keeps_documents_apart(model: Any) -> bool:
    """Return whether the logits of a second document are the same whatever the first one holds."""
    one = tokens(3)
    one[:, 10] = 0
    other = one.clone()
    other[:, :10] = (one[:, :10] + 5) % (VOCAB - 1) + 1
    with torch.no_grad():
        first, second = (
            model(input_ids=ids, position_ids=document_positions(ids, 0), use_cache=False).logits[:, 11:]
            for ids in (one, other)
        )
    return torch.equal(first, second)


def outcome(kind: str, prepared: Planned, folder: Path) -> str:
    """Return `trained`, or the reason for which `plan` refuses a tiny random model of the family.

    What is trained has the logits of transformers' own model, before the step and, exported, after it.
    """
    torch.manual_seed(0)
    try:
        original = AutoModelForCausalLM.from_config(small_config(kind), dtype=torch.float32)
        original.save_pretrained(folder / "stored")
    except ValueError:  # no causal model of this family
        small_config(kind).save_pretrained(folder / "stored")
    try:
        checked_folder(str(folder / "stored"), "")
    except BadInput as error:
        return f"refused: {error.problem}"
    finally:
        checked_folder.cache_clear()
    model = build_model(folder_job(prepared, folder / "run", folder / "stored"), ALONE)
    torch.testing.assert_close(logits(model), logits(original))
    is_masking = keeps_documents_apart(model)
    assert is_masking == (kind in MASKING)
    train_one_step(model.train())
    trained = logits(model)
    assert not torch.allclose(trained, logits(original))
    export(model, full_state(model), folder / "out", prepared.store.local_folder(prepared.plan.tokenizer))
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(folder / "out")), trained)
    return "trained" if is_masking else "trained, without `document_mask`"


DOCUMENTED = documented()


def test_the_table_has_what_is_known_to_mask_documents() -> None:
    assert {kind for kind, said in DOCUMENTED.items() if said == "trained"} == set(MASKING)


@pytest.mark.parametrize("kind", sorted(DOCUMENTED))
def test_the_table_says_what_becomes_of_each_architecture(kind: str, prepared: Planned, tmp_path: Path) -> None:
    assert outcome(kind, prepared, tmp_path) == DOCUMENTED[kind]
