"""A finished study that gets another arm trains that arm's own part only; what was pruned is trained again for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages.prune import prune
from switchpoint.components.stages.run import train_run
from switchpoint.components.store.plan_file import save_plan
from switchpoint.components.store.store import Store, read_json
from switchpoint.components.train.checkpoint import steps_in
from switchpoint.components.train.outputs import arm_is_done, run_is_done
from switchpoint.pipelines.commands.show import is_done
from tests.conftest import losses, weights
from tests.pipelines.conftest import Finished


def with_arm(finished: Finished, folder: Path, progress: float) -> Plan:
    """The study with one more switch."""
    study = yaml.safe_load(finished.recipe.read_text())
    for source in study["sources"].values():
        source["folder"] = str(finished.recipe.parent / source["folder"])
    study["arms"]["other"] = {"switch": {"progress": progress}}
    file = folder / "more.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return check_study(load_study(file), str(file), finished.root)[0]


def train_missing(plan: Plan, store: Store) -> list[Trained]:
    missing = [run for run in plan.runs if not run_is_done(plan, store, run)]
    for run in missing:
        train_run(plan, store, run)
    return missing


def test_a_later_switch_trains_its_own_part_only(copied: Callable[[], Finished], tmp_path: Path) -> None:
    """The GB run is there to the end: up to the new switch it is trained from the nearest checkpoint, step 29."""
    finished = copied()
    before, curves = weights(finished.root), losses(finished.root)
    plan = with_arm(finished, tmp_path, 0.9)
    gb, qb = train_missing(plan, finished.store)
    assert [plan.label(run.identity) for run in (gb, qb)] == ["gb", "qb"]
    assert qb.stage.start_step == 36
    assert gb.keep_steps == (29, 36, 40)
    after = weights(finished.root)
    assert {name: after[name] for name in before if name != gb.identity.path} == {
        name: before[name] for name in before if name != gb.identity.path
    }
    assert after[gb.identity.path].items() >= before[gb.identity.path].items()
    assert {name: rows for name, rows in losses(finished.root).items() if name != qb.identity.path} == curves
    log = next((finished.root / "logs" / "phase" / gb.identity.digest).rglob("stdout.log"), None)
    assert log is not None
    assert all(run_is_done(plan, finished.store, run) for run in plan.runs)
    assert arm_is_done(plan, finished.store, plan.arm("other"))


def test_a_pruned_study_stays_done_and_gives_a_new_arm_the_same_bits(
    copied: Callable[[], Finished], tmp_path: Path
) -> None:
    finished = copied()
    plan, store = finished.plan, finished.store
    gb = plan.run(plan.arm("switched").gb_run.digest)
    before = weights(finished.root)
    removed = prune(plan, store)
    assert all(one.num_bytes > 10_000 and not one.kept_because for one in removed)
    assert {(one.run, one.step) for one in removed} >= {(gb.identity.path, 29), (gb.identity.path, 40)}
    assert not any(steps_in(store.local_folder(run.identity)) for run in plan.runs)
    assert all(is_done(plan, store, identity) for identity in plan.identities())
    assert weights(finished.root) == before
    assert prune(plan, store) == []
    # A new switch trains the GB run up to it, from the start; what was pruned is not made again.
    more = with_arm(finished, tmp_path, 0.5)
    run, own = train_missing(more, store)
    assert run.identity == gb.identity
    assert steps_in(store.local_folder(gb.identity))[0] == own.stage.start_step == 20
    assert weights(finished.root)[gb.identity.path].items() >= before[gb.identity.path].items()
    assert all(run_is_done(more, store, run) for run in more.runs)


def test_what_another_study_still_trains_from_is_not_pruned(copied: Callable[[], Finished], tmp_path: Path) -> None:
    finished = copied()
    store, plan = finished.store, finished.plan
    more = with_arm(finished, tmp_path, 29.5 / 40)
    study: dict[str, Any] = load_study(tmp_path / "more.yaml")
    saved = read_json(next((finished.root / "plans").glob("*.json")))
    save_plan(study, store, "more.yaml", "", saved["input_digests"], saved["corpora"])
    gb = plan.run(plan.arm("switched").gb_run.digest)
    assert more.arm("other").switch_step == 30
    kept = [one for one in prune(plan, store) if one.kept_because]
    assert [(one.run, one.step) for one in kept] == [(gb.identity.path, 29)]  # the newest before what is missing
    assert steps_in(store.local_folder(gb.identity)) == [29]


@pytest.fixture(autouse=True)
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
