"""The end-of-text id is the one that transformers finds, wherever the folder has it."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from switchpoint.components.data.tokenizer import byte_level_bpe, load_tokenizer
from switchpoint.components.recipe.errors import BadInput

FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
END = {"eos_token": "<|endoftext|>"}
DECODER = {"added_tokens_decoder": {"0": {"content": "<|endoftext|>", "special": True}}}


def folder(path: Path, config: dict[str, Any], special: dict[str, Any] | None = None, model_type: str = "") -> Path:
    """Write a tokenizer whose id 0 is <|endoftext|> and whose id 65 is the letter a."""
    path.mkdir()
    byte_level_bpe(iter(["one and two and three"] * 4), 300).save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    if special is not None:
        (path / "special_tokens_map.json").write_text(json.dumps(special))
    if model_type:
        (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    return path


@pytest.mark.parametrize(
    ("config", "special", "model_type", "expected"),
    [
        (FAST | END, None, "", 0),
        (FAST | {"eos_token": {"__type": "AddedToken", "content": "<|endoftext|>"}}, None, "", 0),
        (FAST, END, "", 0),
        (FAST | {"eos_token": "a"}, END, "", 0),
        (FAST | {"eos_token": "a"} | DECODER, END, "", 65),
        (FAST | END | DECODER, {"eos_token": "a"}, "", 0),
        ({"tokenizer_class": "GPT2Tokenizer"}, None, "", 0),
        ({"tokenizer_class": "Qwen2TokenizerFast"}, None, "", 0),
        ({}, None, "gpt2", 0),
    ],
    ids=["config", "config's mapping", "map", "map first", "decoder first", "decoder beside map", "gpt2's class",
         "qwen2's class", "model type"],
)  # fmt: skip
def test_the_end_of_text_is_where_transformers_finds_it(
    tmp_path: Path, config: dict[str, Any], special: dict[str, Any] | None, model_type: str, expected: int
) -> None:
    path = folder(tmp_path / "tokenizer", config, special, model_type)
    assert load_tokenizer(path)[1] == expected
    assert AutoTokenizer.from_pretrained(path).eos_token_id == expected


def test_a_tokenizer_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"names no end-of-document token\n  given:   eos_token: None"):
        load_tokenizer(folder(tmp_path / "none", FAST))
    with pytest.raises(BadInput, match=r"names no end-of-document token\n  given:   eos_token: <new>"):
        load_tokenizer(folder(tmp_path / "unknown", FAST | {"eos_token": "<new>"}))
