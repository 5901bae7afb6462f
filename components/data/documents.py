"""Documents: pieces of text that belong to one unit (a module, a topic, a file), never split between sides."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Document:
    unit: str
    """What it was made from: all documents of one unit fall on one side of the split."""
    part: str
    text: str
    question: str = ""
    answer: str = ""
    passages: tuple[str, ...] = ()
    """The passages that must not stand on both sides of the split, if they are less than the whole text."""


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, unit and text first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            fields = {name: value for name, value in asdict(document).items() if value and name != "passages"}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def read_documents(path: Path) -> Iterator[Document]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Document(**json.loads(line))
