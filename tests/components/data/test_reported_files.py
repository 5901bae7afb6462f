"""Files as people have reported them to other projects, where they were read wrongly, or failed without saying why."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from switchpoint.components.data.corpus import Corpus
from switchpoint.components.data.metadata_file import MetadataWriter
from switchpoint.components.data.readers import CorpusDocument, Piece, TextOptions, read_piece
from switchpoint.components.recipe.errors import BadInput


def read(path: Path, skip: bool = False, **options: Any) -> tuple[list[CorpusDocument], list[BadInput]]:
    problems: list[BadInput] = []

    def refuse(problem: BadInput) -> None:
        if not skip:
            raise problem
        problems.append(problem)

    corpus = Corpus(folder=str(path.parent), files=(), heldout_below=0)
    return list(read_piece(corpus, Piece(name=path.name, digest=""), TextOptions(**options), refuse)), problems


def test_words_that_mean_nothing_to_pandas_are_text(tmp_path: Path) -> None:
    """huggingface/datasets 4467: a CSV cell `null` became a missing value."""
    words = ["null", "NaN", "NA", "None", "nan", "007", "1e5", "true", " a "]
    (tmp_path / "a.csv").write_text("text\n" + "".join(f"{word}\n" for word in words))
    assert [one.text for one in read(tmp_path / "a.csv")[0]] == words


def test_a_field_may_hold_another_type_in_each_row(tmp_path: Path) -> None:
    """huggingface/datasets 5827, 6460, 7322: a column that changes its type ended the reading."""
    values: list[Any] = [1, "Nan", [0, 4, "Protein"], {"a": 1}, None, 2.5, True]
    rows = [{"text": f"text {number}", "id": value} for number, value in enumerate(values)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, _ = read(tmp_path / "a.jsonl", metadata_fields=("id",))
    assert [one.metadata[0] for one in documents] == values
    import numpy as np

    with MetadataWriter(tmp_path / "a.parquet", ["id"]) as table:
        ones, count = np.ones(len(rows)), len(rows)
        names, hashes = [one.name for one in documents], [one.hash for one in documents]
        metadata = [one.metadata for one in documents]
        table.write(names, ["all"] * count, ones, [1] * count, hashes, ones, metadata)
    kept = pq.read_table(tmp_path / "a.parquet")["metadata.id"].to_pylist()
    assert kept == ["1", "Nan", "[0, 4, 'Protein']", "{'a': 1}", None, "2.5", "True"]


def test_two_objects_on_a_line_are_named(tmp_path: Path) -> None:
    """facebookresearch/lingua 42: a loader's process died at such a line, hours after the start, and training hung."""
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}{"text": "three"}\n{"text": "four"}\n')
    with pytest.raises(BadInput, match=r"a.jsonl:2: not JSON: .*after") as error:
        read(tmp_path / "a.jsonl")
    assert error.value.given == '\'{"text": "two"}{"text": "three"}\\n\''
    documents, problems = read(tmp_path / "a.jsonl", skip=True)
    assert [one.text for one in documents] == ["one", "four"]
    assert len(problems) == 1


def test_a_first_document_without_text_is_named_or_skipped(tmp_path: Path) -> None:
    """NVIDIA/Megatron-LM 62: an index error where the first document of a file is empty."""
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "two"}\n')
    with pytest.raises(BadInput, match=r"a.jsonl:1: text: the text is empty"):
        read(tmp_path / "a.jsonl")
    assert [one.text for one in read(tmp_path / "a.jsonl", skip=True)[0]] == ["two"]


def test_lines_that_are_json_and_no_objects_are_named(tmp_path: Path) -> None:
    """unslothai/unsloth 7195: `"context"` contains `text`, which was taken for a field."""
    lines = ['"context"', '["text", "foo"]', "42", "null", "true"]
    for line in lines:
        (tmp_path / "a.jsonl").write_text(f'{{"text": "one"}}\n{line}\n')
        with pytest.raises(BadInput, match=r"a.jsonl:2: not a JSON object"):
            read(tmp_path / "a.jsonl")


def test_a_compressed_array_is_no_empty_file(tmp_path: Path) -> None:
    """allenai/dolma 225: tokens were an empty file, which only training found."""
    (tmp_path / "data.json.gz").write_bytes(gzip.compress(json.dumps([{"text": "one"}, {"text": "two"}]).encode()))
    with pytest.raises(BadInput, match="the file is a JSON array, not JSON lines"):
        read(tmp_path / "data.json.gz")


def test_an_archive_under_another_name_is_no_text(tmp_path: Path) -> None:
    """dkpro/dkpro-c4corpus 9: 103.txt was an archive of the texts after it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        (tmp_path / "104.txt").write_text("a text")
        archive.add(tmp_path / "104.txt", "104.txt")
    (tmp_path / "103.txt").write_bytes(packed.getvalue())
    with pytest.raises(BadInput, match=r"103\.txt: the content is a tar archive"):
        read(tmp_path / "103.txt")


def test_a_field_of_another_name_is_told_with_those_there_are(tmp_path: Path) -> None:
    """hiyouga/LlamaFactory 40: "column names don't match", without the names."""
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(BadInput, match="the text field is missing") as error:
        read(tmp_path / "a.jsonl")
    assert error.value.given == "instruction, output"
