"""Samples of a source, read from its token files. L: sequence length; a sample has L + 1 tokens."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.document_index import document_index, is_users
from switchpoint.components.data.remote_tokens import RemoteTokens, Tokens, open_tokens
from switchpoint.components.data.streams import any_remote, fetch_packed_folder, file_prefixes, packed_ends
from switchpoint.components.recipe.caps import samples_per_epoch
from switchpoint.components.recipe.phase import Packing
from switchpoint.components.store.store import Store

NO_TOKEN = -1
"""Fills a packed sample that is not full: nothing is learned there."""
MAX_OPEN_FILES = 256

Sample = npt.NDArray[np.int64]


class Samples(Protocol):
    """The samples of one source at one sequence length and packing."""

    num_samples: int
    is_remote: bool
    """Whether some of it lies in an object store."""

    def read(self, sample: int, out: Sample) -> None:
        """Copy the tokens of `sample` into `out`, shape (L + 1,)."""

    def document_starts(self, sample: int) -> list[int]:
        """Return the places in `sample` at which documents of a user's file begin, by its index. In files that we
        write each document ends with a token that says so.
        """

    def prefetch(self, sample: int) -> None:
        """Begin to read a sample that will be needed, if it lies in an object store."""


def open_samples(path: Path, store: Store, sequence_length: int, packing: Packing) -> Samples:
    """Return the samples of the stream at `path`; token files that it names relatively lie in `store`."""
    kind = PackedSamples if packing == "best_fit" else ConcatenatedSamples
    return kind(path, store, sequence_length)


def _numbers(path: Path) -> "array[int]":
    """Return the numbers in a file, in 8 bytes each: an array that is fast to index."""
    return array("q", np.load(path).tobytes())


class ConcatenatedSamples:
    """The samples of a stream: sample k is the tokens [k L, k L + L + 1)."""

    def __init__(self, path: Path, store: Store, sequence_length: int) -> None:
        self._prefixes, self._store, self._length = file_prefixes(path), store, sequence_length
        self._ends = _numbers(path.with_name(path.name + ".ends.npy"))
        self._tokens = lru_cache(maxsize=MAX_OPEN_FILES)(self._open)
        self.is_remote = any_remote(self._prefixes, store)
        self.num_samples = samples_per_epoch(self._ends[-1], sequence_length)

    def read(self, sample: int, out: Sample) -> None:
        self.read_tokens(sample * self._length, out)

    def read_tokens(self, start: int, out: Sample) -> None:
        """Copy the tokens from `start` on, as many as `out` takes."""
        file = bisect_right(self._ends, start)
        begin = start - self._ends[file - 1] if file else start
        if start + len(out) <= self._ends[file]:
            out[:] = self._tokens(file)[begin : begin + len(out)]
            return
        done = 0
        for tokens, part in self._parts(start, len(out)):
            found = tokens[part]
            out[done : done + len(found)] = found
            done += len(found)

    def document_starts(self, sample: int) -> list[int]:
        found, done = [], 0
        for file, part in self._places(sample * self._length, self._length + 1):
            if is_users(self._prefixes[file].decode()):
                index = document_index(self._store.token_location(self._prefixes[file].decode()))
                found += (index.within(part.start, part.stop) - part.start + done).tolist()
            done += part.stop - part.start
        return found

    def prefetch(self, sample: int) -> None:
        for tokens, part in self._parts(sample * self._length, self._length + 1):
            if isinstance(tokens, RemoteTokens):
                tokens.prefetch(part)

    def _parts(self, start: int, length: int) -> Iterator[tuple[Tokens, slice]]:
        for file, part in self._places(start, length):
            yield self._tokens(file), part

    def _places(self, start: int, length: int) -> Iterator[tuple[int, slice]]:
        """Yield the files that hold the tokens [start, start + length), and the slices in them."""
        file = bisect_right(self._ends, start)
        begin, stop = self._ends[file - 1] if file else 0, start + length
        while begin < stop:
            end = self._ends[file]
            yield file, slice(max(start, begin) - begin, min(stop, end) - begin)
            file, begin = file + 1, end

    def _open(self, file: int) -> Tokens:
        return open_tokens(self._store.token_location(self._prefixes[file].decode()))


class PackedSamples:
    """The samples that the documents were packed into: sample k is the k-th; what is not filled is NO_TOKEN."""

    def __init__(self, path: Path, store: Store, sequence_length: int) -> None:
        self._prefixes, self._path, self._store, self._length = file_prefixes(path), path, store, sequence_length
        self._ends = _numbers(packed_ends(path, sequence_length))
        self._file = lru_cache(maxsize=MAX_OPEN_FILES)(self._open)
        self.is_remote = any_remote(self._prefixes, store)
        self.num_samples = self._ends[-1]

    def read(self, sample: int, out: Sample) -> None:
        done = 0
        for tokens, part in self._parts(sample):
            found = tokens[part]
            out[done : done + len(found)] = found
            done += len(found)
        out[done:] = NO_TOKEN

    def document_starts(self, sample: int) -> list[int]:
        file = bisect_right(self._ends, sample)
        if not is_users(self._prefixes[file].decode()):
            return []
        lengths = [part.stop - part.start for _, part in self._parts(sample)]
        return [0, *np.cumsum(lengths[:-1]).tolist()]

    def prefetch(self, sample: int) -> None:
        for tokens, part in self._parts(sample):
            if isinstance(tokens, RemoteTokens):
                tokens.prefetch(part)

    def _parts(self, sample: int) -> Iterator[tuple[Tokens, slice]]:
        file = bisect_right(self._ends, sample)
        tokens, segments, ends = self._file(file)
        number = sample - self._ends[file - 1] if file else sample
        for start, length in segments[ends[number - 1] if number else 0 : ends[number]].tolist():
            yield tokens, slice(start, start + length)

    def _open(self, file: int) -> tuple[Tokens, npt.NDArray[np.void], npt.NDArray[np.int64]]:
        prefix = self._prefixes[file].decode()
        folder = fetch_packed_folder(self._path, self._store, prefix, self._length)
        return (
            open_tokens(self._store.token_location(prefix)), np.load(folder / "segments.npy", mmap_mode="r"),
            np.load(folder / "ends.npy", mmap_mode="r"),
        )  # fmt: skip
