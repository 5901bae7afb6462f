"""Folders of small tokenizers that differ in what surrounds a text, and in how their files are read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, byte_level_bpe

TEXTS = [f"Function number {number} adds 1{number} to what it's given,\n\nand  returns it." for number in range(40)]


def write_tokenizer(
    folder: Path, *, before: Sequence[str] = (), after: Sequence[str] = (), tokenizer: Tokenizer | None = None,
    **config: Any,
) -> Tokenizer:  # fmt: skip
    """Write the files of a tokenizer, byte-level BPE if none is given, and return it.

    `before`, `after`: the control tokens that it puts around a text; `config`: fields of tokenizer_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or byte_level_bpe(iter(TEXTS * 3), 500)
    around = [*before, *after]
    tokenizer.add_special_tokens(around)
    if around:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([*before, "$A", *after]),
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys(around)],
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"eos_token": END_OF_DOCUMENT} | ({"bos_token": before[0]} if before else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(named | config))
    return tokenizer
