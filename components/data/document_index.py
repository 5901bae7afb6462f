"""Where documents begin in a token file, by its index: tokens made elsewhere need not end documents with a token.

An index lists sequences (their lengths, then the byte at which each begins) and of which sequence on each document is.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.remote_tokens import read_any_index
from switchpoint.components.data.token_file import HEAD_BYTES, beside
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import remote
from switchpoint.components.store.remote import is_remote

Positions = npt.NDArray[np.int64]


def is_users(prefix: str) -> bool:
    """Return whether a token file is the user's: documents in those that we write end with a token."""
    return is_remote(prefix) or Path(prefix).is_absolute()


class DocumentIndex:
    """The beginnings of a file's documents, mapped from the disk: looked up without reading all of them."""

    def __init__(self, prefix: str) -> None:
        """Raise BadInput for an index whose parts do not fit together."""
        dtype, self._lengths = read_any_index(prefix)
        self._num_bytes = dtype.itemsize
        num_sequences = len(self._lengths)
        self._begins = _numbers(prefix, HEAD_BYTES + 4 * num_sequences, num_sequences)
        self._documents = _numbers(prefix, HEAD_BYTES + 12 * num_sequences, None)
        self._listed = int(self._documents[-1]) if len(self._documents) else 0
        """The sequences before this one are of the documents that are listed; each after them is one of its own, as
        Megatron reads them."""
        ends = int(self._begins[-1]) + int(self._lengths[-1]) * self._num_bytes if num_sequences else 0
        fits = ends == int(self._lengths.sum(dtype=np.int64)) * self._num_bytes and self._listed <= num_sequences
        if not fits or (self._listed and int(self._documents[0])):
            raise BadInput(
                "the index says that documents begin where its sequences do not", file=f"{prefix}.idx",
                allowed="an index as Megatron's tools write it",
            )  # fmt: skip

    def within(self, start: int, stop: int) -> Positions:
        """Return the documents that begin at the tokens [start, stop), by their first tokens."""
        bounds = np.array([start, stop], dtype=np.int64) * self._num_bytes
        first, last = np.searchsorted(self._begins, bounds).tolist()
        return self._starts(first, last)

    def lengths(self) -> Positions:
        """Return the number of tokens of every document."""
        starts = self._starts(0, len(self._begins))
        return np.diff(starts, append=int(self._lengths.sum(dtype=np.int64)))

    def _starts(self, first: int, last: int) -> Positions:
        """Return the first tokens of the documents that begin with one of the sequences [first, last)."""
        low, high = np.searchsorted(self._documents, [first, last]).tolist()
        sequences = np.asarray(self._documents[low:high])
        sequences = np.concatenate([sequences[sequences < self._listed], np.arange(max(first, self._listed), last)])
        return np.asarray(self._begins)[sequences] // self._num_bytes


@lru_cache(maxsize=256)
def document_index(prefix: str) -> DocumentIndex:
    return DocumentIndex(prefix)


def _numbers(prefix: str, offset: int, count: int | None) -> Positions:
    """Return 64-bit numbers of PREFIX.idx from byte `offset` on; None: to its end."""
    url, path = f"{prefix}.idx", beside(Path(prefix), ".idx")
    if is_remote(prefix):
        version = remote.version_of(url)
        assert version is not None, url  # its lengths were read
        end = version.num_bytes if count is None else offset + 8 * count
        end -= (end - offset) % 8
        return np.frombuffer(remote.read_range(url, offset, end) if end > offset else b"", dtype="<i8")
    count = (path.stat().st_size - offset) // 8 if count is None else count
    if not count:
        return np.empty(0, dtype=np.int64)
    return np.memmap(path, dtype="<i8", mode="r", offset=offset, shape=(count,))
