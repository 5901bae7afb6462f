"""Megatron's own order of samples, for runs that must see what a Megatron run saw.

It is what megatron-core's GPTDataset and BlendedDataset do: the documents of all epochs (but a short last one) are
shuffled, the stream of them is cut into samples, samples are shuffled; of a blend's sources the one that is furthest
behind its weight comes next. Unlike the keyed order it needs memory for every document and sample, and depends on how
many samples are asked for, so runs of different lengths share nothing.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.remote_tokens import open_tokens, read_any_index
from switchpoint.components.data.samples import Sample
from switchpoint.components.data.streams import any_remote, file_prefixes
from switchpoint.components.store.store import Store

SURPLUS = 0.005
"""The share of samples that each source is asked for beyond its own (Megatron's `mid_level_dataset_surplus`)."""
LAST_EPOCH = 0.8
"""A last epoch of which less than this share is needed is shuffled by itself."""

Indices = npt.NDArray[np.int64]


class MegatronBlend:
    """Which source each sample of a phase comes from."""

    def __init__(self, weights: Mapping[str, Fraction], num_samples: int) -> None:
        """Count the samples of each source. Sources are in order of their names, as ties are decided by it."""
        self.names = tuple(sorted(weights))
        shares = np.array([float(weights[name]) for name in self.names])
        shares = shares / shares.sum()
        drawn = np.zeros(len(shares))
        self._sources = np.empty(num_samples, dtype=np.int16)
        self._ordinals = np.empty(num_samples, dtype=np.int64)
        for sample in range(num_samples):
            source = int(np.argmax(shares * max(sample, 1) - drawn))
            self._sources[sample], self._ordinals[sample] = source, drawn[source]
            drawn[source] += 1
        self.requested = {
            name: math.ceil(math.ceil(num_samples * share) * (1 + SURPLUS))
            for name, share in zip(self.names, shares.tolist(), strict=True)
        }

    def addresses(self, samples: Indices) -> tuple[Indices, Indices]:
        """Return (source, sample of the source) of each of the phase's `samples`, shape (N,)."""
        return self._sources[samples].astype(np.int64), self._ordinals[samples]


class MegatronSamples:
    """A source's samples in Megatron's order: as many as the blend needs."""

    def __init__(self, path: Path, store: Store, sequence_length: int, requested: int, seed: int) -> None:
        prefixes = [store.token_location(prefix.decode()) for prefix in file_prefixes(path)]
        self._tokens = [open_tokens(prefix) for prefix in prefixes]
        lengths = [np.asarray(read_any_index(prefix)[1]) for prefix in prefixes]
        self.is_remote, self._length = any_remote(file_prefixes(path), store), sequence_length
        self._file = np.repeat(np.arange(len(lengths)), [len(one) for one in lengths])
        self._begin = np.concatenate([np.cumsum(one, dtype=np.int64) - one for one in lengths])
        whole = np.concatenate(lengths).astype(np.int64)
        per_epoch, epochs = int(whole.sum()), 1
        while epochs * per_epoch < requested * sequence_length + 1:
            epochs += 1
        before_last = ((epochs - 1) * per_epoch - 1) // sequence_length
        last = requested - before_last
        apart = epochs > 1 and last < int(LAST_EPOCH * ((per_epoch - 1) // sequence_length))
        random = np.random.RandomState(seed)
        self._documents = _documents(len(whole), epochs, apart, random)
        self._ends = np.cumsum(whole[self._documents])
        self.num_samples = (epochs * per_epoch - 1) // sequence_length
        self._shuffled = _shuffled(before_last if apart else self.num_samples, self.num_samples, random)

    def read(self, sample: int, out: Sample) -> None:
        done = 0
        for file, part in self._parts(sample):
            found = self._tokens[file][part]
            out[done : done + len(found)] = found
            done += len(found)

    def document_starts(self, sample: int) -> list[int]:
        """Return where the parts begin: Megatron takes every sequence of an index for a document."""
        lengths = [part.stop - part.start for _, part in self._parts(sample)]
        return np.cumsum(lengths[:-1]).tolist()

    def prefetch(self, sample: int) -> None:
        """Do nothing: runs in this order read each sample when it is needed."""

    def _parts(self, sample: int) -> list[tuple[int, slice]]:
        start = int(self._shuffled[sample]) * self._length
        stop = start + self._length + 1
        place, found = bisect_right(self._ends, start), []
        while start < stop:
            document, end = int(self._documents[place]), int(self._ends[place])
            begin = int(self._begin[document])
            first = int(self._ends[place - 1]) if place else 0
            found.append((int(self._file[document]), slice(begin + start - first, begin + min(stop, end) - first)))
            start, place = max(start, end), place + 1
        return found


def _documents(num_documents: int, epochs: int, apart: bool, random: np.random.RandomState) -> Indices:
    """Return the documents of all epochs, shuffled together; the last epoch by itself if it is `apart`."""
    parts = [epochs - 1, 1] if apart else [epochs]
    found = []
    for number in parts:
        part = np.tile(np.arange(num_documents, dtype=np.int32), number)
        random.shuffle(part)
        found.append(part)
    return np.concatenate(found).astype(np.int64)


def _shuffled(first: int, total: int, random: np.random.RandomState) -> Indices:
    """Return 0..total-1, shuffled; those from `first` on among themselves."""
    found = []
    for start, stop in ((0, first), (first, total)):
        part = np.arange(start, stop, dtype=np.uint32)
        if stop > start:
            random.shuffle(part)
        found.append(part)
    return np.concatenate(found).astype(np.int64)
