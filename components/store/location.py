"""Files of a folder on this machine or in an object store, with the same functions for both."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from switchpoint.components.store import remote
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.remote_file import RemoteFile

Location = str | Path
"""A path on this machine, or a URL."""


def files_in(folder: Location) -> dict[str, int]:
    """Return the size in bytes of every file below `folder`, by the name from there on."""
    if is_remote(str(folder)):
        return {name: version.num_bytes for name, version in remote.list_files(str(folder)).items()}
    sizes = {}
    for path in sorted(Path(folder).rglob("*")):
        try:
            if path.is_file():
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        except FileNotFoundError:  # removed meanwhile
            continue
    return sizes


def names_in(folder: Location) -> list[str]:
    """Return the names of the files directly in `folder`. Locks and unfinished files begin with a dot: not those."""
    if is_remote(str(folder)):
        return [name for name in remote.list_files(str(folder)) if "/" not in name]
    return sorted(path.name for path in Path(folder).glob("[!.]*") if path.is_file())


def read_text(file: Location) -> str | None:
    """Return the file's text; None where there is no such file."""
    if is_remote(str(file)):
        content = remote.read_bytes(str(file))
        return None if content is None else content.decode()
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def read_json(file: Location) -> Any:
    """Return the content of a JSON file; None where there is no such file."""
    text = read_text(file)
    return None if text is None else json.loads(text)


def write_json(file: Location, value: Any) -> None:
    """Write a JSON file, complete or not at all: on a disk it is written beside, flushed and renamed."""
    if is_remote(str(file)):
        remote.write_bytes(str(file), json.dumps(value, indent=1).encode())
        return
    path = Path(file)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as opened:
        json.dump(value, opened, indent=1)
        opened.flush()
        os.fsync(opened.fileno())
    beside.replace(path)


def exists(file: Location) -> bool:
    """Return whether a file exists; in an object store, whether there is an object of that name."""
    return remote.version_of(str(file)) is not None if is_remote(str(file)) else Path(file).exists()


def remove_files(folder: Location, names: Iterable[str]) -> None:
    """Remove files. One that does not exist is no error."""
    if is_remote(str(folder)):
        remote.remove(f"{folder}/{name}" for name in names)
        return
    for name in names:
        (Path(folder) / name).unlink(missing_ok=True)


def remove_folder(folder: Location) -> None:
    """Remove a folder with all its files. One that does not exist is no error."""
    if is_remote(str(folder)):
        remove_files(folder, files_in(folder))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def digest_of_file(file: Location) -> str:
    """Return the SHA-256 of a file."""
    with RemoteFile(str(file)) if is_remote(str(file)) else Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
