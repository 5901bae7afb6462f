"""Docstrings are full phrases in plain words: none begins with "Of", none holds a private word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEGINS_WITH_OF = re.compile(r"\s*Of\b")
PRIVATE_WORDS = {
    r"mend(s|ed|ing)?": "fix, repair",
    r"(go|goes|going|gone|went) on": "resume, continue",
    r"(go|goes|gone) through": "repeat, draw",
    r"look(s|ed)? at": "read, check, poll",
    r"(is|are) wanted": "is requested",
    r"(ask|asks|asked|asking) again": "retry, poll",
    r"anew": "again",
}
"""Patterns, each with the words to write instead."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every docstring of a module, attribute docstrings included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def problems(source: str) -> list[tuple[int, str]]:
    """Return (line, problem) of every docstring that needs other words."""
    found = []
    for line, text in docstrings(source):
        if BEGINS_WITH_OF.match(text):
            found.append((line, 'begins with "Of": begin with a verb in the imperative or a noun'))
        for pattern, instead in PRIVATE_WORDS.items():
            if match := re.search(rf"\b{pattern}\b", " ".join(text.split()), re.IGNORECASE):
                found.append((line, f"says {match[0]!r}: write {instead}"))
    return found


@pytest.mark.parametrize("room", ["components", "pipelines"])
def test_docstrings_are_full_phrases_in_plain_words(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line} {problem}"
        for file in files
        for line, problem in problems(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_every_kind_of_docstring_is_read() -> None:
    source = '''"""Of a module."""
LIMIT = 1
"""Of a constant."""
class Sample:
    """Of a class."""
    size: int
    """Of an attribute."""
    def __init__(self) -> None:
        """It is asked
        again."""
        self.seen = 0
        """Often counted."""
if LIMIT:
    WIDTH = 2
    """Mended, then made anew."""
'''
    assert sorted(problems(source)) == [
        (1, 'begins with "Of": begin with a verb in the imperative or a noun'),
        (3, 'begins with "Of": begin with a verb in the imperative or a noun'),
        (5, 'begins with "Of": begin with a verb in the imperative or a noun'),
        (7, 'begins with "Of": begin with a verb in the imperative or a noun'),
        (9, "says 'asked again': write retry, poll"),
        (15, "says 'Mended': write fix, repair"),
        (15, "says 'anew': write again"),
    ]
