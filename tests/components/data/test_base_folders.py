"""Bases from folders: what is read of each, and refused with its field."""

import json
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data.corpus import FileDigests
from switchpoint.components.data.origins import Inputs, folder_digest, read_inputs
from switchpoint.components.data.tokenizer import byte_level_bpe
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import absolute_folders, parse_recipe


def folder(path: Path, text: str, **config: Any) -> Path:
    """Write a model's folder whose tokenizer knows the words of `text`."""
    path.mkdir()
    byte_level_bpe(iter([text] * 4), 300).save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    (path / "config.json").write_text(json.dumps({"vocab_size": 512} | config))
    (path / "model.safetensors").write_bytes(f"weights of {path.name}".encode())
    return path


@pytest.fixture
def folders(study: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A study with a base from a folder beside its own."""
    folder(tmp_path / "theirs", "one and two and three")
    study |= {
        "tokenizer": {"folder": "theirs"}, "bases": {"theirs": {"folder": "theirs"}}, "start": "fresh",
        "schedule": {"max_learning_rate": 1e-3}, "arms": {"one": {"base": "theirs"}},
    }  # fmt: skip
    absolute_folders(study, tmp_path)
    return study


def read(study: dict[str, Any]) -> Inputs:
    return read_inputs(parse_recipe(study, "recipe.yaml"), FileDigests())


def test_a_folder_of_a_base_is_read_from_beside_the_recipe(folders: dict[str, Any], tmp_path: Path) -> None:
    path = str(tmp_path / "theirs")
    assert folders["bases"]["theirs"]["folder"] == path
    assert read(folders).digests[path] == folder_digest(tmp_path / "theirs")


def test_a_base_may_store_the_same_tokenizer_otherwise(folders: dict[str, Any], tmp_path: Path) -> None:
    other = folder(tmp_path / "other", "one and two and three")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    folders["bases"]["theirs"]["folder"] = str(other)
    assert str(other) in read(folders).digests


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        ("four or five or six", {}, r"bases\.theirs\.folder: the model has another tokenizer than the study"),
        ("one and two and three", {"vocab_size": 8}, r"ids beyond the model's vocabulary"),
        ("one and two and three", {"max_position_embeddings": 8}, r"longer than the model's positions"),
        ("one and two and three", {"vocab_size": "x"}, r"bases\.theirs\.folder: not a model's configuration"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    folders: dict[str, Any], tmp_path: Path, text: str, config: dict[str, Any], message: str
) -> None:
    folders["bases"]["theirs"]["folder"] = str(folder(tmp_path / "other", text, **config))
    with pytest.raises(BadInput, match=message):
        read(folders)


def test_a_base_without_weights_is_refused_by_its_field(folders: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "theirs" / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"bases\.theirs\.folder: the folder has no weights"):
        read(folders)


@pytest.mark.parametrize("name", ["model.gguf", "pytorch_model.bin"])
def test_weights_of_another_format_are_named_with_the_way_to_convert_them(
    folders: dict[str, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "theirs" / "model.safetensors").rename(tmp_path / "theirs" / name)
    with pytest.raises(BadInput, match=rf"no weights that are read\n  given:   {name}\n  allowed: safetensors"):
        read(folders)
