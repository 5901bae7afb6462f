"""Token files in Megatron's format: NAME.bin with the tokens, NAME.idx (MMIDIDX) with the documents."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES: "dict[int, np.dtype[np.integer]]" = {4: np.dtype("<i4"), 8: np.dtype("<u2")}


def dtype_for(vocab_size: int) -> "np.dtype[np.integer]":
    """Megatron's rule: 16 bits where every id fits with room for its special ids, 32 otherwise."""
    return DTYPE_CODES[8] if vocab_size < 65_500 else DTYPE_CODES[4]


def write_token_file(prefix: Path, documents: Iterable[list[int]], vocab_size: int) -> tuple[int, int]:
    """Writes PREFIX.bin and PREFIX.idx; returns the numbers of tokens and documents."""
    dtype = dtype_for(vocab_size)
    lengths = []
    with prefix.with_suffix(".bin").open("wb") as file:
        for document in documents:
            file.write(np.asarray(document, dtype=dtype).tobytes())
            lengths.append(len(document))
    sizes = np.asarray(lengths, dtype="<i4")
    ends = np.cumsum(sizes, dtype="<i8") * dtype.itemsize
    code = next(code for code, known in DTYPE_CODES.items() if known == dtype)
    with prefix.with_suffix(".idx").open("wb") as file:
        file.write(MAGIC + struct.pack("<QBQQ", VERSION, code, len(sizes), len(sizes) + 1))
        file.write(sizes.tobytes())
        file.write((ends - sizes.astype("<i8") * dtype.itemsize).tobytes())
        file.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())
    return int(sizes.sum(dtype=np.int64)), len(sizes)


@dataclass(frozen=True)
class TokenFile:
    """The tokens as one stream (documents joined in order), read through the page cache."""

    tokens: npt.NDArray[np.integer]
    document_lengths: npt.NDArray[np.int32]


def read_token_file(prefix: Path) -> TokenFile:
    """Raises ValueError where the two files are not of this format or do not fit together."""
    raw = prefix.with_suffix(".idx").read_bytes()
    head = len(MAGIC) + struct.calcsize("<QBQQ")
    if raw[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{prefix}.idx does not begin with {MAGIC!r}")
    version, code, num_sequences, _ = struct.unpack("<QBQQ", raw[len(MAGIC) : head])
    if version != VERSION or code not in DTYPE_CODES:
        raise ValueError(f"{prefix}.idx has version {version} and dtype code {code}; known: 1, {list(DTYPE_CODES)}")
    lengths = np.frombuffer(raw, dtype="<i4", count=num_sequences, offset=head)
    tokens = np.memmap(prefix.with_suffix(".bin"), dtype=DTYPE_CODES[code], mode="r")
    if len(tokens) != int(lengths.sum(dtype=np.int64)):
        raise ValueError(f"{prefix}.bin holds {len(tokens)} tokens, its .idx says {lengths.sum()}")
    return TokenFile(tokens, lengths)
