"""A study with gates, from its recipe to its report: one that holds early, one that ends its arm, and none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from switchpoint.components.train.checkpoint import has_model, steps_in
from switchpoint.pipelines.commands.rungs import current_rung
from tests.conftest import losses, switchpoint

pytestmark = pytest.mark.slow


def gate(**bound: float) -> dict[str, Any]:
    return {"phases": {"gb": {"gate": {"score": "bits_per_byte", "check_at": [0.5, 1], **bound}}}}


def plan_of(recipe: Path, root: Path) -> Plan:
    return current_rung(load_study(recipe), str(recipe), root).plan


def test_a_study_with_gates(
    study: dict[str, Any], tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    study |= {
        "switch": {"steps": 20}, "arms": {"plain": {}, "early": gate(at_most=100), "ended": gate(at_most=0.1)},
        "merges": {"soup": {"of": ["plain", "ended"]}},
    }  # fmt: skip
    recipe, root = write_recipe(study), tmp_path / "store"
    store, before = Store(root), plan_of(recipe, root)
    ended = switchpoint("run", recipe, "--store", root, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "up to 15,360 tokens" in ended.stderr
    outcome = json.loads(ended.stdout)
    rows = {row["name"]: row for row in outcome["rows"]}
    assert outcome["state"] == "succeeded"
    assert [row["failure"] for row in rows.values()] == [""] * 5
    # The gate that holds at half of its phase: QB continues from there, at the steps that were planned.
    plan = plan_of(recipe, root)
    early, plain = plan.arm("early"), plan.arm("plain")
    assert early.runs == before.arm("early").runs
    gb, qb = (plan.run(identity.digest) for identity in early.runs)
    assert (steps_in(store.output_location(gb.identity)), qb.parent_step) == ([10], 10)
    outputs = (store.record(gb.identity) or {})["outputs"]
    assert outputs["ended_step"] == 10
    assert [(one["step"], one["holds"]) for one in outputs["gate"]] == [(10, True)]
    trained = losses(root)
    assert [len(trained[str(run.path)]) for run in early.runs] == [10, 20]
    assert [phase["tokens"] for phase in rows["early"]["phases"]] == [1280, 2560]
    # The gate that never holds ends its arm, which shows the scores of the model that was checked.
    reason = rows["ended"]["stopped"]
    checked = (store.record(plan.run(plan.arm("ended").gb_run.digest).checks[-1].evaluation) or {})["outputs"]
    value = checked["scores"]["bits_per_byte"]["value"]
    assert reason == f"gate of gb: bits_per_byte {value:.4g}, allowed at most 0.1, at step 20"
    assert rows["ended"]["scores"] == checked["scores"]
    assert not store.is_begun(before.arm("ended").runs[1].path)
    assert rows["soup"]["stopped"] == f"ended ended at a gate ({reason})"
    page = Path(outcome["report"]).read_text()
    assert f"ended was stopped: {reason}" in page
    assert "held at step 10; 1,280 of the phase&#x27;s 2,560 tokens were not trained" in page
    assert outcome["verdict"].endswith("1 of 5 rows ended at a gate and are not compared: ended.")
    compared = [outcome["comparisons"][0]["best"], *(one["arm"] for one in outcome["comparisons"][0]["against"])]
    assert "ended" not in compared
    # Training up to a check and then further leaves the same bits as training at once.
    whole, in_parts = ((store.record(plan.arm(name).gb_run) or {})["outputs"] for name in ("plain", "ended"))
    assert whole["weights_sha256"]["20"] == in_parts["weights_sha256"]["20"]
    assert has_model(store.output_location(plain.runs[1]), 40)
    assert sum(len(rows) for name, rows in trained.items() if not name.startswith("base")) * 128 == plan.tokens_shared
    # Nothing is done again.
    written = {path: path.stat().st_mtime_ns for path in root.glob("phase/*/*.json*")}
    again = switchpoint("run", recipe, "--store", root)
    assert "nothing is left to do" in again.stdout
    assert "ended was stopped: gate of gb" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in root.glob("phase/*/*.json*")} == written
