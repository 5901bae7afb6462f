"""The text that Python carries, and its split: no held-out docstring in the training tokens."""

import ast
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from switchpoint.components.data.documents import Document
from switchpoint.components.data.python_text import first_sentences, module_documents, python_documents
from switchpoint.components.data.split import MIN_SHARED_CHARACTERS, heldout_units
from switchpoint.components.data.token_file import read_token_file
from switchpoint.components.data.tokenizer import byte_level_bpe
from tests.components.data.token_files import write_token_file

SOURCE = '''"""Reads things."""


def read(path):
    """Read the file at `path` and return its lines.

    More is said here.
    """


class Reader:
    """A reader of files, one line after the other."""
'''


def test_a_module_gives_code_docstrings_and_questions() -> None:
    found = list(module_documents("io.reading", SOURCE, ast.parse(SOURCE)))
    assert [document.part for document in found] == ["code", "docstrings", "qa", "qa"]
    assert {document.unit for document in found} == {"io.reading"}
    assert found[2].question == "What does the function io.reading.read do?"
    assert found[2].answer == "Read the file at `path` and return its lines."
    assert found[2].text == f"Question: {found[2].question}\nAnswer: {found[2].answer}"


def test_an_answer_is_the_first_paragraph_cut_at_a_sentence() -> None:
    assert first_sentences("One.\n\nTwo.") == "One."
    long = "A sentence of some length stands here. " * 10
    assert first_sentences(long).endswith("here.")
    assert len(first_sentences(long)) <= 240


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    skipped: list[str] = []
    found = list(python_documents(skipped))
    assert len(skipped) < 10
    return found


@pytest.fixture(scope="module")
def heldout(documents: list[Document]) -> set[str]:
    return heldout_units(documents, 0.1)


def test_each_part_is_held_out_in_part(documents: list[Document], heldout: set[str]) -> None:
    for part in ("topics", "docstrings", "code", "qa"):
        sizes = {False: 0, True: 0}
        for document in documents:
            if document.part == part:
                sizes[document.unit in heldout] += len(document.text)
        assert 0.05 < sizes[True] / sum(sizes.values()) < 0.25, part


def test_the_split_is_the_same_every_time(documents: list[Document], heldout: set[str]) -> None:
    assert heldout_units(reversed(documents), 0.1) == heldout


def test_no_heldout_docstring_is_in_the_training_tokens(
    documents: list[Document], heldout: set[str], tmp_path: Path
) -> None:
    """Through the token files: what is decoded from them must hold no docstring of a held-out module."""
    training = [document.text for document in documents if document.unit not in heldout]
    tokenizer: Tokenizer = byte_level_bpe(iter(training[:200]), 2048)
    encoded = (encoding.ids for encoding in tokenizer.encode_batch_fast(training, add_special_tokens=False))
    write_token_file(tmp_path / "train", encoded, 2048)
    stored = read_token_file(tmp_path / "train")
    decoded = tokenizer.decode(stored.tokens.tolist())
    assert len(decoded) >= sum(map(len, training)) * 0.999
    docstrings = {
        passage
        for document in documents
        if document.unit in heldout and document.part == "docstrings"
        for passage in document.passages
        if len(passage) >= MIN_SHARED_CHARACTERS
    }
    assert len(docstrings) > 300
    leaked = [docstring for docstring in docstrings if docstring in decoded]
    assert leaked == []
    answers = {document.answer for document in documents if document.unit in heldout and document.part == "qa"}
    seen = [answer for answer in answers if answer in decoded and len(answer) >= 60]
    assert len(seen) < 0.02 * len(answers), seen[:5]
