"""Token files in an object store: the ranges that samples need, read ahead of time into a bounded cache."""

import os
from collections import OrderedDict
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.token_file import HEAD_BYTES, check_size, index_head, read_index, read_token_file
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import remote
from switchpoint.components.store.connection import reading_pool
from switchpoint.components.store.remote import is_remote

CACHE_BYTES = 256 * 2**20


class RangeCache:
    """Byte ranges of objects: each is read once, by one of several threads; the oldest are dropped."""

    def __init__(self, num_bytes: int = CACHE_BYTES) -> None:
        self._room, self._lock = num_bytes, Lock()
        self._ranges: OrderedDict[tuple[str, int, int], Future[bytes]] = OrderedDict()

    def begin(self, url: str, start: int, end: int) -> "Future[bytes]":
        """Return the bytes [start, end) of `url`; start to read them unless that was done before."""
        key = (url, start, end)
        with self._lock:
            found = self._ranges.get(key)
            if found is not None and not (found.done() and found.exception()):
                self._ranges.move_to_end(key)
                return found
            if found is None:
                self._room -= end - start
            found = self._ranges[key] = reading_pool().submit(remote.read_range, url, start, end)
            while self._room < 0 and len(self._ranges) > 1:
                (_, old_start, old_end), _ = self._ranges.popitem(last=False)
                self._room += old_end - old_start
            return found


def shared_cache() -> RangeCache:
    """Return the cache for all files of this process. A forked process has its own: no read survives a fork."""
    return _cache(os.getpid())


@cache
def _cache(process: int) -> RangeCache:
    return RangeCache()


def size_of(url: str) -> int:
    """Return the size of an object in bytes. Raise BadInput where it is missing or may not be read."""
    try:
        version = remote.version_of(url)
    except PermissionError as error:
        raise BadInput(f"the file cannot be read: {error}", file=url) from None
    if version is None:
        raise BadInput("the file cannot be read: the object store has no such object", file=url)
    return version.num_bytes


def read_remote_index(prefix: str) -> "tuple[np.dtype[np.integer], npt.NDArray[np.int32]]":
    """Return what `read_index` returns, the lengths in memory. Raise BadInput for a file that is not an index."""
    url = f"{prefix}.idx"
    num_bytes = size_of(url)
    dtype, num_sequences = index_head(remote.read_range(url, 0, min(HEAD_BYTES, num_bytes)), num_bytes, url)
    raw = remote.read_range(url, HEAD_BYTES, HEAD_BYTES + 4 * num_sequences) if num_sequences else b""
    return dtype, np.frombuffer(raw, dtype="<i4")


def read_any_index(prefix: str) -> "tuple[np.dtype[np.integer], npt.NDArray[np.int32]]":
    """Return what `read_index` returns, for an index on this machine or in an object store."""
    return read_remote_index(prefix) if is_remote(prefix) else read_index(Path(prefix))


class RemoteTokens:
    """The tokens of PREFIX.bin, as an array that takes slices only."""

    def __init__(self, prefix: str) -> None:
        """Raise BadInput where the two files are missing, not of the format, or do not fit together."""
        self.url = f"{prefix}.bin"
        self.dtype, lengths = read_remote_index(prefix)
        self._num_tokens = check_size(self.dtype, lengths, size_of(self.url), self.url)

    def __len__(self) -> int:
        return self._num_tokens

    def __getitem__(self, part: slice) -> npt.NDArray[np.integer]:
        read = self._begin(part)
        return np.frombuffer(read.result(), dtype=self.dtype) if read else np.empty(0, dtype=self.dtype)

    def prefetch(self, part: slice) -> None:
        """Begin to read a part that will be needed."""
        self._begin(part)

    def _begin(self, part: slice) -> "Future[bytes] | None":
        start, stop, step = part.indices(self._num_tokens)
        assert step == 1, part
        size = self.dtype.itemsize
        return shared_cache().begin(self.url, start * size, stop * size) if stop > start else None


Tokens = npt.NDArray[np.integer] | RemoteTokens


def open_tokens(prefix: str) -> Tokens:
    """Return the tokens of a file on this machine or in an object store. Raise BadInput for one that is not whole."""
    return RemoteTokens(prefix) if is_remote(prefix) else read_token_file(Path(prefix)).tokens
