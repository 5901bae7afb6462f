"""The connection to an object store: one fsspec file system for each store and process, with time limits for requests.

Settings are made here and nowhere else. `FSSPEC_S3`, fsspec's own variable, overrides them. Other stores than S3 have
the time limits of their own libraries.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import fsspec

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.login import use_own_login

S3_LIMITS: dict[str, Any] = {
    "connect_timeout": 20, "read_timeout": 20, "retries": {"mode": "standard", "max_attempts": 8},
    "max_pool_connections": 32,
}  # fmt: skip
"""For botocore, which retries single requests: one failed request must not restart an upload in parts or a long
listing."""
S3_SETTINGS: dict[str, Any] = {"use_listings_cache": False}
"""For s3fs. A listing that is kept hides what other machines wrote."""
NUM_THREADS = 16
"""Ranges of objects that a process reads at the same time."""


def check_address(url: str, field: str) -> None:
    """Raise BadInput for an address with a user or a password: it would stand in plans, records and logs."""
    if "@" in urlsplit(url).netloc:
        shown = f"{urlsplit(url).scheme}://***@{urlsplit(url).netloc.rpartition('@')[2]}{urlsplit(url).path}"
        raise BadInput(
            "credentials do not belong into an address", field=field, given=shown,
            allowed="the address alone; credentials in the environment, as the store's library reads them",
        )  # fmt: skip


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system behind a URL, and the path in it. Raise BadInput where no library knows the address."""
    try:
        if "::" in url:
            raise ValueError("a chain of file systems is not supported")
        parts = urlsplit(url)
        system = _system(f"{parts.scheme}://{parts.netloc}", os.getpid())
    except BadInput:
        raise
    except (ImportError, ValueError) as error:
        raise BadInput(f"the address cannot be used: {error}", given=url) from None
    return system, str(system._strip_protocol(url)).rstrip("/")


def reading_pool() -> ThreadPoolExecutor:
    """Return the threads of this process that read ahead."""
    return _pool(os.getpid())


def reset() -> None:
    """Forget all connections: the next request makes a new one, with the settings and the login of that moment."""
    _system.cache_clear()


# Both are kept for each process: neither connections nor threads survive a fork.


@cache
def _system(root: str, process: int) -> Any:
    """Return one file system for all threads: fsspec makes one for each, and an S3 client takes 0.1 s to make."""
    use_own_login()
    if not root.startswith("s3"):
        return fsspec.core.url_to_fs(root)[0]
    from switchpoint.components.store.s3_session import PatientSession

    given = fsspec.config.conf.get("s3", {})
    limits = S3_LIMITS | given.get("config_kwargs", {}) | {"http_session_cls": PatientSession}
    system = fsspec.core.url_to_fs(root, **(S3_SETTINGS | given | {"config_kwargs": limits}))[0]
    # Two attempts, not its own five: between botocore's eight and our six, five would take a dead store over an hour.
    # Not one: an outage uses up botocore's budget of retries, and a stream that is written has no others.
    system.retries = 2
    return system


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="store-read")
