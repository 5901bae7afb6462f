"""Samples of a source, read from its token files. L: sequence length; a sample has L + 1 tokens."""

from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.blend.streams import file_prefixes, packed_ends, packed_folder
from components.blend.token_file import read_token_file
from components.recipe.caps import samples_per_epoch
from components.recipe.phase import Packing

NO_TOKEN = -1
"""Fills a packed sample that is not full: nothing is learned there."""
MAX_OPEN_FILES = 256

Sample = npt.NDArray[np.int64]


class Samples(Protocol):
    """The samples of one source at one sequence length and packing."""

    num_samples: int

    def read(self, sample: int, out: Sample) -> None:
        """Copies the tokens of `sample` into `out`, shape (L + 1,)."""


def open_samples(path: Path, root: Path, sequence_length: int, packing: Packing) -> Samples:
    """Of the stream at `path`; token files that it names relatively lie under `root`."""
    kind = PackedSamples if packing == "best_fit" else ConcatenatedSamples
    return kind(path, root, sequence_length)


class ConcatenatedSamples:
    """Sample k: the tokens [k L, k L + L + 1) of the stream."""

    def __init__(self, path: Path, root: Path, sequence_length: int) -> None:
        self._prefixes, self._root, self._length = file_prefixes(path), root, sequence_length
        self._ends = np.load(path.with_name(path.name + ".ends.npy"), mmap_mode="r")
        self._tokens = lru_cache(maxsize=MAX_OPEN_FILES)(self._open)
        self._only = self._open(0) if len(self._ends) == 1 else None
        self.num_samples = samples_per_epoch(int(self._ends[-1]), sequence_length)

    def read(self, sample: int, out: Sample) -> None:
        self.read_tokens(sample * self._length, out)

    def read_tokens(self, start: int, out: Sample) -> None:
        """The tokens from `start` on, as many as `out` takes."""
        if self._only is not None:
            out[:] = self._only[start : start + len(out)]
            return
        file, done = bisect_right(self._ends, start), 0
        begin = start - int(self._ends[file - 1]) if file else start
        while done < len(out):
            part = self._tokens(file)[begin : begin + len(out) - done]
            out[done : done + len(part)] = part
            done, file, begin = done + len(part), file + 1, 0

    def _open(self, file: int) -> npt.NDArray[np.integer]:
        return read_token_file(self._root / self._prefixes[file].decode()).tokens


class PackedSamples:
    """Sample k: the k-th of those that the documents were packed into; what is not filled is NO_TOKEN."""

    def __init__(self, path: Path, root: Path, sequence_length: int) -> None:
        self._prefixes, self._path, self._root, self._length = file_prefixes(path), path, root, sequence_length
        self._ends = np.load(packed_ends(path, sequence_length), mmap_mode="r")
        self._file = lru_cache(maxsize=MAX_OPEN_FILES)(self._open)
        self.num_samples = int(self._ends[-1])

    def read(self, sample: int, out: Sample) -> None:
        file = bisect_right(self._ends, sample)
        tokens, segments, ends = self._file(file)
        number = sample - int(self._ends[file - 1]) if file else sample
        done = 0
        for start, length in segments[ends[number - 1] if number else 0 : ends[number]].tolist():
            out[done : done + length] = tokens[start : start + length]
            done += length
        out[done:] = NO_TOKEN

    def _open(self, file: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.void], npt.NDArray[np.int64]]:
        prefix = self._prefixes[file].decode()
        folder = packed_folder(self._path, self._root, prefix, self._length)
        return (
            read_token_file(self._root / prefix).tokens, np.load(folder / "segments.npy", mmap_mode="r"),
            np.load(folder / "ends.npy", mmap_mode="r"),
        )  # fmt: skip
