"""Each ending of a file: read, or refused with what to do, before anything is written; the guide says the same."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard

from switchpoint.components.data.corpus import FileDigests
from switchpoint.components.data.corpus_input import CorpusInput, read_corpus
from switchpoint.components.data.formats import CODE_ENDINGS, NOT_READ, READ, TEXT_ENDINGS, kind_of
from switchpoint.components.data.readers import Piece, TextOptions, read_piece
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source

GUIDE = Path(__file__).parents[3] / "docs" / "data.md"
ROWS = [{"text": "the first"}, {"text": "the second"}]
TABLE = pa.Table.from_pylist(ROWS)
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CONTENT: dict[str, Callable[[Path], object]] = {
    "jsonl": lambda path: path.write_bytes(JSONL),
    "csv": lambda path: path.write_text("id,text\n1,the first\n2,the second\n"),
    "tsv": lambda path: path.write_text("id\ttext\n1\tthe first\n2\tthe second\n"),
    "parquet": lambda path: pq.write_table(TABLE, path),
    "arrow": lambda path: pyarrow.feather.write_feather(TABLE, path),
    "text": lambda path: path.write_text("the first"),
}
LABELS = {
    "jsonl": "JSON lines: a document each", "csv": "CSV with the columns' names in the first row: a document a row",
    "tsv": "the same, separated by tabs", "parquet": "Parquet: a document a row",
    "arrow": "Arrow (file or stream): a document a row", "text": "one document",
}  # fmt: skip
COMPRESS = {"gz": gzip.compress, "zst": zstandard.compress, "xz": lzma.compress, "bz2": bz2.compress}


def source(folder: Path, on_error: str = "refuse") -> CorpusInput:
    config = Source.model_validate({"folder": str(folder), "on_error": on_error})
    return read_corpus("web", config, 0.5, FileDigests())


def texts(folder: Path, name: str) -> list[str]:
    def refuse(problem: BadInput) -> None:
        raise problem

    from switchpoint.components.data.corpus import Corpus

    corpus = Corpus(folder=str(folder), files=(), heldout_below=0)
    return [one.text for one in read_piece(corpus, Piece(name=name, digest=""), TextOptions(), refuse)]


def outcome(folder: Path, ending: str) -> str:
    """Return what becomes of a file of this ending: how it is read, or what its refusal says."""
    folder.mkdir()
    kind = kind_of(f"a.{ending}")[0]
    CONTENT[kind or "text"](folder / f"a.{ending}")
    try:
        found = texts(folder, f"a.{ending}")
    except BadInput as error:
        with pytest.raises(BadInput, match="whose endings are not read"):
            source(folder)
        return f"refused: {error.allowed}"
    assert found == (["the first"] if kind == "text" else ["the first", "the second"])
    return LABELS[kind]


def table_of_the_guide() -> list[str]:
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    first = lines.index("| ending | |") + 2
    return lines[first : lines.index("", first)]


def test_the_guides_table_of_formats_is_what_reading_finds(tmp_path: Path) -> None:
    known = [ending for endings in READ.values() for ending in endings]
    others = [*NOT_READ, "parquet.gz", "log"]
    endings_of: dict[str, list[str]] = {}
    for ending in [*known, *others]:
        endings_of.setdefault(outcome(tmp_path / ending, ending), []).append(f"`.{ending}`")
    rows = [f"| {' '.join(endings)} | {what} |" for what, endings in endings_of.items()]
    assert table_of_the_guide() == rows


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
def test_compressed_files_are_read(tmp_path: Path, compression: str, kind: str) -> None:
    ending = READ[kind][0]
    CONTENT[kind](tmp_path / "plain")
    packed = COMPRESS[compression]((tmp_path / "plain").read_bytes())
    (tmp_path / f"A.{ending.upper()}.{compression}").write_bytes(packed)
    expected = ["the first"] if kind == "text" else ["the first", "the second"]
    assert texts(tmp_path, f"A.{ending.upper()}.{compression}") == expected


def test_a_file_that_is_not_read_is_named_before_anything_is_written_or_skipped_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    for name in ("z.pdf", "b/page.html", "b/notes", "c.gz", "d.docx", "e.zip", "f.tar.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no text")
    with pytest.raises(BadInput) as error:
        source(tmp_path)
    assert error.value.field == "sources.web.folder"
    assert error.value.given == "b/notes, b/page.html, c.gz, d.docx, e.zip and 2 more"
    for said in ("notes: name it .txt", "page.html: extract the text", "c.gz: say in its name what it holds",
                 "e.zip: unpack it", "`on_error: skip`"):  # fmt: skip
        assert said in error.value.allowed
    assert len(source(tmp_path, "skip").names) == 2


def test_where_nothing_can_be_read_the_message_says_why(tmp_path: Path) -> None:
    """A wrong `text_field`, say, skips everything."""
    (tmp_path / "a.jsonl").write_text('{"content": "one"}\n{"content": "two"}\n')
    (tmp_path / "b.pdf").write_text("no text")
    with pytest.raises(BadInput, match="no document can be read") as error:
        source(tmp_path, "skip")
    assert f"{tmp_path}/a.jsonl:1: text: the text field is missing given: content" in error.value.given
    assert f"{tmp_path}/b.pdf: a file of this ending is not read" in error.value.given
    (tmp_path / "a.jsonl").write_text('{"content": "one"}\n{"text": "two"}\n')
    with pytest.raises(BadInput, match=r"1 different document\(s\) can be read"):
        source(tmp_path, "skip")


def test_a_description_beside_rows_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "more.txt").write_text("a text")
    assert len(source(tmp_path).names) == 2
    pq.write_table(TABLE, tmp_path / "train-00000.parquet")
    with pytest.raises(BadInput, match="descriptions of the data") as error:
        source(tmp_path)
    assert error.value.given == "README.md"


def test_every_ending_has_one_format() -> None:
    known = [ending for endings in READ.values() for ending in endings]
    assert len(known) == len(set(known))
    assert not set(known) & set(NOT_READ)
    assert set(READ["text"]) == {*TEXT_ENDINGS, *CODE_ENDINGS}
