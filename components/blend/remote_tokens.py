"""Token files in an object store: ranged reads of what a sample needs, ahead of time, with a bounded cache."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_random_exponential

from components.blend.corpus import is_remote
from components.blend.token_file import HEAD_BYTES, check_size, index_head, read_index, read_token_file
from components.recipe.errors import BadInput
from components.store.remote import file_system

CACHE_BYTES = 256 * 2**20
NUM_THREADS = 16
ATTEMPTS = 6


class RangeCache:
    """Byte ranges of remote files: each is read once, by one of several threads; the oldest are forgotten."""

    def __init__(self, num_bytes: int = CACHE_BYTES) -> None:
        self._room, self._lock = num_bytes, Lock()
        self._ranges: OrderedDict[tuple[str, int, int], Future[bytes]] = OrderedDict()
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="tokens")

    def begin(self, url: str, start: int, end: int) -> "Future[bytes]":
        """The bytes [start, end) of `url`, being read or read already."""
        key = (url, start, end)
        with self._lock:
            found = self._ranges.get(key)
            if found is not None and not (found.done() and found.exception()):
                self._ranges.move_to_end(key)
                return found
            if found is None:
                self._room -= end - start
            found = self._ranges[key] = self._pool.submit(read_range, url, start, end)
            while self._room < 0 and len(self._ranges) > 1:
                (_, old_start, old_end), _ = self._ranges.popitem(last=False)
                self._room += old_end - old_start
            return found


@cache
def shared_cache() -> RangeCache:
    """One for all files of the process."""
    return RangeCache()


@cache
def _system(url: str) -> tuple[Any, str]:
    return file_system(url)


def _retried(function: Callable[[], Any]) -> Any:
    """What a store refuses for a moment is asked for again; what is not there is not."""
    for attempt in Retrying(
        stop=stop_after_attempt(ATTEMPTS), wait=wait_random_exponential(0.2, max=20),
        retry=retry_if_not_exception_type((FileNotFoundError, PermissionError)), reraise=True,
    ):  # fmt: skip
        with attempt:
            return function()


def read_range(url: str, start: int, end: int) -> bytes:
    system, path = _system(url)

    def read() -> bytes:
        found: bytes = system.cat_file(path, start=start, end=end)
        if len(found) != end - start:
            raise OSError(f"{url}: {len(found)} bytes came for [{start}, {end})")
        return found

    whole: bytes = _retried(read)
    return whole


def size_of(url: str) -> int:
    """Raises BadInput where there is no such file."""
    system, path = _system(url)
    try:
        return int(_retried(lambda: system.info(path))["size"])
    except (OSError, ImportError) as error:
        raise BadInput(f"the file cannot be read: {error}", file=url) from None


def read_remote_index(prefix: str) -> "tuple[np.dtype[np.integer], npt.NDArray[np.int32]]":
    """As `read_index`; the lengths are read into memory. Raises BadInput."""
    url = f"{prefix}.idx"
    num_bytes = size_of(url)
    dtype, num_sequences = index_head(read_range(url, 0, min(HEAD_BYTES, num_bytes)), num_bytes, url)
    raw = read_range(url, HEAD_BYTES, HEAD_BYTES + 4 * num_sequences) if num_sequences else b""
    return dtype, np.frombuffer(raw, dtype="<i4")


def read_any_index(prefix: str) -> "tuple[np.dtype[np.integer], npt.NDArray[np.int32]]":
    """As `read_index`, here or in an object store."""
    return read_remote_index(prefix) if is_remote(prefix) else read_index(Path(prefix))


class RemoteTokens:
    """The tokens of PREFIX.bin as an array that only takes slices."""

    def __init__(self, prefix: str) -> None:
        """Raises BadInput where the two files are not of the format or do not fit together."""
        self.url = f"{prefix}.bin"
        self.dtype, lengths = read_remote_index(prefix)
        self._num_tokens = check_size(self.dtype, lengths, size_of(self.url), self.url)

    def __len__(self) -> int:
        return self._num_tokens

    def __getitem__(self, part: slice) -> npt.NDArray[np.integer]:
        read = self._begin(part)
        return np.frombuffer(read.result(), dtype=self.dtype) if read else np.empty(0, dtype=self.dtype)

    def prefetch(self, part: slice) -> None:
        """Begins to read what will be asked for."""
        self._begin(part)

    def _begin(self, part: slice) -> "Future[bytes] | None":
        start, stop, step = part.indices(self._num_tokens)
        assert step == 1, part
        size = self.dtype.itemsize
        return shared_cache().begin(self.url, start * size, stop * size) if stop > start else None


Tokens = npt.NDArray[np.integer] | RemoteTokens


def open_tokens(prefix: str) -> Tokens:
    """Of a token file on this machine, or in an object store. Raises BadInput."""
    return RemoteTokens(prefix) if is_remote(prefix) else read_token_file(Path(prefix)).tokens
