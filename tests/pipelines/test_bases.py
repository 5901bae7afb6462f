"""A study with three bases, from its recipe to its report: a pretraining, a checkpoint of it, and a copy of it."""

import json
from pathlib import Path

import pytest

from switchpoint.components.evaluate.results import series
from switchpoint.components.train.metrics import rows_of
from switchpoint.components.train.model_files import digest_of_folder
from switchpoint.components.train.outputs import fetch_model
from tests.conftest import records, tiny_study, weights
from tests.pipelines.conftest import Finished
from tests.pipelines.ran_study import Ran, run_to_the_end

pytestmark = pytest.mark.slow
ARMS = {"whole": {"start": "fresh"}, "twin": {"base": "same", "start": "fresh"}, "early": {"base": "half"}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("bases")
    study = tiny_study(folder) | {
        "bases": {"half": {"checkpoint": 0.5}, "same": {"transform": {"kind": "copy"}}}, "arms": ARMS,
    }  # fmt: skip
    study["evaluation"] |= {"continual": {"every_steps": 20, "bytes_per_source": 1_000}}
    return run_to_the_end(study, folder)


def test_an_arm_from_a_copy_of_a_base_has_the_weights_of_the_arm_from_the_base(ran: Ran) -> None:
    plan, store = ran.plan, ran.store
    assert {records(store.root, "transform")[0]["outputs"]["weights_sha256"]} == {
        digest_of_folder(fetch_model(plan, store, plan.bases[name].model)) for name in ("base", "same")
    }
    whole, twin = plan.arm("whole"), plan.arm("twin")
    assert {run.digest for run in whole.runs}.isdisjoint(run.digest for run in twin.runs)
    trained = weights(store.root)
    assert [trained[run.path] for run in whole.runs] == [trained[run.path] for run in twin.runs]
    assert [row["loss"] for row in rows_of(store, whole.runs[0])] == [
        row["loss"] for row in rows_of(store, twin.runs[0])
    ]


def test_an_arm_from_a_checkpoint_starts_where_the_pretraining_was(ran: Ran, finished: Finished) -> None:
    plan, store = ran.plan, ran.store
    base, half = plan.bases["base"].output.identity, plan.bases["half"]
    assert half.step == 20
    (job,) = store.root.glob(f"{plan.arm('early').runs[0].path}/job-*.json")
    assert json.loads(job.read_text())["start_checkpoint"] == f"{store.root}/{base.path}/checkpoints/step-00000020"
    # The pretraining that keeps it is the one that would not have, bit for bit, and no step of it was trained twice.
    kept = weights(store.root)[base.path]
    assert list(kept) == ["20", "40"]
    assert kept["40"] == weights(finished.root)[base.path]["40"]
    assert [row["step"] for row in rows_of(store, base)] == list(range(1, 41))
    assert kept["20"] == digest_of_folder(fetch_model(plan, store, half.model))


def test_every_base_has_a_row_and_arms_are_compared_with_their_own(ran: Ran) -> None:
    rows = {row["name"]: row for row in ran.outcome["rows"]}
    assert list(rows) == ["base", "half", "same", *ARMS]
    scores = {name: row["scores"]["bits_per_byte"]["value"] for name, row in rows.items()}
    assert scores["base"] == scores["same"] < scores["half"]
    assert scores["whole"] == scores["twin"]
    assert all(row["mlflow_run"] for row in rows.values())
    (comparison, *_) = ran.outcome["comparisons"]
    own = ran.plan.arm(comparison["best"]).base
    others = set(ARMS) - {comparison["best"]}
    assert {one["arm"] for one in comparison["against"]} == {own, *others}
    page = Path(ran.outcome["report"]).read_text()
    assert "none: base after 50% of its pretraining" in page
    assert "none: copy of base" in page
    assert "from half: prose → mixed" in page


def test_a_series_begins_at_the_arms_own_base(ran: Ran) -> None:
    first = {name: series(ran.plan, ran.store, ran.plan.arm(name))[0] for name in ARMS}
    assert {row["step"] for row in first.values()} == {0}
    bits = {name: row["scores"]["bits_per_byte.prose"] for name, row in first.items()}
    assert bits["whole"] == bits["twin"] != bits["early"]


def test_a_second_run_makes_nothing(ran: Ran) -> None:
    made = [path for path in ran.store.root.glob("*/*/record.json") if path.parent.parent.name != "report"]
    before = {path: path.stat().st_mtime_ns for path in made}
    again = ran.run_again()
    assert "nothing is left to do" in again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
