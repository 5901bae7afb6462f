"""The token files are Megatron's, read here by their published layout and not by our own reader."""

import struct
from pathlib import Path

import numpy as np
import pytest

from components.blend.token_file import read_token_file, write_token_file

DOCUMENTS = [[5, 6, 7], [8], [9, 10]]


@pytest.mark.parametrize(("vocab_size", "code", "dtype"), [(4096, 8, "<u2"), (256_000, 4, "<i4")])
def test_the_layout(tmp_path: Path, vocab_size: int, code: int, dtype: str) -> None:
    assert write_token_file(tmp_path / "train", DOCUMENTS, vocab_size) == (6, 3)
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


def test_a_shortened_file_is_refused(tmp_path: Path) -> None:
    write_token_file(tmp_path / "train", DOCUMENTS, 4096)
    file = tmp_path / "train.bin"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"holds 5 tokens, its .idx says 6"):
        read_token_file(tmp_path / "train")


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_token_file(tmp_path / "train", DOCUMENTS, 4096)
    (tmp_path / "train.idx").write_bytes(b"something else")
    with pytest.raises(ValueError, match="does not begin with"):
        read_token_file(tmp_path / "train")
