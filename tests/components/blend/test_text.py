"""The step `text`: both sides are written, and only what was planned."""

from pathlib import Path
from typing import Any

import pytest

from components.blend.documents import read_documents
from components.blend.text import prepare_text
from components.plan.run import check_study
from components.recipe.errors import BadInput
from components.store.store import open_store


def test_a_folder_is_split_file_by_file(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"] = {name: {"folder": str(tmp_path / name)} for name in study["sources"]}
    plan, _ = check_study(study, "recipe.yaml", tmp_path / "store")
    store = open_store(tmp_path / "store")
    for identity in plan.texts.values():
        prepare_text(plan, store, identity)
        sides = [list(read_documents(store.path(identity) / side / "text.jsonl")) for side in ("train", "heldout")]
        units = [{document.unit for document in side} for side in sides]
        assert not units[0] & units[1]
        assert len(units[0] | units[1]) == 16
        record = store.record(identity)
        assert record is not None
        assert record["outputs"]["heldout_units"] == sorted(units[1])


def test_text_that_changed_after_it_was_planned_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"] = {name: {"folder": str(tmp_path / name)} for name in study["sources"]}
    plan, _ = check_study(study, "recipe.yaml", tmp_path / "store")
    store = open_store(tmp_path / "store")
    (tmp_path / "prose" / "late.txt").write_text("added while it ran")
    with pytest.raises(BadInput, match="the text has changed since it was planned"):
        prepare_text(plan, store, plan.texts[str(tmp_path / "prose")])
    assert not (tmp_path / "store" / "text").exists()
