"""Files to documents: every format gives the same ones, any cut gives the same ones, what is wrong is named."""

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.readers import CorpusDocument, Piece, TextOptions, read_piece
from switchpoint.components.recipe.errors import BadInput

TEXTS = ["one", "zwei\nLinien", "trois — ü", "x" * 5_000, "last"]
ROWS = [{"text": text, "language": "xx", "n": number} for number, text in enumerate(TEXTS)]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def corpus(folder: Path) -> Corpus:
    return Corpus(folder=str(folder), files=(), heldout_below=0)


def read(
    folder: Path, name: str, skip: bool = False, start: int = 0, end: int | None = None
) -> tuple[list[CorpusDocument], list[BadInput]]:
    problems: list[BadInput] = []

    def refuse(problem: BadInput) -> None:
        problems.append(problem)
        if not skip:
            raise problem

    piece = Piece(name=name, digest="", start=start, end=end)
    options = TextOptions(metadata_fields=("language", "n", "absent"), max_document_bytes=20_000)
    return list(read_piece(corpus(folder), piece, options, refuse)), problems


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL[:50]) + gzip.compress(JSONL[50:]))
    frames = [zstandard.ZstdCompressor().compress(part) for part in (JSONL[:3000], b"", JSONL[3000:])]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    write_parquet(tmp_path / "a.parquet", ROWS)
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        documents, _ = read(tmp_path, name)
        assert [document.text for document in documents] == TEXTS, name
        assert [document.metadata for document in documents] == [("xx", n, None) for n in range(5)]
        assert len({document.name for document in documents}) == 5
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.md").write_text(text)
        assert [document.text for document in read(tmp_path, f"{number}.md")[0]] == [text]


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(JSONL)), max_size=6))
def test_any_cut_of_json_lines_gives_every_document_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "cut.jsonl").write_bytes(JSONL)
    bounds = sorted({0, *cuts, len(JSONL)})
    found = [
        document.text
        for start, end in pairwise(bounds)
        for document in read(folder, "cut.jsonl", start=start, end=end)[0]
    ]
    assert found == TEXTS


def bad_line(line: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(JSONL + line + b"\n" + JSONL) and None


def bad_parquet(path: Path) -> None:
    write_parquet(path, ROWS)
    path.write_bytes(path.read_bytes()[:-20])


def invalid_utf8_parquet(path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", b"fine too"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": text}), path)


BAD: list[tuple[str, Callable[[Path], Any], str, int]] = [
    ("cut.jsonl.gz", lambda path: path.write_bytes(gzip.compress(JSONL)[:-20]), "cannot be read to its end", 0),
    ("no.jsonl.gz", lambda path: path.write_bytes(JSONL), "cannot be read to its end: Not a gzipped", 0),
    ("cut.jsonl.zst", lambda path: path.write_bytes(zstandard.compress(JSONL)[:-9]), "in the middle of a frame", 0),
    ("no.jsonl.zst", lambda path: path.write_bytes(JSONL), "cannot be read to its end", 0),
    ("json.jsonl", bad_line(b'{"text": "cut off'), "not JSON", 10),
    ("list.jsonl", bad_line(b'["text"]'), "not a JSON object", 10),
    ("field.jsonl", bad_line(b'{"txt": "other"}'), "the text field is missing", 10),
    ("null.jsonl", bad_line(b'{"text": null}'), "the text field is missing", 10),
    ("number.jsonl", bad_line(b'{"text": 7}'), "holds no text", 10),
    ("empty.jsonl", bad_line(b'{"text": ""}'), "the text is empty", 10),
    ("utf8.jsonl", bad_line(b'{"text": "\xff\xfe"}'), "not UTF-8", 10),
    ("surrogate.jsonl", bad_line(b'{"text": "\\ud800"}'), "not JSON", 10),
    ("long.jsonl", bad_line(b'{"text": "' + b"x" * 30_000 + b'"}'), "the document is too long", 10),
    ("nothing.jsonl", lambda path: path.write_bytes(b""), "the file is empty", 0),
    ("blank.jsonl", lambda path: path.write_bytes(b"\n \n"), "the file is empty", 0),
    ("utf8.txt", lambda path: path.write_bytes(b"fine\n\xff"), "not UTF-8", 0),
    ("empty.txt", lambda path: path.write_bytes(b" \n"), "the file is empty", 0),
    ("long.txt", lambda path: path.write_bytes(b"x" * 30_000), "the document is too long", 0),
    ("schema.parquet", lambda path: write_parquet(path, [{"content": "a"}]), "another schema", 0),
    ("type.parquet", lambda path: write_parquet(path, [{"text": 7}]), "the column holds no text", 0),
    ("null.parquet", lambda path: write_parquet(path, [*ROWS, {"text": None}, *ROWS]), "the text field is missing", 10),
    ("utf8.parquet", invalid_utf8_parquet, "not UTF-8", 2),
    ("cut.parquet", bad_parquet, "not a whole Parquet file", 0),
    ("empty.parquet", lambda path: pq.write_table(pa.table({"text": pa.array([], pa.string())}), path), "is empty", 0),
]


@pytest.mark.parametrize(("name", "write", "message", "kept"), BAD, ids=[name for name, *_ in BAD])
def test_what_is_wrong_is_refused_with_its_place_or_counted(
    tmp_path: Path, name: str, write: Callable[[Path], Any], message: str, kept: int
) -> None:
    write(tmp_path / name)
    with pytest.raises(BadInput, match=message) as error:
        read(tmp_path, name)
    assert str(error.value).startswith(str(tmp_path / name))
    if name.endswith(".jsonl") and kept:
        assert f"{name}:6" in str(error.value)
    documents, problems = read(tmp_path, name, skip=True)
    assert len(problems) == 1
    if "cut" not in name:
        assert len(documents) == kept
