"""The step `report`: it is done when every number that was asked for is in it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from switchpoint.components.evaluate import results
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.table import build_table
from switchpoint.components.store.store import Store, read_json
from switchpoint.pipelines.commands.show import print_outcome
from tests.components.tracking.made_study import make_study, report


def with_checkpoint(study: dict[str, Any], folder: Path) -> tuple[Plan, Store]:
    """Every arm is asked for its scores at step 36 too; only `prose` has them."""
    study["evaluation"]["checkpoints"] = [0.9]
    plan, store = make_study(folder, study)
    for arm in ("mixed", "switched"):
        shutil.rmtree(store.local_folder(plan.arm(arm).checkpoint_evaluations[36]))
    return plan, store


def evaluate(plan: Plan, store: Store, arm: str) -> None:
    evaluation = plan.arm(arm).checkpoint_evaluations[36]
    store.local_folder(evaluation).mkdir(parents=True)
    store.write_record(evaluation, store.local_folder(evaluation), {"scores": {}})


def test_a_chosen_checkpoint_without_scores_is_told_and_waited_for(study: dict[str, Any], tmp_path: Path) -> None:
    plan, store = with_checkpoint(study, tmp_path)
    evaluation = plan.arm("mixed").checkpoint_evaluations[36]
    store.write_failure(evaluation, "no memory", "log")
    page = report(plan, store)
    assert "mixed at step 36: evaluation failed: no memory" in page.read_text()
    assert "switched at step 36: not run" in page.read_text()
    rows = {row["name"]: row for row in read_json(page.with_name("report.json"))["rows"]}
    assert rows["mixed"]["checkpoint_failures"] == {"36": "evaluation failed: no memory"}
    assert rows["prose"]["checkpoint_failures"] == {}
    assert rows["mixed"]["failure"] == ""  # it has its scores at the end
    assert not store.is_done(plan.report)
    # By which the command fails, as where an arm has no scores.
    (failure,) = print_outcome(plan, store, Console(quiet=True))["failures"]
    assert failure["digest"] == evaluation.digest
    store.forget_failure(evaluation)
    evaluate(plan, store, "mixed")
    evaluate(plan, store, "switched")
    assert "at step 36" not in report(plan, store).read_text()
    assert store.is_done(plan.report)


def test_an_arm_that_was_stopped_is_not_waited_for(study: dict[str, Any], tmp_path: Path) -> None:
    plan, store = with_checkpoint(study, tmp_path)
    rows = results.rows(plan, store)
    assert len(build_table(plan, rows).failures) == 2
    stopped = [replace(row, arm=row.arm and replace(row.arm, stopped="it was last")) for row in rows]
    assert build_table(plan, stopped).failures == []
