"""A keyed permutation of 0..n-1 in closed form: no table, any element by itself.

A balanced Feistel network over the next power of four, with cycle walking: an index that lands outside
0..n-1 is sent through again, so that the result is a bijection of the domain.
"""

import hashlib

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 6
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)

Indices = npt.NDArray[np.int64]


def round_keys(key: str) -> npt.NDArray[np.uint64]:
    """NUM_ROUNDS 64-bit keys from the text that names the permutation."""
    raw = hashlib.sha512(key.encode()).digest()
    return np.frombuffer(raw, dtype="<u8")[:NUM_ROUNDS].astype(np.uint64)


def permute(indices: Indices, size: int, key: str) -> Indices:
    """Where the permutation named `key` of 0..size-1 sends each of `indices` (values in 0..size-1)."""
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = round_keys(key)
    result = _feistel(indices.astype(np.uint64), half_bits, keys)
    outside = np.flatnonzero(result >= size)
    while outside.size:
        result[outside] = _feistel(result[outside], half_bits, keys)
        outside = outside[result[outside] >= size]
    return result.astype(np.int64)


def _feistel(values: npt.NDArray[np.uint64], half_bits: int, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        mixed = (right ^ key) * _MIX_1
        mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX_2
        left, right = right, left ^ ((mixed >> _SHIFT) & mask)
    return (left << shift) | right
