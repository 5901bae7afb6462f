"""A store, opened by its folder or its URL."""

import hashlib
import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import remote
from switchpoint.components.store.connection import check_address, file_system
from switchpoint.components.store.location import Location
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.store import Store

CACHE_VARIABLE = "SWITCHPOINT_CACHE"
"""The folder in which this machine's copies of object stores lie."""
STORE_VARIABLE = "SWITCHPOINT_STORE"
DEFAULT_STORE = ".switchpoint"
MARK = "switchpoint-store"
"""An empty object that shows that the store can be written."""


def default_store() -> str:
    """Return the store of a run that names none: the site's on a cluster, a folder on this machine elsewhere."""
    return os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def store_at(location: Location) -> Store:
    """Return the store as it is, without making anything. Raise BadInput for an address that cannot be used."""
    text = str(location)
    if not is_remote(text):
        return Store(Path(location).resolve())
    return _remote_store(text.rstrip("/"), os.environ.get(CACHE_VARIABLE, ""))


@cache
def _remote_store(url: str, cache_folder: str) -> Store:
    """Return one store for each URL, so that the whole process shares what it knows of it."""
    check_address(url, "--store")
    try:
        file_system(url)
    except BadInput as error:
        raise error.at(error.file, error.field or "--store") from None
    copies = Path(cache_folder) if cache_folder else Path("~/.cache/switchpoint").expanduser()
    return Store(copies.absolute() / hashlib.sha256(url.encode()).hexdigest()[:16], url)


def open_store(location: Location) -> Store:
    """Return the store, made where it is missing. Raise BadInput where it cannot be written."""
    check_writable(location)
    store = store_at(location)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = "this machine's copy of the store" if store.url else "the store"
        raise BadInput(f"{problem} cannot be made: {error.strerror}", file=str(store.root), field="--store") from None
    if store.url:
        try:
            remote.write_bytes(f"{store.url}/{MARK}", b"")
        except Exception as error:  # each object store has errors of its own
            raise _refused(store.url, "written", error) from None
    return store


def check_writable(location: Location) -> None:
    """Raise BadInput where a store could not be written, or an object store not be read. Nothing is written."""
    if is_remote(str(location)):
        _check_readable(store_at(location))
        return
    root = Path(location)
    existing = root
    while not os.path.lexists(existing):
        existing = existing.parent
    # Path.is_dir raises where a parent is closed.
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):  # noqa: PTH112
        raise BadInput("the store cannot be written", file=str(root), field="--store", allowed="a folder of yours")
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise BadInput("the store lies on a read-only file system", file=str(root), field="--store")


def _check_readable(store: Store) -> None:
    try:
        remote.check_bucket(store.url)
    except FileNotFoundError:
        raise BadInput(
            "there is no such bucket", file=store.url, field="--store", given=urlsplit(store.url).netloc,
            allowed="a bucket that exists: make it, or correct the address",
        ) from None  # fmt: skip
    except Exception as error:  # each object store has errors of its own
        raise _refused(store.url, "read", error) from None


def _refused(url: str, what: str, error: BaseException) -> BadInput:
    return BadInput(
        f"the store cannot be {what}: {type(error).__name__}: {error}", file=url, field="--store",
        allowed="an object store that answers, and credentials for it in the environment",
    )  # fmt: skip
