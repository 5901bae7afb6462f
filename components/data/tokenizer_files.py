"""The files of a tokenizer in a folder, which may hold a model and what a trainer left there as well."""

import shutil
from collections.abc import Iterator
from pathlib import Path

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tiktoken.model",
    "tekken.json", "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja",
)  # fmt: skip
"""Patterns of paths: what `save_pretrained` of transformers writes for a tokenizer, and the files it is converted
from."""


def tokenizer_files(folder: Path) -> Iterator[Path]:
    """Yield the files of the tokenizer in `folder`, in the order of their names."""
    yield from sorted(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file())


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer's files, and no others, into the folder `target`."""
    for path in tokenizer_files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
