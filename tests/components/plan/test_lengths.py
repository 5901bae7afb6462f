"""Phases and the positions of the model that they start from: nothing is longer than what the model reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import GPT2Config, LlamaConfig, MambaConfig, PretrainedConfig

from switchpoint.components.data.tokenizer import byte_level_bpe
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import load_study
from tests.components.plan.test_base_folders import SIZES, change_config, write_model
from tests.conftest import switchpoint, tiny_study

LEARNED = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=64, vocab_size=512)


def study_of(folder: Path, config: PretrainedConfig, **changes: Any) -> Path:
    """Write a recipe whose base is a folder with 64 positions, and whose own length is 32."""
    base = write_model(folder / "stored", config)
    byte_level_bpe(iter(["one and two and three"] * 4), 300).save(str(base / "tokenizer.json"))
    (base / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    study = tiny_study(folder) | {
        "model": {"folder": "stored"}, "tokenizer": {"folder": "stored"}, "start": "fresh",
        "schedule": {"max_learning_rate": 1e-3}, "arms": {"switched": {}},
    }  # fmt: skip
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return recipe


def long_phase(length: int) -> dict[str, Any]:
    last = {"blend": "mixed", "sequence_length": length, "batch_size": 2}
    return {"gb": None, "qb": None, "phases": {"gb": {"blend": "prose", "until": {"progress": 0.5}}, "long": last}}


def plan_of(recipe: Path) -> list[int]:
    study = {name: value for name, value in load_study(recipe).items() if value is not None}
    plan, _ = check_study(study, str(recipe), recipe.parent / "store")
    return [phase.sequence_length for phase in plan.arms[0].phases]


@pytest.mark.parametrize("config", [LlamaConfig(**SIZES), LEARNED], ids=["rotary", "learned"])
def test_a_phase_may_be_as_long_as_the_positions_and_not_longer(tmp_path: Path, config: PretrainedConfig) -> None:
    for name in ("fits", "long"):
        (tmp_path / name).mkdir()
    assert plan_of(study_of(tmp_path / "fits", config, **long_phase(64))) == [32, 64]
    with pytest.raises(BadInput, match="longer than the model's positions") as caught:
        plan_of(study_of(tmp_path / "long", config, **long_phase(65)))
    assert "phases.long.sequence_length" in str(caught.value)
    assert "given:   65 in phase long of switched" in str(caught.value)
    assert "at most 64" in str(caught.value)


def test_the_length_of_an_arm_is_checked(tmp_path: Path) -> None:
    arms = {"switched": {}, "longer": {"sequence_length": 128}}
    with pytest.raises(BadInput, match=r"arms\.longer: [^\n]*\n  given:   128 in phase gb of longer"):
        plan_of(study_of(tmp_path, LlamaConfig(**SIZES), arms=arms))


def test_a_state_space_reads_any_length(tmp_path: Path) -> None:
    config = MambaConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert plan_of(study_of(tmp_path, config, **long_phase(512))) == [32, 512]


def test_documents_are_masked_only_in_families_that_do_so(tmp_path: Path) -> None:
    for name in ("masks", "does-not"):
        (tmp_path / name).mkdir()
    assert plan_of(study_of(tmp_path / "masks", LEARNED, document_mask=True)) == [32, 32]
    config = MambaConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(BadInput, match=r"document_mask: [^\n]*\n  given:   model_type: mamba"):
        plan_of(study_of(tmp_path / "does-not", config, document_mask=True))


def test_the_command_refuses_a_folder_with_exit_code_2_and_writes_nothing(tmp_path: Path) -> None:
    recipe = study_of(tmp_path, LlamaConfig(**SIZES))
    change_config(tmp_path / "stored", num_hidden_layers=1)
    ended = switchpoint("plan", recipe, "--store", tmp_path / "store")
    assert ended.returncode == 2, ended.stderr
    assert f"{tmp_path / 'stored'}: model.folder: config.json describes a model without weights" in ended.stderr
    assert not (tmp_path / "store").exists()
