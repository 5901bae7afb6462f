"""Prose that the environment carries: descriptions and changelogs of distributions, licences, guides, exercises."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from switchpoint.components.data.documents import Document

# The one in C, where there is one. It reads past `!function`, whose code is not run.
LOADER: Any = type("TaskLoader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
LOADER.add_multi_constructor("!", lambda loader, suffix, node: None)

LONG_CHARACTERS = 16_000
"""Descriptions from this length on are the `long/` ones: a third to a half of all text of descriptions."""
MIN_CHANGELOG_CHARACTERS = 1000
MIN_LINE_CHARACTERS = 30
"""Shorter lines (headings, code) do not tell whether a text repeats another."""

CHANGELOG_TITLE = re.compile(
    r"change ?log|changes|(change|release|version) (history|log)|release notes.*|history|what'?s new.*|news",
    re.IGNORECASE,
)
VERSION_TITLE = re.compile(r".*(\d+\.\d|\d{4}-\d\d-\d\d|\bunreleased\b).*", re.IGNORECASE)
UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*")


def description_documents(name: str, text: str) -> Iterator[Document]:
    """Yield the documents of a description. `name` is the path of a distribution's METADATA."""
    description, _ = split_changelog(text.partition("\n\n")[2])
    if description.strip():
        yield Document(unit=distribution_unit(name, text), part="descriptions", text=description.strip())


def changelog_documents(name: str, text: str) -> Iterator[Document]:
    """Yield the changelog: from METADATA the section that lists the changes, any other file as a whole."""
    if not name.endswith("/METADATA"):
        yield Document(unit=name, part="changelogs", text=text.strip())
        return
    _, changelog = split_changelog(text.partition("\n\n")[2])
    if changelog:
        yield Document(unit=distribution_unit(name, text), part="changelogs", text=changelog.strip())


def distribution_unit(name: str, text: str) -> str:
    """Return the unit of a METADATA file: both of its parts are of one unit, named after the length of its
    description.
    """
    description, _ = split_changelog(text.partition("\n\n")[2])
    tier = "long" if len(description.strip()) >= LONG_CHARACTERS else "short"
    return f"{tier}/{name.split('/')[0].removesuffix('.dist-info').rpartition('-')[0]}"


@dataclass(frozen=True)
class Heading:
    line: int
    level: int
    title: str


def split_changelog(text: str) -> tuple[str, str]:
    """Return the text without its section of changes, and that section ("" if there is none of some length).

    The section ends after the last version: READMEs and changelogs are often joined to one text in which the
    headings of both follow no common order.
    """
    lines = text.splitlines()
    found = headings(lines)
    for index, heading in enumerate(found):
        if not CHANGELOG_TITLE.fullmatch(heading.title):
            continue
        level, last = heading.level, index
        for number, following in enumerate(found[index + 1 :], index + 1):
            if VERSION_TITLE.fullmatch(following.title) and (following.level == level or last == number - 1 == index):
                level, last = following.level, number
        end = next((other.line for other in found[last + 1 :] if other.level <= level), len(lines))
        section = "\n".join(lines[heading.line : end])
        if len(section) >= MIN_CHANGELOG_CHARACTERS:
            return "\n".join(lines[: heading.line] + lines[end:]), section
    return text, ""


def headings(lines: list[str]) -> list[Heading]:
    """Return the headings of Markdown and reStructuredText; underlined ones are levelled by the first use of their
    line.
    """
    found: list[Heading] = []
    styles: list[str] = []
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced or not line.strip():
            continue
        marked = re.fullmatch(r"(#{1,6}) +(.*?)[ #]*", line)
        if marked:
            found.append(Heading(line=number, level=len(marked[1]), title=marked[2].strip()))
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if UNDERLINE.fullmatch(below) and len(below.strip()) >= len(line.strip()) and not UNDERLINE.fullmatch(line):
            above = number > 0 and lines[number - 1].strip() == below.strip()
            style = below[0] * (2 if above else 1)
            if style not in styles:
                styles.append(style)
            found.append(Heading(line=number - above, level=styles.index(style) + 1, title=line.strip()))
    return found


def whole_document(part: str, name: str, text: str) -> Iterator[Document]:
    if text.strip():
        yield Document(unit=name, part=part, text=text.strip())


def exercise_documents(name: str, text: str) -> Iterator[Document]:
    """Yield what a task's file says in its language. All files of a folder named after a language are one unit."""
    try:
        config = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error
    samples = (config.get("fewshot_config") or {}).get("samples") or []
    said = [str(config.get("description") or ""), *(sample_text(sample) for sample in samples)]
    written = "\n\n".join(passage.strip() for passage in said if not passage.isascii())
    if written:
        unit = name.rpartition("/")[0] if "/mmlu_prox/" in name else name
        yield Document(unit=unit, part="exercises", text=written)


def sample_text(sample: dict[str, Any]) -> str:
    """Return a question, its options and the answer."""
    options = [f"{key}. {value}" for key, value in sorted(sample.items()) if len(key) == 1]
    return "\n".join([str(sample.get("question", "")), *options, str(sample.get("target", ""))])


class Repetition:
    """Which lines have been seen: licences above all are copies of each other but for a name."""

    def __init__(self) -> None:
        self.lines: set[str] = set()

    def is_mostly_new(self, text: str) -> bool:
        """Return whether at least half of the longer lines were in no text before. Remember the lines."""
        lines = {" ".join(line.split()) for line in text.splitlines()}
        telling = {line for line in lines if len(line) >= MIN_LINE_CHARACTERS}
        is_new = 2 * len(telling - self.lines) >= len(telling)
        self.lines |= telling
        return is_new
