"""A document as it is read from a file, and what a reader of a format needs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from switchpoint.components.data.corpus import document_hash
from switchpoint.components.recipe.errors import BadInput

Refuse = Callable[[BadInput], None]
"""Called for every document that cannot be read: raises, or counts the document, which is then skipped."""


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    text_field: str = "text"
    metadata_fields: tuple[str, ...] = ()
    whole_row: bool = False
    """Whether the text of a row is that of all its fields."""
    max_document_bytes: int = 16 * 2**20
    """A longer document is refused, since memory is bounded."""


@dataclass(frozen=True, kw_only=True)
class CorpusDocument:
    name: str
    """The file's name, and the byte, line or row where the document begins."""
    text: str
    metadata: tuple[Any, ...] = ()

    @cached_property
    def hash(self) -> int:
        return document_hash(self.text)

    @cached_property
    def num_bytes(self) -> int:
        return len(self.text.encode())


def all_text(value: Any) -> str:
    """Return all texts inside a value, joined by spaces."""
    if isinstance(value, str):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return " ".join(filter(None, map(all_text, parts)))


def tell_bad_text(bad: Callable[..., None], text: Any, field: str, known: list[str]) -> None:
    """Call `bad` for a text field that is missing, empty or no text. `known`: the fields that the row has."""
    if text is None:
        bad("the text field is missing", field=field, given=", ".join(known), allowed=field)
    elif isinstance(text, str):
        bad("the text is empty", field=field)
    else:
        bad("the text field holds no text", field=field, given=repr(text)[:60])
