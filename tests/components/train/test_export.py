"""What an exported or copied folder holds: a model and its tokenizer, whole, and nothing that lay beside them."""

import json
from pathlib import Path

import pytest

from switchpoint.components.data.tokenizer_files import copy_tokenizer
from switchpoint.components.recipe.transform import Copy
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.checkpoint import model_path
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.transform.copy import copy_model
from tests.components.train.test_families import folder_job
from tests.components.train.test_loss import small_model
from tests.tokenizer_folders import write_tokenizer

TOKENIZER = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "additional_chat_templates/tools.jinja",
}  # fmt: skip
MODEL = {"config.json", "generation_config.json", "model.safetensors"}
LEFT_BEHIND = (
    "optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin", "adapter_config.json",
    "adapter_model.safetensors", "adapter_model.bin", "pytorch_model.bin.index.json", "rng_state.pth", "README.md",
    "eval_results.json", "all_results.json", "requirements.txt", "modeling_own.py", "record.json",
)  # fmt: skip
GENERATION = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "eos_token_id": [0, 7]}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A model's folder as a trainer leaves it, with all files that a tokenizer may have."""
    folder = tmp_path / "stored"
    model = small_model("llama")
    model.resize_token_embeddings(512)  # as many as the study's tokenizer has ids
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    write_tokenizer(folder)
    (folder / "additional_chat_templates").mkdir()
    for name in TOKENIZER - {"tokenizer.json", "tokenizer_config.json"}:
        (folder / name).write_text(f"content of {name}")
    for name in LEFT_BEHIND:
        (folder / name).write_text("left behind")
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_trained_model_is_exported_with_its_base_s_settings_and_the_whole_tokenizer(
    prepared: Planned, tmp_path: Path, stored: Path
) -> None:
    one = folder_job(prepared, tmp_path / "run", stored)
    one = one.model_copy(update={"tokenizer": str(stored), "end_step": 1, "keep_steps": [1], "export_steps": [1]})
    assert Trainer(one, 0, 1).run() == FINISHED
    exported = model_path(tmp_path / "run", 1)
    assert names(exported) == MODEL | TOKENIZER
    assert json.loads((exported / "generation_config.json").read_text()) == GENERATION
    for name in TOKENIZER:
        assert (exported / name).read_bytes() == (stored / name).read_bytes()


def test_a_model_from_scratch_has_settings_of_its_own(prepared: Planned, tmp_path: Path) -> None:
    one = folder_job(prepared, tmp_path / "run", tmp_path)
    scratch = {"start": "scratch", "start_model": "", "model_config_folder": "", "end_step": 1, "keep_steps": [1]}
    assert Trainer(one.model_copy(update=scratch | {"export_steps": [1]}), 0, 1).run() == FINISHED
    exported = model_path(tmp_path / "run", 1)
    assert names(exported) == MODEL | {"tokenizer.json", "tokenizer_config.json"}
    assert json.loads((exported / "generation_config.json").read_text())["eos_token_id"] == one.end_of_document


def test_a_copied_model_holds_the_same_and_no_more(tmp_path: Path, stored: Path) -> None:
    copy_model(Copy(kind="copy"), stored, tmp_path / "copied")
    assert names(tmp_path / "copied") == MODEL | TOKENIZER
    for name in (MODEL | TOKENIZER) - {"model.safetensors"}:
        assert (tmp_path / "copied" / name).read_bytes() == (stored / name).read_bytes()


def test_a_tokenizer_is_copied_from_among_other_files(tmp_path: Path, stored: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    copy_tokenizer(stored, tmp_path / "tokenizer")
    assert names(tmp_path / "tokenizer") == TOKENIZER
