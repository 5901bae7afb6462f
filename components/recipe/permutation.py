"""A keyed permutation of 0..n-1 in closed form: no table, any element by itself.

A Feistel network over the next power of two, its halves as equal as that allows, with cycle walking: an index that
lands outside 0..n-1 is permuted again, so that the result is a bijection of the domain.
"""

import hashlib

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 6
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT, _ONE = np.uint64(33), np.uint64(1)

Indices = npt.NDArray[np.int64]


def round_keys(key: str) -> npt.NDArray[np.uint64]:
    """Return NUM_ROUNDS 64-bit keys from the text that names the permutation."""
    raw = hashlib.sha512(key.encode()).digest()
    return np.frombuffer(raw, dtype="<u8")[:NUM_ROUNDS].astype(np.uint64)


def num_bits(size: int) -> int:
    """Return the number of bits of the numbers that the network for 0..size-1 permutes."""
    return max(1, (size - 1).bit_length())


def permute(indices: Indices, size: int, key: str) -> Indices:
    """Return each of `indices` (values in 0..size-1) under the permutation named `key` of 0..size-1."""
    shape = indices.shape
    sizes, bits = np.full(shape, size, dtype=np.uint64), np.full(shape, num_bits(size), dtype=np.uint64)
    return permute_each(indices, sizes, bits, np.broadcast_to(round_keys(key)[:, None], (NUM_ROUNDS, *shape)))


def permute_each(
    indices: Indices, sizes: npt.NDArray[np.uint64], bits: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]
) -> Indices:
    """Return each index under a permutation of its own: of 0..size-1, with its `num_bits` and `round_keys`.

    Shapes: `indices`, `sizes` and `bits` (N,), `keys` (NUM_ROUNDS, N).
    """
    values = indices.astype(np.uint64)
    result = _feistel(values, bits, keys)
    outside = np.flatnonzero(result >= sizes)
    while outside.size:
        moved = _feistel(result[outside], bits[outside], keys[:, outside])
        result[outside] = moved
        outside = outside[moved >= sizes[outside]]
    return result.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], bits: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    right_bits = bits - (bits >> _ONE)
    left_mask, right_mask = (_ONE << (bits >> _ONE)) - _ONE, (_ONE << right_bits) - _ONE
    left, right = values >> right_bits, values & right_mask
    for number, key in enumerate(keys):  # an even number of rounds, so that the halves end as they began
        mixed = (right ^ key) * _MIX_1
        mixed ^= mixed >> _SHIFT
        mixed *= _MIX_2
        mixed >>= _SHIFT
        mixed &= right_mask if number % 2 else left_mask
        mixed ^= left
        left, right = right, mixed
    return (left << right_bits) | right
