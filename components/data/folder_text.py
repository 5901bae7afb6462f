"""The files of a user's own folder."""

import os
from pathlib import Path

from switchpoint.components.recipe.errors import BadInput


def text_files(folder: Path, field: str) -> list[tuple[str, Path]]:
    """Return the files by their path inside the folder, in order; links are followed, names that begin with a dot left
    out.

    Raise BadInput if there are none, or if a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(f"the folder cannot be read: {error.strerror}", file=str(error.filename), field=field)

    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises where a parent is closed)
        raise BadInput(
            "no such folder",
            file=str(folder),
            field=field,
            allowed="a folder of text, JSON lines, CSV, Parquet or Arrow",
        )
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
        raise BadInput(
            "the folder holds no file", file=str(folder), field=field, allowed="text, JSON lines, CSV, Parquet or Arrow"
        )
    return sorted(found)
