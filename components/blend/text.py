"""The step `text`: an origin's documents, split into train and held-out."""

from pathlib import Path
from typing import Any

from components.blend.documents import Document, write_documents
from components.blend.folder_text import folder_documents
from components.blend.origins import origin_digest
from components.blend.python_text import python_documents
from components.blend.split import heldout_units
from components.recipe.digest import Identity
from components.recipe.errors import BadInput
from components.recipe.plan import PYTHON_ORIGIN, Plan
from components.store.store import Store

SIDES = ("train", "heldout")


def prepare_text(plan: Plan, store: Store, identity: Identity) -> None:
    """Reads, splits and writes the documents of the origin that `identity` stands for, unless the store has them."""
    if store.is_done(identity):
        return
    origin = next(name for name, text in plan.texts.items() if text == identity)
    skipped: list[str] = []
    found = python_documents(skipped) if origin == PYTHON_ORIGIN else folder_documents(Path(origin), "sources")
    documents = list(found)
    if origin_digest(origin, "sources") != identity.config["content"]:
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


def write_side(folder: Path, documents: list[Document], heldout: set[str], side: str) -> dict[str, Any]:
    """Writes one file per part; returns documents and bytes of each part."""
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
