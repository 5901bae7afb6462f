"""Real text of many kinds that a Python environment carries, from the standard library and installed packages.

Nothing is imported or run but `pydoc_data.topics`, which is data: files are read, modules are parsed.
"""

import ast
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from switchpoint.components.data.documents import Document
from switchpoint.components.data.environment_places import part_files
from switchpoint.components.data.environment_prose import (
    Repetition,
    changelog_documents,
    description_documents,
    exercise_documents,
    whole_document,
)  # fmt: skip
from switchpoint.components.data.environment_qa import (
    Module,
    body_documents,
    definition_documents,
    help_documents,
    result_documents,
)  # fmt: skip
from switchpoint.components.data.python_text import topics

# In the order in which a unit gives them.
PROSE: dict[str, Callable[[str, str], Iterator[Document]]] = {
    "descriptions": description_documents,
    "changelogs": changelog_documents,
    "licences": partial(whole_document, "licences"),
    "readmes": partial(whole_document, "readmes"),
    "tutorials": partial(whole_document, "tutorials"),
    "exercises": exercise_documents,
}
QUESTIONS: dict[str, Callable[[Module, str], Iterator[Document]]] = {
    "qa_world_knowledge": definition_documents,
    "qa_reasoning": result_documents,
    "qa_stem": definition_documents,
    "qa_chat": help_documents,
    "qa_code": body_documents,
}
MARKS = {"qa_reasoning": ">>>", "qa_chat": "help="}
"""The mark of a part: a module without it has nothing for the part, and need not be parsed."""
ENVIRONMENT_PARTS = (*PROSE, "topics", "library_docstrings", "code", *QUESTIONS)


def environment_files(parts: Collection[str]) -> list[tuple[str, Path]]:
    """Return all files that the documents of these parts are made from, by name, in order."""
    return sorted({file for files in part_files(parts).values() for file in files})


def environment_bytes(parts: Collection[str]) -> dict[str, int]:
    """Return the bytes of distinct text by part."""
    sizes = dict.fromkeys(parts, 0)
    for document in environment_documents(parts, []):
        sizes[document.part] += len(document.text.encode())
    return sizes


def environment_documents(parts: Collection[str], skipped: list[str]) -> Iterator[Document]:
    """Yield the documents of these parts in order of their units, none twice in its part.

    The names of files that cannot be read as UTF-8 or as what they should be are added to `skipped`.
    """
    wanted: dict[tuple[str, Path], list[str]] = defaultdict(list)
    for part, files in part_files(parts).items():
        for file in files:
            wanted[file].append(part)
    found: list[Document] = []
    for (name, path), of_file in sorted(wanted.items()):
        try:
            found += file_documents(name, path, of_file)
        except (OSError, ValueError, SyntaxError):
            skipped.append(name)
    found.sort(key=lambda document: (document.unit, ENVIRONMENT_PARTS.index(document.part)))
    yield from without_copies(found)


def file_documents(name: str, path: Path, parts: Collection[str]) -> list[Document]:
    """Return the documents of these parts. Raise ValueError or SyntaxError for a file that is not what it should be."""
    if "topics" in parts:
        return [Document(unit=f"topic {name}", part="topics", text=text.strip()) for name, text in topics().items()]
    text = path.read_text(encoding="utf-8")
    parts = [part for part in parts if MARKS.get(part, "") in text]
    if path.suffix == ".py":
        if not parts:
            return []
        return list(module_documents(Module(name, text, ast.parse(text)), parts))
    return [document for part in parts for document in PROSE[part](name, text)]


def module_documents(module: Module, parts: Collection[str]) -> Iterator[Document]:
    if "library_docstrings" in parts and module.described:
        passages = tuple(text for _, _, text in module.described)
        text = "\n\n".join(passages)
        yield Document(unit=module.name, part="library_docstrings", text=text, passages=passages)
    if "code" in parts:
        yield from whole_document("code", module.name, module.source)
    for part, questions in QUESTIONS.items():
        if part in parts:
            yield from questions(module, part)


def without_copies(documents: list[Document]) -> Iterator[Document]:
    """Yield the first of equal texts of a part, and no prose that mostly repeats what came before in its part."""
    seen: set[tuple[str, str]] = set()
    repetition = {part: Repetition() for part in PROSE}
    for document in documents:
        if (document.part, document.text) in seen:
            continue
        seen.add((document.part, document.text))
        if document.part not in PROSE or repetition[document.part].is_mostly_new(document.text):
            yield document
