"""Token files in Megatron's format: NAME.bin with the tokens, NAME.idx (MMIDIDX) with the documents."""

import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from switchpoint.components.recipe.errors import BadInput

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES: "dict[int, np.dtype[np.integer]]" = {4: np.dtype("<i4"), 8: np.dtype("<u2")}
HEAD_BYTES = len(MAGIC) + struct.calcsize("<QBQQ")
CHUNK_DOCUMENTS = 1 << 20


def dtype_for(vocab_size: int) -> "np.dtype[np.integer]":
    """Return the type of token ids by Megatron's rule: 16 bits if every id fits with room for its special ids, 32
    otherwise.
    """
    return DTYPE_CODES[8] if vocab_size < 65_500 else DTYPE_CODES[4]


class TokenWriter:
    """A writer of PREFIX.bin as documents come, and of PREFIX.idx at the end; holds 4 bytes a document."""

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self.prefix, self.dtype = prefix, dtype_for(vocab_size)
        self.lengths = array("i")
        self.num_tokens = 0
        self._file = beside(prefix, ".bin").open("wb", buffering=1 << 20)

    def write(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> None:
        """Write whole documents, one after another: their ids, and the length of each."""
        self._file.write(ids.astype(self.dtype).tobytes())
        self.lengths.frombytes(lengths.astype("<i4").tobytes())
        self.num_tokens += len(ids)

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._write_index()

    def _write_index(self) -> None:
        sizes = np.frombuffer(self.lengths, dtype="<i4") if self.lengths else np.empty(0, "<i4")
        code = next(code for code, known in DTYPE_CODES.items() if known == self.dtype)
        with beside(self.prefix, ".idx").open("wb") as file:
            file.write(MAGIC + struct.pack("<QBQQ", VERSION, code, len(sizes), len(sizes) + 1))
            file.write(sizes.tobytes())
            begin = 0
            for first in range(0, len(sizes), CHUNK_DOCUMENTS):
                ends = begin + np.cumsum(sizes[first : first + CHUNK_DOCUMENTS], dtype="<i8") * self.dtype.itemsize
                file.write(np.concatenate([[begin], ends[:-1]]).astype("<i8").tobytes())
                begin = int(ends[-1])
            file.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())


@dataclass(frozen=True)
class TokenFile:
    """The tokens as one stream (documents joined in order), read through the page cache."""

    tokens: npt.NDArray[np.integer]
    document_lengths: npt.NDArray[np.int32]


def read_token_file(prefix: Path) -> TokenFile:
    """Return the tokens of a file. Raise BadInput if the two files are not of this format or do not fit together."""
    dtype, lengths = read_index(prefix)
    path = beside(prefix, ".bin")
    wanted = check_size(dtype, lengths, path.stat().st_size if path.exists() else 0, str(path))
    # As a plain array: slices of a memmap are slow to make.
    tokens = np.asarray(np.memmap(path, dtype=dtype, mode="r")) if wanted else np.empty(0, dtype=dtype)
    return TokenFile(tokens, lengths)


def read_index(prefix: Path) -> "tuple[np.dtype[np.integer], npt.NDArray[np.int32]]":
    """Return the dtype of the tokens, and the length of each sequence. Raise BadInput."""
    path = beside(prefix, ".idx")
    if not path.is_file():
        raise BadInput("no such file", file=str(path), allowed="an index in Megatron's format (MMIDIDX)")
    with path.open("rb") as file:
        dtype, num_sequences = index_head(file.read(HEAD_BYTES), path.stat().st_size, str(path))
    if not num_sequences:
        return dtype, np.empty(0, "<i4")
    return dtype, np.memmap(path, dtype="<i4", mode="r", offset=HEAD_BYTES, shape=(num_sequences,))


def index_head(head: bytes, num_bytes: int, shown: str) -> "tuple[np.dtype[np.integer], int]":
    """Return the dtype and the number of sequences that an index of `num_bytes` begins with. Raise BadInput."""
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        raise BadInput("not an index in Megatron's format", file=shown, given=repr(head[:9]), allowed=MAGIC)
    version, code, num_sequences, num_documents = struct.unpack("<QBQQ", head[len(MAGIC) :])
    if version != VERSION or code not in DTYPE_CODES:
        raise BadInput(
            "an index of another version or dtype", file=shown, given=f"version {version}, dtype code {code}",
            allowed=f"version {VERSION}, dtype code 4 (int32) or 8 (uint16)",
        )  # fmt: skip
    wanted = HEAD_BYTES + 12 * num_sequences + 8 * num_documents
    if num_bytes < wanted:
        raise BadInput("the index is cut short", file=shown, given=f"{num_bytes:,} bytes", allowed=f"{wanted:,}")
    return DTYPE_CODES[code], num_sequences


def check_size(dtype: "np.dtype[np.integer]", lengths: npt.NDArray[np.int32], num_bytes: int, shown: str) -> int:
    """Return the number of tokens. Raise BadInput if the .bin, of `num_bytes`, does not agree with its index."""
    num_tokens = int(lengths.sum(dtype=np.int64))
    wanted = num_tokens * dtype.itemsize
    if num_bytes != wanted:
        raise BadInput(
            f"the file is {'shorter' if num_bytes < wanted else 'longer'} than its .idx says", file=shown,
            given=f"{num_bytes:,} bytes", allowed=f"{wanted:,} bytes: {num_tokens:,} tokens of {dtype.name}",
        )  # fmt: skip
    return num_tokens


def beside(prefix: Path, suffix: str) -> Path:
    """Return PREFIX.bin or PREFIX.idx; a prefix may have dots of its own."""
    return prefix.with_name(prefix.name + suffix)
