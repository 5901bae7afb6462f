"""A paper's sources bound to real text: of the Python environment, or of the user's own."""

from pathlib import Path
from typing import Any

from switchpoint.components.data.environment_places import NamedFiles, part_files
from switchpoint.components.data.environment_text import file_documents, without_copies
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.load import absolute_folders
from switchpoint.components.recipe.problems import unknown
from switchpoint.components.recipe.yaml_file import Lines, read_yaml

MIN_BYTES = 200_000
"""The least number of bytes of distinct text: a paper's source that finds less is bound to nothing."""

BINDING = {
    "web_crawl": "descriptions", "misc": "readmes", "news": "changelogs", "scientific_papers": "library_docstrings",
    "books": "tutorials", "legal": "licences", "encyclopedia": "topics", "multilingual_web": "exercises",
    "github": "code", "qa_world_knowledge": "qa_world_knowledge", "qa_reasoning": "qa_reasoning",
    "qa_stem": "qa_stem", "qa_chat": "qa_chat", "qa_code": "qa_code",
}  # fmt: skip
"""Parts of the environment's text, by the names of the catalogue. Weak stand-ins: chapter-long tutorials as books;
exercises in many languages, mostly Korean, as multilingual web. There is nothing for finance and parallel corpora."""
TIERS = {("web_crawl", "high"): "long/*"}
"""High Quality Web: long descriptions."""


def bound_to_environment(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study with its sources bound to the environment's text; those that find too little are left out."""
    sources, left_out = {}, list(study.get("left_out", []))
    files = part_files(set(BINDING.values()))
    for name, source in study["sources"].items():
        if "mine" in source or "generate" in source:
            sources[name] = source
            continue
        part = BINDING.get(name)
        if part is None or not has_enough(part, files[part]):
            left_out.append(name)
            sources[name] = source
            continue
        tiers = {
            tier: config | {"documents": TIERS[name, tier]} if (name, tier) in TIERS else config
            for tier, config in source.get("tiers", {}).items()
        }
        sources[name] = source | {"environment": part} | ({"tiers": tiers} if tiers else {})
    return study | {"sources": sources, "left_out": list(dict.fromkeys(left_out))}


def has_enough(part: str, files: NamedFiles) -> bool:
    """Return whether a part holds MIN_BYTES of distinct text: no more of its files is read than that takes."""
    read, number, size = [], 0, 16
    while number < len(files):
        for name, path in files[number : number + size]:
            try:
                read += file_documents(name, path, [part])
            except (OSError, ValueError, SyntaxError):
                continue
        number, size = number + size, 2 * size
        if sum(len(document.text.encode()) for document in without_copies(read)) >= MIN_BYTES:
            return True
    return False


def bound_to_user(study: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the study with sources as the file says: `NAME: {folder: ...}`, or `NAME: null` to leave one out.

    Raise BadInput if the file names a source that the study does not have, or is no such file.
    """
    given = read_yaml(path, "the file of sources")
    lines, problems = Lines(str(path)), []
    for name, source in given.items():
        if name not in study["sources"]:
            problems.append(unknown("source", name, study["sources"]).at(str(path), str(name), lines.of([str(name)])))
        elif source is not None and not isinstance(source, dict):
            problems.append(
                BadInput(
                    "a source is a mapping such as {folder: ...}", file=str(path), field=str(name), given=source,
                    allowed="fields of a source, or null to leave it out", line=lines.of([str(name)]),
                )
            )  # fmt: skip
    raise_all(problems)
    absolute_folders({"sources": given}, path.parent)
    sources = {name: source | (given.get(name) or {}) for name, source in study["sources"].items()}
    left_out = [*study.get("left_out", []), *(name for name, source in given.items() if source is None)]
    return study | {"sources": sources, "left_out": list(dict.fromkeys(left_out))}
