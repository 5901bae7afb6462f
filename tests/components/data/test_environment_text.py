"""The text that a Python environment carries: one unit per module or distribution, nothing twice, every part filled."""

import ast
import sysconfig
from collections import defaultdict
from pathlib import Path

import pytest

from switchpoint.components.data import environment_places, environment_prose, environment_text
from switchpoint.components.data.documents import Document
from switchpoint.components.data.environment_prose import (
    Repetition,
    changelog_documents,
    description_documents,
    exercise_documents,
    split_changelog,
)
from switchpoint.components.data.environment_qa import Module
from switchpoint.components.data.environment_text import (
    ENVIRONMENT_PARTS,
    PROSE,
    environment_bytes,
    environment_documents,
    environment_files,
    file_documents,
    module_documents,
    without_copies,
)
from switchpoint.components.data.python_text import prompt_of

SOURCE = '''"""Reads things."""
import argparse


def double(number):
    """Return twice the number, whatever it is.

    >>> value = 4
    >>> double(value)
    8
    >>> random.random()
    0.25
    """
    return 2 * number + 0 * number


class Reader:
    def close(self): "Closes."; return None

    def first(self, path):
        """first(path) -> str

        The first line of the file at `path`.
        """
        # It may be empty.
        with open(path) as file:
            return file.readline()


def main(depth=typer.Option(3, help="How deep to look into folders.")):
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", "--number", help="How many files are read (default: %(default)s).")
    parser.add_argument("--gap", help="What %(prog)s fills in at the place.")
    parser.add_argument("path", help="The file that is " "read first.")


add_docstr(tools.size, r"""
size(input) -> int

The number of elements of :attr:`input`.

Args:
    {input}
""".format(**common))
add_newdoc("tools.core", "Table", ("width", """The number of columns of a table."""))
'''

VERSIONS = [f"## {number}.0 (2024-01-0{number})\n\n### Fixes\n\n{'Fixed a fault. ' * 50}".strip() for number in (3, 2)]
CHANGES = "\n\n".join(VERSIONS)


def made(part: str) -> list[Document]:
    return list(module_documents(Module("tools.reading", SOURCE, ast.parse(SOURCE)), [part]))


def answers(part: str) -> dict[str, str]:
    return {document.question: document.answer for document in made(part)}


def test_definitions_leave_signatures_out() -> None:
    assert answers("qa_world_knowledge") == {
        "What does the function tools.reading.double do?": "Return twice the number, whatever it is.",
        "What does the function tools.reading.Reader.first do?": "The first line of the file at `path`.",
        "What does the function tools.size do?": "The number of elements of :attr:`input`.",
        "What does the function tools.core.Table.width do?": "The number of columns of a table.",
    }


def test_results_come_with_the_lines_before_them_and_change_not() -> None:
    assert answers("qa_reasoning") == {
        "What does the last of these lines return?\n>>> value = 4\n>>> double(value)": "8"
    }


def test_help_texts_without_what_the_program_fills_in() -> None:
    assert answers("qa_chat") == {
        "What does the option --depth of tools.reading do?": "How deep to look into folders.",
        "What does the option --number of tools.reading do?": "How many files are read.",
        "What does the argument path of tools.reading do?": "The file that is read first.",
    }


def test_bodies_of_functions() -> None:
    found = answers("qa_code")
    assert list(found.values()) == [
        "return 2 * number + 0 * number",
        "# It may be empty.\nwith open(path) as file:\n    return file.readline()",
    ]
    assert list(found)[1].startswith("What is the body of the function tools.reading.Reader.first?\ndef first(self, ")


def test_library_docstrings_are_passages_and_templates_are_unfilled() -> None:
    (document,) = made("library_docstrings")
    assert document.text == "\n\n".join(document.passages)
    assert len(document.passages) == 6
    assert "{input}" not in document.text
    assert "Args:" not in document.text


def test_a_description_and_its_changelog_are_one_unit() -> None:
    text = f"Name: Reader\nVersion: 3.0\n\n# Reader\n\nReads.\n\n## Changelog\n\n{CHANGES}\n\n## Licence\n\nFree.\n"
    name = "reader_tools-3.0.dist-info/METADATA"
    (description,) = description_documents(name, text)
    (changelog,) = changelog_documents(name, text)
    assert description.unit == changelog.unit == "short/reader_tools"
    assert description.text == "# Reader\n\nReads.\n\n## Licence\n\nFree."
    assert changelog.text == f"## Changelog\n\n{CHANGES}"
    long = text.replace("Reads.", "Reads. " * environment_prose.LONG_CHARACTERS)
    assert next(description_documents(name, long)).unit == "long/reader_tools"


def test_changelogs_with_underlined_headings_of_another_order() -> None:
    changes = "\n\n".join(f"{number}.0\n===\n\nFixes\n-----\n\n{'Fixed. ' * 99}" for number in (3, 2))
    text = f"Reader\n======\n\nUse\n---\n\nReads.\n\n=========\nChangelog\n=========\n\n{changes}"
    assert split_changelog(text) == (
        text[: text.index("=========\nCh")].rstrip() + "\n",
        text[text.index("=========") :],
    )
    short = "Reader\n======\n\nChangelog\n---------\n\nSee there.\n\nUse\n---\n\nReads."
    assert split_changelog(short) == (short, "")


def test_exercises_are_read_past_their_functions() -> None:
    text = (
        "description: Frühere Fragen.\nprocess: !function utils.read\nfewshot_config:\n  samples:\n"
        "  - {A: Aß, B: Bü, question: Was?, target: A}\n  - {A: one, B: two, question: What?, target: B}\n"
    )
    (document,) = exercise_documents("lm_eval/tasks/mmlu_prox/de/history.yaml", text)
    assert document.text == "Frühere Fragen.\n\nWas?\nA. Aß\nB. Bü\nA"
    assert document.unit == "lm_eval/tasks/mmlu_prox/de"
    with pytest.raises(ValueError, match="not YAML"):
        list(exercise_documents("broken.yaml", "a: [é"))


def test_copies_and_repetitions_are_left_out() -> None:
    licence = "Permission is granted to everyone who asks for it.\nThere is no warranty, whatever may happen to you."
    other = "This text is about something that is not a licence.\nIt shares no line with any of the others here."
    texts = [licence, f"By another owner, who is named in this line.\n{licence}", other]
    found = [Document(unit=str(number), part="licences", text=text) for number, text in enumerate(texts)]
    code = [Document(unit=str(number), part="code", text=text) for number, text in enumerate([*texts, licence])]
    assert [document.text for document in without_copies(found + code)] == [licence, other, *texts]
    assert Repetition().is_mostly_new("short\nlines")


def test_unreadable_files_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latin.md").write_bytes("é".encode("latin-1"))
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "good.md").write_text("A guide.")
    files = {
        "readmes": [("gone.md", tmp_path / "gone.md"), *((name, tmp_path / name) for name in ("good.md", "latin.md"))],
        "code": [("broken", tmp_path / "broken.py")],
    }
    monkeypatch.setattr(environment_text, "part_files", lambda parts: {part: files[part] for part in parts})
    skipped: list[str] = []
    found = list(environment_documents(["readmes", "code"], skipped))
    assert [document.unit for document in found] == ["good.md"]
    assert skipped == ["broken", "gone.md", "latin.md"]
    assert environment_bytes(["readmes", "code"]) == {"readmes": 8, "code": 0}
    with pytest.raises(UnicodeDecodeError):
        file_documents("latin.md", tmp_path / "latin.md", ["readmes"])


def test_caps_hold_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    files = []
    for number in range(20):
        (tmp_path / f"m{number}.py").write_text("#" * 100)
        files.append((f"m{number}", tmp_path / f"m{number}.py"))
    chosen = environment_places.capped(files, 450)
    assert len(chosen) == 5
    assert environment_places.capped(files[::-1], 450) == chosen
    assert environment_places.is_among("numpy.linalg.norms", ["numpy.linalg"])
    assert not environment_places.is_among("numpy.linalgebra", ["numpy.linalg"])


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    skipped: list[str] = []
    found = list(environment_documents(ENVIRONMENT_PARTS, skipped))
    assert len(skipped) < 20
    return found


def test_each_part_has_text_enough(documents: list[Document]) -> None:
    sizes = dict.fromkeys(ENVIRONMENT_PARTS, 0)
    for document in documents:
        sizes[document.part] += len(document.text.encode())
    assert min(sizes.values()) >= 200_000, sizes
    assert max(sizes.values()) <= 7_000_000, sizes
    described = [document for document in documents if document.part == "descriptions"]
    long = sum(len(document.text) for document in described if document.unit.startswith("long/"))
    assert 0.25 < long / sum(len(document.text) for document in described) < 0.6


def test_documents_are_in_order_and_none_is_twice_in_its_part(documents: list[Document]) -> None:
    assert [document.unit for document in documents] == sorted(document.unit for document in documents)
    assert len({(document.part, document.text) for document in documents}) == len(documents)
    assert all(document.text.strip() for document in documents)


def test_questions_have_answers_and_stand_in_one_part(documents: list[Document]) -> None:
    parts = defaultdict(set)
    for document in documents:
        assert bool(document.question and document.answer) == document.part.startswith("qa_")
        if document.question:
            assert document.text == f"{prompt_of(document.question)} {document.answer}"
            parts[document.text].add(document.part)
    assert all(len(of_text) == 1 for of_text in parts.values())


def test_a_module_is_one_unit_in_all_parts(documents: list[Document]) -> None:
    parts = defaultdict(set)
    for document in documents:
        parts[document.unit].add(document.part)
    assert {"library_docstrings", "qa_stem", "qa_reasoning"} <= parts["numpy.linalg._linalg"]
    assert {"qa_code", "qa_world_knowledge"} <= parts["ast"]
    assert not [unit for unit in parts if unit.startswith("/")]
    root = sysconfig.get_path("purelib")
    assert not [document.unit for document in documents if root in document.text]


def test_files_and_documents_are_the_same_every_time(documents: list[Document]) -> None:
    assert environment_files(ENVIRONMENT_PARTS) == environment_files(ENVIRONMENT_PARTS)
    some = [*PROSE, "topics", "qa_stem"]
    assert list(environment_documents(some, [])) == [document for document in documents if document.part in some]


def test_no_file_is_missing_from_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest of the listed files covers all that is read."""
    read: set[Path] = set()
    read_text = Path.read_text

    def noting(path: Path, *args: str, **options: str) -> str:
        read.add(path)
        return read_text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", noting)
    some = [*PROSE, "library_docstrings"]
    list(environment_documents(some, []))
    assert read == {path for _, path in environment_files(some)}
