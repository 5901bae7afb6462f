"""Whole documents into samples: best fit, so that few tokens are left empty and no document is cut without need.

arXiv 2404.10830 ("Fewer Truncations Improve Language Modeling"): documents longer than a sample are cut into
samples' lengths; then all pieces, the longest first, go to the fullest sample that still has room.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from switchpoint.components.store.store import write_json

SEGMENT = np.dtype([("start", "<i8"), ("length", "<i4")])
"""A piece of a document: the position of its first token in the token file, and its number of tokens."""


PACKED = "packed.json"
"""Written last: a packing without it does not exist."""


@dataclass(frozen=True)
class Packed:
    """Which pieces each sample holds: sample k those of segments[ends[k - 1]:ends[k]]."""

    segments: npt.NDArray[np.void]
    ends: npt.NDArray[np.int64]
    num_cut: int
    """Documents that were longer than a sample."""


def best_fit(lengths: npt.NDArray[np.integer], capacity: int) -> Packed:
    """Pack documents of `lengths` tokens, one after another in their file, into samples of `capacity` tokens.

    O(n log n) for the order, and for each piece one search in a bit set of the room that samples have left.
    """
    pieces = _pieces(lengths.astype(np.int64), capacity)
    order = np.argsort(-pieces["length"], kind="stable")
    sample_of = np.empty(len(pieces), dtype=np.int64)
    open_samples: list[list[int]] = [[] for _ in range(capacity + 1)]  # by the room that is left in them
    rooms = num_samples = 0
    for piece, length in zip(order.tolist(), pieces["length"][order].tolist(), strict=True):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            sample = open_samples[room].pop()
            if not open_samples[room]:
                rooms ^= 1 << room
        else:
            room, sample = capacity, num_samples
            num_samples += 1
        sample_of[piece] = sample
        left = room - length
        if left:
            open_samples[left].append(sample)
            rooms |= 1 << left
    grouped = np.argsort(sample_of, kind="stable")  # within a sample, as the documents lie in the file
    ends = np.cumsum(np.bincount(sample_of, minlength=num_samples), dtype=np.int64)
    return Packed(pieces[grouped], ends, int((lengths > capacity).sum()))


def _pieces(lengths: npt.NDArray[np.int64], capacity: int) -> npt.NDArray[np.void]:
    counts = -(-lengths // capacity)
    starts = np.cumsum(lengths) - lengths
    document = np.repeat(np.arange(len(lengths)), counts)
    within = (np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)) * capacity
    pieces = np.empty(len(document), dtype=SEGMENT)
    pieces["start"] = starts[document] + within
    pieces["length"] = np.minimum(capacity, lengths[document] - within)
    return pieces


def pack_path(prefix: Path, capacity: int) -> Path:
    """Return the folder that lies beside PREFIX.idx."""
    return prefix.with_name(f"{prefix.name}.packed-{capacity}")


def ensure_packed(lengths: npt.NDArray[np.integer], folder: Path, capacity: int) -> int:
    """Write the packing of a token file into `folder`, unless it is there; return the number of samples.

    `lengths`: of its documents, in tokens.
    """
    if not (folder / PACKED).exists():
        packed = best_fit(lengths, capacity)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "segments.npy", packed.segments)
        np.save(folder / "ends.npy", packed.ends)
        tokens = int(lengths.sum(dtype=np.int64))
        facts = {
            "samples": len(packed.ends), "tokens": tokens, "documents": len(lengths), "documents_cut": packed.num_cut,
            "empty": len(packed.ends) * capacity - tokens,
        }  # fmt: skip
        write_json(folder / PACKED, facts)
    return len(np.load(folder / "ends.npy", mmap_mode="r"))
