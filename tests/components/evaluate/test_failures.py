"""The launcher of evaluation fails: whatever goes wrong, the store says why a model has no scores."""

from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate import results, run
from switchpoint.components.evaluate.run import evaluate_models
from switchpoint.components.launch.job import JobEnd
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import Store, write_json
from tests.components.tracking.made_study import make_study


def unevaluate(store: Store, *evaluations: Identity) -> None:
    for evaluation in evaluations:
        (store.local_folder(evaluation) / "record.json").unlink()


def test_a_job_that_cannot_be_run_is_the_failure_of_all_that_it_was_for(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = make_study(tmp_path, study)
    prose, mixed = plan.arm("prose").evaluation, plan.arm("mixed").evaluation
    unevaluate(store, prose, mixed)
    store.write_failure(prose, "of an earlier attempt", "log")

    def run_job(_: object) -> None:
        raise ConnectionError("the scheduler is away")

    monkeypatch.setattr(run, "fetch_heldout_parts", lambda *_: {})
    monkeypatch.setattr(run, "run_job", run_job)
    evaluate_models(plan, store)
    failures = {row.name: row.failure for row in results.rows(plan, store) if row.failure}
    assert failures == dict.fromkeys(["prose", "mixed"], "evaluation failed: ConnectionError: the scheduler is away")
    assert store.failure(plan.base_evaluation) is None  # it has its scores


def test_held_out_text_that_cannot_be_read_is_told_too(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = make_study(tmp_path, study)
    unevaluate(store, plan.arm("prose").evaluation)

    def fetch_heldout_parts(*_: object) -> None:
        raise FileNotFoundError("shard-3")

    monkeypatch.setattr(run, "fetch_heldout_parts", fetch_heldout_parts)
    evaluate_models(plan, store)
    (failure,) = [row.failure for row in results.rows(plan, store) if row.failure]
    assert failure == "evaluation failed: FileNotFoundError: shard-3"


def test_one_models_own_reason_stays(study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job ended: what a model's result says is better than that the evaluation failed."""
    plan, store = make_study(tmp_path, study)
    evaluation = plan.arm("prose").evaluation
    unevaluate(store, evaluation)

    def run_job(request: Any) -> JobEnd:
        folder = Path(request.arguments[0]).parent
        write_json(folder / f"{evaluation.digest}.json", {"error": "ValueError: no such task"})
        return JobEnd(succeeded=True, log=tmp_path / "log")

    monkeypatch.setattr(run, "fetch_heldout_parts", lambda *_: {})
    monkeypatch.setattr(run, "run_job", run_job)
    evaluate_models(plan, store)
    assert (store.failure(evaluation) or {})["reason"] == "ValueError: no such task"
