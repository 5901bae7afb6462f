"""An object store by URL, through fsspec: every request has a time limit, and is repeated where that may help."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fsspec
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from components.recipe.errors import BadInput
from components.store.login import use_own_login

ATTEMPTS = 6
"""Of a whole operation, each of whose requests the store's own library has repeated already."""
S3_DEFAULTS: dict[str, Any] = {
    "config_kwargs": {
        "connect_timeout": 20, "read_timeout": 20, "retries": {"mode": "standard", "max_attempts": 8},
        "max_pool_connections": 32,
    },
    "use_listings_cache": False,
}  # fmt: skip
"""For whatever FSSPEC_S3 (fsspec's own variable) does not say. A listing that is kept hides what others wrote."""
HOPELESS = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "UnknownEndpointError")
"""Errors of the library that no repetition mends."""
CHECKSUMS = ("ETag", "etag", "md5Hash")
TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
NUM_THREADS = 8

Result = TypeVar("Result")
Item = TypeVar("Item")


class Version(NamedTuple):
    """What is known of an object without reading it."""

    num_bytes: int
    checksum: str
    """Changes with the content. Empty where the store tells none."""
    modified: int
    """When, in seconds; 0 where the store does not tell."""


def is_remote(where: str) -> bool:
    return "://" in where


def check_address(url: str, field: str = "--store") -> None:
    """Raises BadInput for an address with a user or a password: it would stand in plans, records and logs."""
    if "@" in urlsplit(url).netloc:
        shown = f"{urlsplit(url).scheme}://***@{urlsplit(url).netloc.rpartition('@')[2]}{urlsplit(url).path}"
        raise BadInput(
            "credentials do not belong into an address", field=field, given=shown,
            allowed="the address alone; credentials in the environment, as the store's library reads them",
        )  # fmt: skip


def system_of(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it. Raises BadInput where there is no such thing."""
    check_address(url)
    try:
        return file_system(url)
    except BadInput:
        raise
    except (ImportError, ValueError) as error:
        raise BadInput(f"the address cannot be used: {error}", field="--store", given=url) from None


def file_system(url: str) -> tuple[Any, str]:
    """The same for any address: with time limits, and without listings that are kept."""
    parts = urlsplit(url)
    system = _system(f"{parts.scheme}://{parts.netloc}")
    return system, str(system._strip_protocol(url)).rstrip("/")


@cache
def _system(root: str) -> Any:
    """One for all threads: fsspec makes one for each, and a client of S3 takes a tenth of a second to make."""
    use_own_login()
    if root.startswith("s3"):
        from components.store.s3_session import PatientSession

        given = fsspec.config.conf.get("s3", {})
        limits = S3_DEFAULTS["config_kwargs"] | given.get("config_kwargs", {})
        patient = {"config_kwargs": limits | {"http_session_cls": PatientSession}}
        fsspec.config.conf["s3"] = S3_DEFAULTS | given | patient
    return fsspec.core.url_to_fs(root)[0]


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, (PermissionError, BadInput, ImportError, TypeError, ValueError)):
        return False
    return isinstance(error, Exception) and type(error).__name__ not in HOPELESS


def _may_pass_reading(error: BaseException) -> bool:
    return _may_pass(error) and not isinstance(error, FileNotFoundError)


def _retried(function: Callable[[], Result], may_pass: Callable[[BaseException], bool]) -> Result:
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(ATTEMPTS), wait=wait_random_exponential(0.2, max=20),
            retry=retry_if_exception(may_pass), reraise=True,
        ):  # fmt: skip
            with attempt:
                found = function()
    except Exception as error:
        if isinstance(error, OSError) or not may_pass(error):
            raise
        # The library's own kinds (a time limit, a connection) are for everybody else: the store does not answer.
        raise OSError(f"{type(error).__name__}: {error}") from error
    return found


def reading(function: Callable[[], Result]) -> Result:
    """What is not there is not asked for again."""
    return _retried(function, _may_pass_reading)


def writing(function: Callable[[], Result]) -> Result:
    """Whole and again, also after `not found`: so a store answers to the end of an upload that it has ended before,
    when its answer was lost.
    """
    return _retried(function, _may_pass)


def read_bytes(url: str) -> bytes | None:
    """The object's content; None where there is no such object."""
    system, path = system_of(url)
    # Not its size first: what is read as a whole is small.
    one = {"max_concurrency": 1} if url.startswith("s3") else {}
    try:
        return bytes(reading(lambda: system.cat_file(path, **one)))
    except FileNotFoundError:
        return None


def read_part(url: str, start: int, end: int) -> bytes:
    system, path = system_of(url)

    def read() -> bytes:
        found = bytes(system.cat_file(path, start=start, end=end))
        if len(found) != end - start:
            raise OSError(f"{url}: {len(found)} bytes came for [{start}, {end})")
        return found

    return reading(read)


def write_bytes(url: str, content: bytes) -> None:
    system, path = system_of(url)
    writing(lambda: system.pipe_file(path, content))


def version_of(url: str) -> Version | None:
    """None where there is no such object."""
    system, path = system_of(url)
    try:
        info = reading(lambda: system.info(path))
    except FileNotFoundError:
        return None
    return None if info["type"] == "directory" else _version(info)


def _version(info: dict[str, Any]) -> Version:
    time = next((info[name] for name in TIMES if info.get(name)), None)
    checksum = next((str(info[name]) for name in CHECKSUMS if info.get(name)), "")
    modified = int(time.timestamp()) if isinstance(time, datetime) else int(time) if isinstance(time, float) else 0
    return Version(int(info["size"]), checksum or str(time or ""), modified)


def list_files(url: str) -> dict[str, Version]:
    """Every object below `url`, by its name from there on."""
    system, root = system_of(url)
    try:
        found = reading(lambda: system.find(root, detail=True))
    except FileNotFoundError:
        return {}
    names = {path[len(root) + 1 :]: info for path, info in found.items() if path.startswith(f"{root}/")}
    return {name: _version(info) for name, info in sorted(names.items()) if name and not name.endswith("/")}


def is_same(file: Path, version: Version) -> bool:
    """Whether `file` was brought from, or to, an object of that version."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return False
    return stat.st_size == version.num_bytes and int(stat.st_mtime) == version.modified


def remove(urls: Iterable[str]) -> None:
    """Objects that are not there are no error."""

    def remove_one(url: str) -> None:
        system, path = system_of(url)
        try:
            reading(lambda: system.rm_file(path))
        except FileNotFoundError:
            return

    _all(remove_one, urls)


def copy(from_url: str, to_url: str) -> None:
    """Within a store, without coming here."""
    (system, path), (_, to) = system_of(from_url), system_of(to_url)
    reading(lambda: system.cp_file(path, to))


class _Parts(fsspec.Callback):
    """fsspec's own kind of observer: of every part that was sent."""

    def __init__(self, sent: Callable[[], None]) -> None:
        super().__init__()
        self._told = sent

    def relative_update(self, inc: int = 1) -> None:
        self._told()


def upload(file: Path, url: str, sent: Callable[[], None] = lambda: None) -> None:
    """Complete, or an error: an object is there when all of it is, and its size is looked at. `sent`: a part was."""
    system, path = system_of(url)
    size = file.stat().st_size

    def put() -> Version:
        system.put_file(str(file), path, callback=_Parts(sent))
        there = _version(system.info(path))
        if there.num_bytes != size:
            raise OSError(f"{url} has {there.num_bytes:,} bytes, not {size:,}")
        return there

    _take_time(file, writing(put))


def download(url: str, file: Path) -> None:
    """Complete, or not there: into a file beside, then renamed. Raises FileNotFoundError."""
    system, path = system_of(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")

    def get() -> Version:
        version = _version(system.info(path))
        beside.unlink(missing_ok=True)
        system.get_file(path, str(beside))
        if (here := beside.stat().st_size) != version.num_bytes:
            raise OSError(f"{url}: {here:,} of {version.num_bytes:,} bytes came")
        return version

    try:
        _take_time(beside, reading(get))
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _take_time(file: Path, version: Version) -> None:
    """The object's own, by which `is_same` knows it; no clock of this machine comes into it."""
    if version.modified:
        os.utime(file, (version.modified, version.modified))


def upload_all(files: Iterable[tuple[Path, str]], sent: Callable[[], None] = lambda: None) -> None:
    _all(lambda pair: upload(*pair, sent), files)


def download_all(files: Iterable[tuple[str, Path]]) -> None:
    _all(lambda pair: download(*pair), files)


def _all(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Some at a time. Raises the first error."""
    listed = list(items)
    if len(listed) < 2:
        for item in listed:
            function(item)
        return
    with ThreadPoolExecutor(min(NUM_THREADS, len(listed)), thread_name_prefix="store") as pool:
        list(pool.map(function, listed))
