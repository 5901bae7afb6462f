"""Opens a store by its folder or its URL."""

import hashlib
import os
from functools import cache
from pathlib import Path

from components.recipe.errors import BadInput
from components.store import remote
from components.store.place import Where
from components.store.remote import is_remote
from components.store.store import Store

CACHE_VARIABLE = "SWITCHPOINT_CACHE"
"""The folder in which this machine's copies of object stores lie."""
STORE_VARIABLE = "SWITCHPOINT_STORE"
DEFAULT_STORE = ".switchpoint"
MARK = "switchpoint-store"
"""An empty object that shows that the store can be written."""


def default_store() -> str:
    """Where outputs are kept by a run that names no store: the site's on a cluster, a folder here."""
    return os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def store_at(where: Where) -> Store:
    """The store as it is; nothing is made. Raises BadInput for an address that cannot be used."""
    text = str(where)
    if not is_remote(text):
        return Store(Path(where).resolve())
    return _remote_store(text.rstrip("/"), os.environ.get(CACHE_VARIABLE, ""))


@cache
def _remote_store(url: str, cache_folder: str) -> Store:
    """One for each URL, so that what is known of it is known in the whole process."""
    remote.system_of(url)
    copies = Path(cache_folder) if cache_folder else Path("~/.cache/switchpoint").expanduser()
    return Store(copies.absolute() / hashlib.sha256(url.encode()).hexdigest()[:16], url)


def open_store(where: Where) -> Store:
    """The store, made if missing. Raises BadInput where it cannot be written."""
    check_writable(where)
    store = store_at(where)
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


def check_writable(where: Where) -> None:
    """Raises BadInput where a store could not be written (an object store: not be read); writes nothing."""
    if is_remote(str(where)):
        _check_readable(store_at(where))
        return
    root = Path(where)
    existing = root
    while not os.path.lexists(existing):
        existing = existing.parent
    # Path.is_dir raises where a parent is closed.
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):  # noqa: PTH112
        raise BadInput("the store cannot be written", file=str(root), field="--store", allowed="a folder of yours")
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise BadInput("the store lies on a read-only file system", file=str(root), field="--store")


def _check_readable(store: Store) -> None:
    system, path = remote.system_of(store.url)
    bucket = path.partition("/")[0]
    try:
        remote.reading(lambda: system.info(bucket))
    except FileNotFoundError:
        raise BadInput("there is no such bucket", file=store.url, field="--store", given=bucket) from None
    except Exception as error:  # each object store has errors of its own
        raise _refused(store.url, "read", error) from None


def _refused(url: str, what: str, error: BaseException) -> BadInput:
    return BadInput(
        f"the store cannot be {what}: {type(error).__name__}: {error}", file=url, field="--store",
        allowed="an object store that answers, and credentials for it in the environment",
    )  # fmt: skip
