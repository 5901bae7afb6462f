"""The bases of a study are made in order, and one that fails takes only its own arms along."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate.results import rows
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Output
from switchpoint.components.stages import bases
from switchpoint.components.stages.bases import make_bases
from switchpoint.components.stages.run import _start, check_parent
from switchpoint.components.stages.supervise import TrainingFailed
from switchpoint.components.store.store import MODEL_FOLDER, Store
from switchpoint.components.transform.run import NotTransformable, transform_model
from tests.components.merge.test_average import model
from tests.components.recipe.test_bases import HALF, SAME, other, planned

Make = Callable[[Plan, Store, Output[Any]], None]


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    bases = {"half": HALF, "same": SAME | {"transform": {"kind": "copy", "of": "half"}}, "small": other(study)}
    arms = {"one": {}, "two": {"base": "same"}, "three": {"base": "small"}}
    return planned(study, bases=bases, arms=arms, start="fresh")


def making(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    """Have `make` pretrain and transform."""
    monkeypatch.setattr(bases, "train_run", make)
    monkeypatch.setattr(bases, "transform_model", make)


def test_each_base_is_made_once_after_the_one_that_it_is_made_of(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    making(monkeypatch, lambda _plan, _store, output: made.append(output.identity.path))
    make_bases(plan, Store(tmp_path))
    assert made == [plan.bases[name].output.identity.path for name in ("base", "same", "small")]


def test_a_base_that_fails_is_data_while_another_is_made(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, small = Store(tmp_path), plan.bases["small"]

    def fail_small(_plan: Plan, store: Store, output: Output[Any]) -> None:
        if output.identity == small.output.identity:
            raise TrainingFailed("loss is nan at step 3")

    making(monkeypatch, fail_small)
    make_bases(plan, store)
    first_run = plan.run(plan.arm("three").runs[0].digest)
    with pytest.raises(TrainingFailed, match=r"the base small that it starts from is missing: .*nan at step 3"):
        check_parent(plan, store, first_run)
    reasons = {row.name: row.failure for row in rows(plan, store)}
    told = "small failed: TrainingFailed: loss is nan at step 3"
    assert {name for name, reason in reasons.items() if reason == told} == {"small", "three"}


def test_where_no_base_is_made_the_task_fails(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_plan: Plan, _store: Store, output: Output[Any]) -> None:
        raise TrainingFailed(f"no {output.identity.kind}")

    making(monkeypatch, fail)
    with pytest.raises(TrainingFailed, match="no base"):
        make_bases(plan, Store(tmp_path))


def test_a_transform_needs_its_model_and_records_what_it_made(plan: Plan, tmp_path: Path) -> None:
    store, half, same = Store(tmp_path), plan.bases["half"], plan.bases["same"]
    store.write_failure(half.output.identity, "out of memory", "log")
    output: Output[Any] = same.output
    with pytest.raises(NotTransformable, match="that it is made of is missing: out of memory"):
        transform_model(plan, store, output)
    source = store.local_folder(half.output.identity) / "models" / f"step-{half.step:08d}"
    source.mkdir(parents=True)
    with pytest.raises(NotTransformable, match="has no safetensors"):
        transform_model(plan, store, output)
    source.rmdir()
    model(source, 0)
    transform_model(plan, store, output)
    record = store.record(same.output.identity)
    assert record is not None
    assert record["outputs"]["model"] == MODEL_FOLDER
    assert record["inputs"] == {"model": half.model.path}


def test_a_run_starts_from_its_own_base(study: dict[str, Any], tmp_path: Path) -> None:
    arms = {"whole": {}, "early": {"base": "half"}, "copied": {"base": "same", "start": "fresh"}}
    plan, store = planned(study, bases={"half": HALF, "same": SAME}, arms=arms), Store(tmp_path)
    base, same = plan.bases["base"].output.identity.path, plan.bases["same"].output.identity.path
    starts = {name: _start(plan, store, plan.run(plan.arm(name).runs[0].digest)) for name in arms}
    for name, step in (("whole", 40), ("early", 20)):
        assert starts[name] == {
            "model_config_folder": f"{base}/models/step-{step:08d}",
            "start_checkpoint": f"{store.root}/{base}/checkpoints/step-{step:08d}",
        }
    model_folder = f"{same}/{MODEL_FOLDER}"
    assert starts["copied"] == {"model_config_folder": model_folder, "start_model": model_folder}
