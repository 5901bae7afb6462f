"""The step `text`: an origin's documents, split into train and held-out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchpoint.components.data.documents import Document, write_documents
from switchpoint.components.data.environment_text import environment_documents
from switchpoint.components.data.origins import origin_digest, parts_of
from switchpoint.components.data.python_text import python_documents
from switchpoint.components.data.split import heldout_units
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import PYTHON_ORIGIN
from switchpoint.components.store.store import Store

SIDES = ("train", "heldout")


def prepare_text(plan: Plan, store: Store, identity: Identity) -> None:
    """Read, split and write the documents of the origin that `identity` stands for, unless the store has them."""
    if store.is_done(identity):
        return
    origin = next(name for name, text in plan.texts.items() if text == identity)
    skipped: list[str] = []
    parts = parts_of(plan.recipe, origin)
    documents = list(_documents(origin, parts, skipped))
    if origin_digest(origin, parts) != identity.config["content"]:
        raise BadInput("the text has changed since it was planned: run again", file=origin, field="sources")
    heldout = heldout_units(documents, plan.recipe.heldout_fraction)
    with store.output(identity) as folder:
        counts = {side: write_side(folder / side, documents, heldout, side) for side in SIDES}
        for part, count in counts["train"].items():
            if not count["documents"] or not counts["heldout"][part]["documents"]:
                raise BadInput(
                    f"the text of `{part}` cannot be split: one side is left empty", file=origin,
                    field="heldout_fraction", given=plan.recipe.heldout_fraction,
                    allowed="a fraction that leaves documents on both sides",
                )  # fmt: skip
        store.write_record(identity, folder, {"counts": counts, "heldout_units": sorted(heldout), "skipped": skipped})


def _documents(origin: str, parts: list[str], skipped: list[str]) -> Iterator[Document]:
    if origin == PYTHON_ORIGIN:
        return python_documents(skipped)
    return environment_documents(parts, skipped)


def write_side(folder: Path, documents: list[Document], heldout: set[str], side: str) -> dict[str, Any]:
    """Write one file per part; return documents and bytes of each part."""
    counts: dict[str, Any] = {}
    for part in sorted({document.part for document in documents}):
        chosen = [
            document
            for document in documents
            if document.part == part and (document.unit in heldout) == (side == "heldout")
        ]
        write_documents(folder / f"{part}.jsonl", chosen)
        counts[part] = {
            "documents": len(chosen),
            "bytes": sum(len(document.text.encode()) for document in chosen),
        }
    return counts
