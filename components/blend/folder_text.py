"""A user's own folder of UTF-8 text files, each file one document."""

import os
from collections.abc import Iterator
from pathlib import Path

from components.blend.documents import Document
from components.recipe.errors import BadInput


def text_files(folder: Path, field: str) -> list[tuple[str, Path]]:
    """The files by their path inside the folder, in order; links are followed, names that begin with a dot left out.

    Raises BadInput where there are none, or where a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(f"the folder cannot be read: {error.strerror}", file=str(error.filename), field=field)

    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises where a parent is closed)
        raise BadInput("no such folder", file=str(folder), field=field, allowed="a folder of UTF-8 text files")
    found, entered = [], set()
    for place, inside, files in os.walk(folder, onerror=refuse, followlinks=True):
        entered.add(os.path.realpath(place))
        inside[:] = sorted(
            name
            for name in inside
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in entered  # noqa: PTH118
        )
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [(str(path.relative_to(folder)), path) for path in paths]
    if not found:
        raise BadInput("the folder holds no file", file=str(folder), field=field, allowed="UTF-8 text files")
    return sorted(found)


def read_text(path: Path, field: str) -> str:
    """The file's text. Raises BadInput naming the file and the place where it is not UTF-8."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise BadInput(f"the file cannot be read: {error.strerror}", file=str(path), field=field) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInput(
            "not UTF-8", file=str(path), field=field,
            given=f"byte 0x{raw[error.start]:02x} at offset {error.start} (line {line})",
            allowed="text in UTF-8; convert the file, for example with iconv",
        ) from None  # fmt: skip
    if not text.strip():
        raise BadInput("the file is empty", file=str(path), field=field, allowed="text; or remove the file")
    return text


def folder_documents(folder: Path, field: str) -> Iterator[Document]:
    for name, path in text_files(folder, field):
        yield Document(unit=name, part="text", text=read_text(path, field))
