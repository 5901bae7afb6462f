"""From one check of a gate to the next: what is trained, evaluated and recorded, and what an interruption leaves."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.run import EvaluationFailed
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.halving import Stops
from switchpoint.components.recipe.history import requesting
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages import gated
from switchpoint.components.stages.gated import train_gated
from switchpoint.components.stages.run import check_parent
from switchpoint.components.stages.supervise import TrainingFailed
from switchpoint.components.store.gate_scores import expand_as_decided
from switchpoint.components.store.store import Store
from switchpoint.components.train.outputs import missing_arms, missing_gb_runs, run_is_done

NO_STOPS: Stops = {}


class Work:
    """Training and evaluation that only write what the store has of them."""

    def __init__(self, store: Store, values: dict[int, float]) -> None:
        self.store, self.values = store, values
        self.done: list[str] = []
        self.score = "bits_per_byte"
        self.fails = False

    def train_run(self, plan: Plan, store: Store, run: Trained) -> None:
        folder = store.local_folder(run.identity)
        before = (store.record(run.identity) or {"outputs": {}})["outputs"]
        if all((folder / "models" / f"step-{step:08d}").is_dir() for step in run.export_steps) and before:
            return
        self.done.append(f"train to {run.stage.end_step}")
        assert not run.checks
        for step in run.export_steps:
            (folder / "models" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)
        for step in run.keep_steps:
            checkpoint = folder / "checkpoints" / f"step-{step:08d}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "state.json").write_text('{"weights_sha256": "x"}')
        store.write_record(run.identity, folder, {**before, "keep_steps": list(run.keep_steps), "weights_sha256": {}})

    def evaluate_one(self, plan: Plan, store: Store, evaluation: Identity) -> dict[str, dict[str, float]]:
        step = evaluation.inputs["model"].config["step"]
        self.done.append(f"evaluate {step}")
        if self.fails:
            raise EvaluationFailed("no memory")
        return {self.score: {"value": self.values[step]}}


def planned(study: dict[str, Any], store: Store, check_at: list[float]) -> Plan:
    gate = {"score": "bits_per_byte", "at_most": 2.0, "check_at": check_at}
    arms = {"gated": {"phases": {"gb": {"gate": gate}}}, "plain": {}}
    recipe = parse_recipe(deepcopy(study) | {"switch": {"steps": 20}, "arms": arms}, "recipe.yaml")
    digests = {origin_of(source): "content" for source in recipe.sources.values()}
    return expand_as_decided(recipe, digests, "recipe.yaml", NO_STOPS, store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def work(store: Store, monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work(store, {5: 3.0, 10: 2.5, 20: 1.5})
    monkeypatch.setattr(gated, "train_run", work.train_run)
    monkeypatch.setattr(gated, "evaluate_one", work.evaluate_one)
    return work


def gb_of(plan: Plan) -> Trained:
    return plan.run(plan.arm("gated").gb_run.digest)


def test_a_phase_is_trained_from_check_to_check_until_its_gate_holds(
    study: dict[str, Any], store: Store, work: Work
) -> None:
    work.values[10] = 1.9
    plan = planned(study, store, [0.25, 0.5, 1])
    run = gb_of(plan)
    train_gated(plan, store, run)
    assert work.done == ["train to 5", "evaluate 5", "train to 10", "evaluate 10"]
    outputs = (store.record(run.identity) or {})["outputs"]
    assert [(one["step"], one["value"], one["at_most"], one["holds"]) for one in outputs["gate"]] == [
        (5, 3.0, 2.0, False), (10, 1.9, 2.0, True),
    ]  # fmt: skip
    assert (outputs["ended_step"], outputs["keep_steps"]) == (10, [5, 10])
    plan = planned(study, store, [0.25, 0.5, 1])
    assert run_is_done(plan, store, gb_of(plan))
    qb = plan.run(plan.arm("gated").runs[1].digest)
    assert qb.parent_step == 10
    check_parent(plan, store, qb)
    assert [arm.run_name for arm in missing_arms(plan, store)] == ["gated", "plain"]
    train_gated(plan, store, gb_of(plan))
    assert len(work.done) == 4


def test_a_model_that_is_requested_later_is_made_of_a_phase_that_has_ended(
    study: dict[str, Any], store: Store, work: Work
) -> None:
    work.values[10] = 1.0
    plan = planned(study, store, [0.5, 1])
    train_gated(plan, store, gb_of(plan))
    work.done.clear()
    for run in (gb_of(plan), gb_of(planned(study, store, [0.5, 1]))):  # planned before the decision, and after it
        train_gated(plan, store, requesting(run, export=[7], keep=[7]))
    assert [one for one in work.done if "train" in one] == ["train to 10"]


def test_an_arm_whose_gate_does_not_hold_has_nothing_left_to_train(
    study: dict[str, Any], store: Store, work: Work
) -> None:
    work.values[20] = 2.2
    plan = planned(study, store, [0.5, 1])
    train_gated(plan, store, gb_of(plan))
    assert work.done == ["train to 10", "evaluate 10", "train to 20", "evaluate 20"]
    assert (store.record(gb_of(plan).identity) or {})["outputs"]["ended_step"] == 20
    plan = planned(study, store, [0.5, 1])
    assert plan.arm("gated").stopped == "gate of gb: bits_per_byte 2.2, allowed at most 2, at step 20"
    assert [arm.run_name for arm in missing_arms(plan, store)] == ["plain"]
    assert [run.identity for run in missing_gb_runs(plan, store)] == [plan.arm("plain").gb_run]


def test_what_an_interruption_left_is_not_done_again(study: dict[str, Any], store: Store, work: Work) -> None:
    plan = planned(study, store, [0.5, 1])
    work.fails = True
    with pytest.raises(TrainingFailed, match="its gate cannot be checked at step 10: no memory"):
        train_gated(plan, store, gb_of(plan))
    assert not run_is_done(plan, store, gb_of(plan))  # trained, and not checked
    assert planned(study, store, [0.5, 1]).may_end_early
    work.fails = False
    work.done.clear()
    train_gated(plan, store, gb_of(plan))
    assert work.done == ["evaluate 10", "train to 20", "evaluate 20"]
    # One that was decided before is read from the record, by whatever plan.
    work.done.clear()
    plan = planned(study, store, [0.5, 1])
    assert [check.value for check in gb_of(plan).checks] == [2.5, 1.5]
    train_gated(plan, store, gb_of(plan))
    assert work.done == []


def test_what_was_trained_to_its_end_and_not_checked_is_not_done(
    study: dict[str, Any], store: Store, work: Work
) -> None:
    plan, work.fails = planned(study, store, [1]), True
    with pytest.raises(TrainingFailed):
        train_gated(plan, store, gb_of(plan))
    assert not run_is_done(plan, store, gb_of(plan))
    assert gb_of(plan).identity in [run.identity for run in missing_gb_runs(plan, store)]


def test_a_score_that_the_evaluation_has_not_is_a_failure_and_no_result(
    study: dict[str, Any], store: Store, work: Work
) -> None:
    work.score = "accuracy"
    plan = planned(study, store, [1])
    with pytest.raises(TrainingFailed, match="the evaluation has no score bits_per_byte; it has accuracy"):
        train_gated(plan, store, gb_of(plan))
    assert not planned(study, store, [1]).arm("gated").stopped


def test_what_has_no_gate_is_trained_at_once(study: dict[str, Any], store: Store, work: Work) -> None:
    plan = planned(study, store, [1])
    train_gated(plan, store, plan.run(plan.arm("plain").gb_run.digest))
    assert work.done == ["train to 20"]
