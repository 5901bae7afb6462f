"""A folder that lies here or in an object store: what its files are, as one set of functions for both."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.store import remote
from components.store.remote import is_remote

Where = str | Path
"""A path on this machine, or a URL."""
CHUNK_BYTES = 16 * 2**20


def files_in(folder: Where) -> dict[str, int]:
    """Every file below `folder`, its name from there on, with its bytes."""
    if is_remote(str(folder)):
        return {name: version.num_bytes for name, version in remote.list_files(str(folder)).items()}
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        try:
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.stat().st_size
        except FileNotFoundError:  # removed meanwhile
            continue
    return found


def names_in(folder: Where) -> list[str]:
    """Of the files right in it; what begins with a dot is on its way, or a lock."""
    if is_remote(str(folder)):
        return [name for name in remote.list_files(str(folder)) if "/" not in name]
    return sorted(path.name for path in Path(folder).glob("[!.]*") if path.is_file())


def read_text(file: Where) -> str | None:
    """None where there is no such file."""
    if is_remote(str(file)):
        content = remote.read_bytes(str(file))
        return None if content is None else content.decode()
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def read_json(file: Where) -> Any:
    """The file's content, or None where there is no such file."""
    text = read_text(file)
    return None if text is None else json.loads(text)


def write_json(file: Where, value: Any) -> None:
    """Complete or not at all: here written beside, flushed to disk, renamed."""
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


def exists(file: Where) -> bool:
    return remote.version_of(str(file)) is not None if is_remote(str(file)) else Path(file).exists()


def remove_files(folder: Where, names: Iterable[str]) -> None:
    """Files that are not there are no error."""
    if is_remote(str(folder)):
        remote.remove(f"{folder}/{name}" for name in names)
        return
    for name in names:
        (Path(folder) / name).unlink(missing_ok=True)


def remove_folder(folder: Where) -> None:
    if is_remote(str(folder)):
        remove_files(folder, files_in(folder))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def digest_of_file(file: Where, num_bytes: int) -> str:
    """SHA-256 of a file of `num_bytes`."""
    if not is_remote(str(file)):
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    found = hashlib.sha256()
    for start in range(0, num_bytes, CHUNK_BYTES):
        found.update(remote.read_part(str(file), start, min(start + CHUNK_BYTES, num_bytes)))
    return found.hexdigest()
