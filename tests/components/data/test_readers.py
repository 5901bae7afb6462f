"""Files to documents: every format gives the same ones, any cut gives the same ones, what is wrong is named."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
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
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(JSONL[:50]) + lzma.compress(JSONL[50:]))
    (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress(JSONL[:50]) + bz2.compress(JSONL[50:]))
    write_parquet(tmp_path / "a.parquet", ROWS)
    table = pa.Table.from_pylist(ROWS)
    pa.feather.write_feather(table, tmp_path / "a.feather", chunksize=2)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(tmp_path / "b.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    compressed = ("a.jsonl.gz", "a.jsonl.zst", "a.jsonl.xz", "a.jsonl.bz2")
    for name in ("a.jsonl", *compressed, "a.parquet", "a.feather", "a.arrow", "b.arrow"):
        documents, _ = read(tmp_path, name)
        assert [document.text for document in documents] == TEXTS, name
        assert [document.metadata for document in documents] == [("xx", n, None) for n in range(5)]
        assert len({document.name for document in documents}) == 5
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.md").write_text(text)
        assert [document.text for document in read(tmp_path, f"{number}.md")[0]] == [text]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_row_of_delimited_text_is_a_document(tmp_path: Path, name: str, delimiter: str, mark: str) -> None:
    texts = [*TEXTS, 'she said "yes", twice', "tab\tinside", "carriage\r\nreturn"]
    with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "id", "language"])
        writer.writerows([text, 7, "xx"] for text in texts)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for one in (name, f"{name}.gz"):
        documents, _ = read(tmp_path, one)
        assert [document.text for document in documents] == texts
        assert {document.metadata for document in documents} == {("xx", None, None)}
        assert [document.name for document in documents] == [f"{one}#{row}" for row in range(len(texts))]


@pytest.mark.parametrize("kind", ["dictionary", "large_string", "string_view", "binary", "large_binary"])
def test_text_in_any_type_of_column_is_read(tmp_path: Path, kind: str) -> None:
    texts = pa.array(TEXTS)
    column = texts.dictionary_encode() if kind == "dictionary" else texts.cast(getattr(pa, kind)())
    table = pa.table({"id": list(range(5)), "text": column, "language": column})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        documents, _ = read(tmp_path, name)
        assert [document.text for document in documents] == TEXTS
        assert [document.metadata[0] for document in documents] == TEXTS


def test_long_text_over_many_row_groups_is_read_whole(tmp_path: Path) -> None:
    texts = [f"{number} " + chr(97 + number % 26) * 15_000 for number in range(300)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=70)
    assert [document.text for document in read(tmp_path, "a.parquet")[0]] == texts


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "a.txt").write_bytes(mark + "größer".encode())
    assert [document.text for document in read(tmp_path, "a.txt")[0]] == ["größer"]
    windows = mark + JSONL.replace(b"\n", b"\r\n")
    (tmp_path / "a.jsonl").write_bytes(windows + windows)
    assert [document.text for document in read(tmp_path, "a.jsonl")[0]] == TEXTS * 2
    for cut in (1, 2, 3, 4, 100):
        parts = [read(tmp_path, "a.jsonl", start=start, end=end)[0] for start, end in ((0, cut), (cut, None))]
        assert [document.text for part in parts for document in part] == TEXTS * 2


def test_numbers_that_only_python_writes_are_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "n": NaN}\n{"text": "NaN", "n": -Infinity}\n')
    first, second = read(tmp_path, "a.jsonl")[0]
    assert (first.text, str(first.metadata[1])) == ("one", "nan")
    assert (second.text, second.metadata[1]) == ("NaN", -float("inf"))


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


def two_columns(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
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
    ("cut.jsonl.xz", lambda path: path.write_bytes(lzma.compress(JSONL)[:-9]), "in the middle of a frame", 0),
    ("cut.jsonl.bz2", lambda path: path.write_bytes(bz2.compress(JSONL)[:-9]), "in the middle of a frame", 0),
    ("no.jsonl.bz2", lambda path: path.write_bytes(JSONL), "cannot be read to its end", 0),
    ("array.json", lambda path: path.write_text(json.dumps(ROWS)), "a JSON array, not JSON lines", 0),
    ("array.jsonl", lambda path: path.write_text(json.dumps(ROWS, indent=1)), "a JSON array, not JSON lines", 0),
    ("long.json", lambda path: path.write_text(json.dumps(ROWS * 9)), "a JSON array, not JSON lines", 0),
    ("one.json", lambda path: path.write_text(json.dumps(ROWS[0], indent=1)), "JSON over several lines", 0),
    ("half.jsonl", bad_line(b'{"text": "\\ud800", "n": NaN}'), "not JSON", 10),
    ("utf16.txt", lambda path: path.write_bytes("größer".encode("utf-16")), "the content is UTF-16", 0),
    ("utf16.csv", lambda path: path.write_bytes("text\nyes\n".encode("utf-16")), "the content is UTF-16", 0),
    ("plain16.txt", lambda path: path.write_bytes("without a mark".encode("utf-16-le")), "is UTF-16LE", 0),
    ("pointer.txt", lambda path: path.write_bytes(POINTER), "a pointer of Git LFS", 0),
    ("pointer.parquet", lambda path: path.write_bytes(POINTER), "a pointer of Git LFS", 0),
    ("zip.txt", lambda path: path.write_bytes(gzip.compress(JSONL)), "the content is gzip", 0),
    ("pdf.txt", lambda path: path.write_bytes(b"%PDF-1.7\n"), "the content is PDF", 0),
    ("lines.parquet", lambda path: path.write_bytes(JSONL), "not a whole Parquet file", 0),
    ("paper.pdf", lambda path: path.write_bytes(b"text"), "a file of this ending is not read", 0),
    ("ids.csv", lambda path: path.write_text("id,content\n1,one\n"), "no such column in its first row", 0),
    ("twice.csv", lambda path: path.write_text("text,text\na,b\n"), "two columns have one name", 0),
    ("cells.csv", lambda path: path.write_text('text,id\na,1\n"b, c",2\nd, e,3\n'), "another number of cells", 2),
    ("quote.csv", lambda path: path.write_text('text,id\na,1\n"b,2\nc,3\n'), "not CSV from here", 1),
    ("utf8.csv", lambda path: path.write_bytes(b"text,id\na,1\n\xff,2\nb,3\n"), "not UTF-8", 2),
    ("long.csv", lambda path: path.write_text(f"text\na\n{'x' * 30_000}\nb\n"), "the document is too long", 2),
    ("null.csv", lambda path: path.write_text("text,id\na,1\n,2\n"), "the text is empty", 1),
    ("header.csv", lambda path: path.write_text("text,id\n"), "the file is empty", 0),
    ("twice.parquet", two_columns, "two columns have one name", 0),
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
