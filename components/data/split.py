"""Train and held-out, decided unit by unit before anything else is made of the text.

Units that share a docstring (copied from one module to another) are one group and fall on one side together.
Folders are split elsewhere, by the hash of each document (`corpus.py`).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from switchpoint.components.data.documents import Document
from switchpoint.components.data.environment_text import PROSE

MIN_SHARED_CHARACTERS = 30
"""Shorter answers ("Return self.") are common phrases, not copies."""


def heldout_units(documents: Iterable[Document], fraction: float) -> set[str]:
    """Return the units that are held out: about `fraction` of the bytes, of each kind of unit, the same every time."""
    documents = list(documents)
    sizes: dict[str, int] = defaultdict(int)
    kinds: dict[str, str] = {}
    for document in documents:
        sizes[document.unit] += len(document.text.encode())
        kinds.setdefault(document.unit, _kind(document))
    heldout: set[str] = set()
    groups = _groups(documents)
    for kind in sorted(set(kinds.values())):
        of_kind = [group for group in groups if kinds[group[0]] == kind]
        of_kind.sort(key=lambda group: hashlib.sha256(group[0].encode()).digest())
        size = {group[0]: sum(sizes[unit] for unit in group) for group in of_kind}
        wanted = fraction * sum(size.values())
        taken = 0
        for group in of_kind:
            if taken < wanted and taken + size[group[0]] <= 1.5 * wanted:
                taken += size[group[0]]
                heldout.update(group)
        if not taken and len(of_kind) > 1:
            smallest = min(of_kind, key=lambda group: (size[group[0]], group))
            heldout.update(smallest)
    return heldout - _leaking(documents, heldout, groups)


def _kind(document: Document) -> str:
    """Return the kind of a unit. Units of prose are a kind by their part, so that each part has text on both sides; of
    all others there is one.
    """
    if document.part == "descriptions":  # its long documents are a tier, which needs both sides too
        return f"{document.part} {document.unit.partition('/')[0]}"
    return document.part if document.part == "topics" or document.part in PROSE else "unit"


def _leaking(documents: list[Document], heldout: set[str], groups: list[list[str]]) -> set[str]:
    """Return held-out units with a passage inside some line of the training text: they go to training with their group.

    What goes there adds to the training text, so the others are searched again until nothing is found.
    """
    group_of = {unit: group for group in groups for unit in group}
    leaking: set[str] = set()
    added = "\n".join(document.text for document in documents if document.unit not in heldout)
    while added:
        found = {
            unit
            for document in documents
            if document.unit in heldout - leaking and any(passage in added for passage in _passages(document))
            for unit in group_of[document.unit]
        }
        leaking |= found
        added = "\n".join(document.text for document in documents if document.unit in found)
    return leaking


def _groups(documents: Iterable[Document]) -> list[list[str]]:
    """Return units joined by what they share, each group in order of its names."""
    documents = list(documents)
    units_with_line: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        for line in _lines(document.text):
            units_with_line[line].add(document.unit)
    parent = {document.unit: document.unit for document in documents}

    def root(unit: str) -> str:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    for document in documents:
        for passage in _passages(document):
            lines = _lines(passage)
            # Units with every line of the passage: all that hold a copy, and now and then one that does not.
            for unit in set.intersection(*(units_with_line[line] for line in lines)) if lines else ():
                if root(unit) != root(document.unit):
                    parent[max(root(unit), root(document.unit))] = min(root(unit), root(document.unit))
    groups = defaultdict(list)
    for unit in sorted(parent):
        groups[root(unit)].append(unit)
    return list(groups.values())


def _passages(document: Document) -> list[str]:
    """Return the passages that must not stand on both sides: each docstring."""
    passages = document.passages if document.part in ("docstrings", "library_docstrings") else ()
    return [passage for passage in passages if len(passage) >= MIN_SHARED_CHARACTERS]


def _lines(text: str) -> list[str]:
    """Return lines without indentation and quotes, so that a docstring is found inside the code that holds it."""
    lines = (line.strip().lstrip("rRuUbB").strip("\"'").strip() for line in text.splitlines())
    return [line for line in lines if line]
