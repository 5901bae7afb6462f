"""The token files are Megatron's, read here by their published layout and not by our own reader."""

import struct
from pathlib import Path

import numpy as np
import pytest

from switchpoint.components.data.token_file import read_token_file
from switchpoint.components.recipe.errors import BadInput
from tests.components.data.token_files import write_token_file

DOCUMENTS = [[5, 6, 7], [8], [9, 10]]


@pytest.mark.parametrize(("vocab_size", "code", "dtype"), [(4096, 8, "<u2"), (256_000, 4, "<i4")])
def test_the_layout(tmp_path: Path, vocab_size: int, code: int, dtype: str) -> None:
    write_token_file(tmp_path / "train", DOCUMENTS, vocab_size)
    raw = (tmp_path / "train.idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack("<Q", raw[9:17]) == (1,)
    assert raw[17] == code
    assert struct.unpack("<QQ", raw[18:34]) == (3, 4)
    assert np.frombuffer(raw, "<i4", 3, 34).tolist() == [3, 1, 2]
    size = np.dtype(dtype).itemsize
    assert np.frombuffer(raw, "<i8", 3, 46).tolist() == [0, 3 * size, 4 * size]
    assert np.frombuffer(raw, "<i8", 4, 70).tolist() == [0, 1, 2, 3]
    assert len(raw) == 102
    assert np.fromfile(tmp_path / "train.bin", dtype).tolist() == [5, 6, 7, 8, 9, 10]


def test_it_is_read_back(tmp_path: Path) -> None:
    write_token_file(tmp_path / "train", DOCUMENTS, 4096)
    found = read_token_file(tmp_path / "train")
    assert found.tokens.tolist() == [5, 6, 7, 8, 9, 10]
    assert found.document_lengths.tolist() == [3, 1, 2]


def spoil(path: Path, at: int, content: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + len(content)] = content
    path.write_bytes(raw)


def test_what_is_not_whole_or_not_of_this_format_is_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "train.v1"  # dots in a prefix are its own
    index, tokens = tmp_path / "train.v1.idx", tmp_path / "train.v1.bin"

    def refused(*messages: str) -> None:
        with pytest.raises(BadInput) as error:
            read_token_file(prefix)
        for message in messages:
            assert message in str(error.value)
        write_token_file(prefix, DOCUMENTS, 4096)

    write_token_file(prefix, DOCUMENTS, 4096)
    tokens.write_bytes(tokens.read_bytes()[:-2])
    refused(str(tokens), "shorter than its .idx says", "10 bytes", "12 bytes: 6 tokens of uint16")
    index.write_bytes(b"something else")
    refused(str(index), "not an index in Megatron's format")
    spoil(index, 9, b"\x02")
    refused("another version or dtype", "version 2, dtype code 8")
    spoil(index, 17, b"\x06")
    refused("another version or dtype", "version 1, dtype code 6")
    index.write_bytes(index.read_bytes()[:-1])
    refused("the index is cut short", "101 bytes", "102")
    index.unlink()
    refused("no such file")
    assert len(read_token_file(prefix).tokens) == 6
