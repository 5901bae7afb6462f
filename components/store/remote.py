"""The object-store client: every operation on objects, by URL, through fsspec.

Connections and time limits are made in `connection.py`, retries in `retries.py`. All functions may be called by several
threads. Where nothing else is said they raise PermissionError for a refused login and StoreUnavailable for a store that
does not answer.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec

from switchpoint.components.store.connection import file_system
from switchpoint.components.store.remote_file import BLOCK_BYTES, RemoteFile
from switchpoint.components.store.retries import retried

CHECKSUMS = ("ETag", "etag", "md5Hash", "checksum")
TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
"""The names by which object stores tell the time of an object's last change."""
NUM_THREADS = 8
"""The number of objects that are sent, fetched or removed at the same time."""
BLOCKS_AHEAD = 4
"""The blocks of an object that are read ahead in a download: as many connections to S3 at once."""

Item = TypeVar("Item")


class Version(NamedTuple):
    """What is known of an object without reading it."""

    num_bytes: int
    checksum: str
    """Changes with the content. Empty where the store has none."""
    changed: str
    """When the object was written, in the store's own words. Empty where the store does not say it."""
    modified: int
    """The same in seconds since 1970; 0 where the store does not say it, or in words of its own."""


def is_remote(where: str) -> bool:
    return "://" in where


def read_bytes(url: str) -> bytes | None:
    """Return the object's content; None where there is no such object."""
    system, path = file_system(url)
    # s3fs would ask for the size first; what is read as a whole is small.
    one = {"max_concurrency": 1} if url.startswith("s3") else {}
    try:
        return retried(url, lambda: bytes(system.cat_file(path, **one)))
    except FileNotFoundError:
        return None


def read_range(url: str, start: int, end: int) -> bytes:
    """Return the bytes [start, end) of an object, all of them. Raise FileNotFoundError."""
    system, path = file_system(url)

    def read() -> bytes:
        found = bytes(system.cat_file(path, start=start, end=end))
        if len(found) != end - start:
            raise OSError(f"{len(found):,} bytes came for [{start:,}, {end:,})")
        return found

    return retried(url, read)


def write_bytes(url: str, content: bytes) -> None:
    system, path = file_system(url)
    retried(url, lambda: system.pipe_file(path, content), is_write=True)


def version_of(url: str) -> Version | None:
    """Return the version of an object; None where there is no such object."""
    system, path = file_system(url)
    try:
        info = retried(url, lambda: system.info(path))
    except FileNotFoundError:
        return None
    return None if info["type"] == "directory" else _version(info)


def _version(info: dict[str, Any]) -> Version:
    time = next((info[name] for name in TIMES if info.get(name)), "")
    checksum = next((str(info[name]) for name in CHECKSUMS if info.get(name)), "")
    modified = int(time.timestamp()) if isinstance(time, datetime) else int(time) if isinstance(time, float) else 0
    return Version(int(info["size"]), checksum, str(time), modified)


def check_bucket(url: str) -> None:
    """Raise FileNotFoundError where the bucket of `url` does not exist."""
    system, path = file_system(url)
    bucket = path.partition("/")[0]
    retried(url, lambda: system.info(bucket))


def list_files(url: str) -> dict[str, Version]:
    """Return the version of every object below `url`, by its name from there on, in order of the names."""
    system, root = file_system(url)
    try:
        found = retried(url, lambda: system.find(root, detail=True))
    except FileNotFoundError:
        return {}
    names = {path[len(root) + 1 :]: info for path, info in found.items() if path.startswith(f"{root}/")}
    return {name: _version(info) for name, info in sorted(names.items()) if name and not name.endswith("/")}


def is_same(file: Path, version: Version) -> bool:
    """Return whether `file` was downloaded from, or uploaded to, an object of that version."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return False
    return stat.st_size == version.num_bytes and int(stat.st_mtime) == version.modified


def remove(urls: Iterable[str]) -> None:
    """Remove objects. One that does not exist is no error."""

    def remove_one(url: str) -> None:
        system, path = file_system(url)
        try:
            retried(url, lambda: system.rm_file(path))
        except FileNotFoundError:
            return

    _all(remove_one, urls)


def copy(from_url: str, to_url: str) -> None:
    """Copy an object within a store, which does it by itself. Raise FileNotFoundError."""
    (system, path), (_, to) = file_system(from_url), file_system(to_url)
    retried(from_url, lambda: system.cp_file(path, to))


class _Parts(fsspec.Callback):
    """fsspec's own kind of observer, told of every part that was sent."""

    def __init__(self, sent: Callable[[], None]) -> None:
        super().__init__()
        self._told = sent

    def relative_update(self, inc: int = 1) -> None:
        self._told()


def upload(file: Path, url: str, sent: Callable[[], None] = lambda: None) -> None:
    """Upload a file as a whole: an object exists once all of it is there, and its size is compared.

    `sent` is called after every part.
    """
    system, path = file_system(url)
    size = file.stat().st_size

    def put() -> Version:
        system.put_file(str(file), path, callback=_Parts(sent))
        there = _version(system.info(path))
        if there.num_bytes != size:
            raise OSError(f"the object has {there.num_bytes:,} bytes, not {size:,}")
        return there

    _take_time(file, retried(url, put, is_write=True))


def download(url: str, file: Path) -> None:
    """Download an object as a whole, into a file beside that is then renamed. Raise FileNotFoundError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with (
            RemoteFile(url, num_ahead=BLOCKS_AHEAD, num_kept=BLOCKS_AHEAD + 2) as source,
            beside.open("wb") as target,
        ):
            while block := source.read(BLOCK_BYTES):
                target.write(block)
        _take_time(beside, _version(source.info))
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _take_time(file: Path, version: Version) -> None:
    """Give the file the object's own time, by which `is_same` knows it: no clock of this machine comes into it."""
    if version.modified:
        os.utime(file, (version.modified, version.modified))


def upload_all(files: Iterable[tuple[Path, str]], sent: Callable[[], None] = lambda: None) -> None:
    _all(lambda pair: upload(*pair, sent), files)


def download_all(files: Iterable[tuple[str, Path]]) -> None:
    _all(lambda pair: download(*pair), files)


def _all(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `function` for all items, some at a time. Raise the first error."""
    listed = list(items)
    if len(listed) < 2:
        for item in listed:
            function(item)
        return
    with ThreadPoolExecutor(min(NUM_THREADS, len(listed)), thread_name_prefix="store") as pool:
        list(pool.map(function, listed))
