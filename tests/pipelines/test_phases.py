"""Phases of other lengths, batches and schedules, two horizons on one trunk: planned, trained, the same alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.results import curve
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.load import load_study
from switchpoint.components.store.store import Store
from tests.conftest import losses, switchpoint, tiny_study, weights


def phased_study(folder: Path) -> dict[str, Any]:
    study = tiny_study(folder)
    for field in ("gb", "qb", "arms"):
        del study[field]
    return study | {
        "document_mask": True,
        "schedule": {"kind": "wsd", "decay": "1-sqrt", "decay_fraction": 0.25, "floor_ratio": 0},
        "phases": {
            "gb": {"blend": "prose", "until": {"tokens": 1_280}},
            "qb": {"blend": "mixed", "until": {"progress": 0.8}},
            "long": {
                "blend": "mixed", "sequence_length": 64, "packing": "best_fit",
                "batch_size": {"start": 2, "end": 4, "over_tokens": 256},
            },
            "anneal": {
                "blend": "prose", "start": "new_schedule", "horizon_tokens": 1_280, "batch_size": 8,
                "schedule": {"kind": "linear", "max_learning_rate": 1e-3, "floor_ratio": 0.1},
            },
        },
        "arms": {"short": {}, "long": {"horizon_tokens": 7_680}},
    }  # fmt: skip


@pytest.mark.slow
def test_phases_of_all_kinds_run_as_planned_and_as_they_would_alone(
    tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    study = phased_study(tmp_path)
    together = write_recipe(study)
    ended = switchpoint("run", together, "--store", tmp_path / "together", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["state"] == "succeeded"
    store = Store(tmp_path / "together")
    plan, _ = check_study(load_study(together), str(together), store.root)
    assert plan.tokens_shared < plan.tokens_alone
    for arm in plan.arms:
        rows = curve(plan, store, arm)
        assert [row["step"] for row in rows] == list(range(1, arm.phases[-1].end_step + 1))
        assert [phase.name for phase in arm.phases] == ["gb", "qb", "long", "anneal"]
    del study["arms"]["short"]
    alone = write_recipe(study)
    ended = switchpoint("run", alone, "--store", tmp_path / "alone")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with_others = weights(tmp_path / "together")
    last = plan.arm("long").runs[-1]
    assert weights(tmp_path / "alone")[last.path] == with_others[last.path]
    assert losses(tmp_path / "alone")[last.path] == losses(tmp_path / "together")[last.path]
