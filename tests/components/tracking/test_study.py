"""A study in MLflow, on SQLite: what is there, under which names, and that a second delivery changes nothing."""

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from boto3.exceptions import S3UploadFailedError
from mlflow import MlflowClient
from rich.console import Console

from switchpoint.components.evaluate.results import curve, series
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import MLflowAway, find_or_create, without_password
from switchpoint.components.tracking.curve import is_drawn
from switchpoint.components.tracking.delivery import Delivery
from switchpoint.components.tracking.registry import register_best
from switchpoint.components.tracking.study import Logged, compare_commands, row_key
from switchpoint.components.train.metrics import read_metrics
from switchpoint.components.train.outputs import fetch_model
from switchpoint.pipelines.commands.register import print_registered
from switchpoint.pipelines.commands.rungs import Rung
from tests.components.tracking.made_study import EVALUATED_STEPS, deliver, make_study, report
from tests.conftest import tiny_study

TABLES = ("metrics", "latest_metrics", "params", "tags", "inputs", "input_tags", "datasets", "runs", "experiments",
          "experiment_tags", "registered_models", "model_versions", "model_version_tags")  # fmt: skip


def three_sources(folder: Path) -> dict[str, Any]:
    """Two seeds; one arm that never switches, two from one GB run; a QA source."""
    study = tiny_study(folder)
    (folder / "exams").mkdir()
    for number in range(8):
        (folder / "exams" / f"{number}.txt").write_text(f"What is {number}? It is that. " * 500)
    study["sources"]["exams"] = {"folder": "exams", "category": "qa"}
    study["blends"]["exams"] = {"prose": 0.5, "answers": 0.25, "exams": 0.25}
    study["arms"] = {"prose": {"qb": "prose"}, "mixed": {}, "exams": {"qb": "exams"}}
    study["evaluation"] |= {"continual": {"every_steps": EVALUATED_STEPS}, "checkpoints": [0.5]}
    return study | {"seeds": [1, 2]}


def rung(plan: Plan) -> Rung:
    return Rung(study={}, plan=plan, stops={}, is_last=True, whole=plan, most_tokens=None)


def dump(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    with sqlite3.connect(database) as connection:
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


class Made:
    """A study, delivered; its runs by name."""

    def __init__(self, folder: Path) -> None:
        self.plan, self.store = make_study(folder, three_sources(folder))
        gb = self.plan.gb_runs[0].identity
        for identity in (gb, self.plan.later_runs[0].identity):  # delivered while they train
            rows = list(read_metrics(self.store.local_folder(identity)))[:5]
            label, is_gb_run = self.plan.label(identity), identity == gb
            Delivery(self.store, "tiny", identity, lambda rows=rows: rows, label=label, is_gb_run=is_gb_run)._deliver()
        self.logged = deliver(self.plan, self.store)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.store.root / 'mlflow.db'}")

    def runs(self) -> dict[str, Any]:
        found = self.client.search_runs([self.logged.experiment_id])
        names = [run.info.run_name for run in found]
        assert len(set(names)) == len(names), names
        return dict(zip(names, found, strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


def test_what_is_there(made: Made) -> None:
    plan, runs = made.plan, made.runs()
    kinds = {name: run.data.tags["switchpoint.kind"] for name, run in runs.items()}
    study = f"study {plan.report.digest[:8]}"
    gb = {f"gb prose {run.identity.digest[:8]}" for run in plan.gb_runs}
    (phase,) = [name for name, kind in kinds.items() if kind == "phase"]
    arms = {f"{arm}-seed-{seed}" for arm in ("prose", "mixed", "exams") for seed in (1, 2)}
    assert kinds == {
        study: "study", "base": "base", phase: "phase", **dict.fromkeys(gb, "gb"), **dict.fromkeys(arms, "arm"),
    }  # fmt: skip
    assert len(gb) == 2
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert {parents[name] for name in {"base", *gb, *arms}} == {runs[study].info.run_id}
    assert parents[study] is None
    assert phase.startswith("qb of mixed-seed-1 ")
    assert parents[phase] == runs["mixed-seed-1"].info.run_id
    assert runs[study].data.params == {
        "study.question": "Does it walk?", "study.arms": "6", "study.tokens_alone": str(6 * 5120),
        "study.tokens_shared": str(plan.tokens_shared),
    }  # fmt: skip
    for arm in plan.arms:
        run, of_gb = runs[arm.run_name], runs[f"gb prose {arm.gb_run.digest[:8]}"]
        assert run.data.tags["switchpoint.gb_run"] == arm.gb_run.digest
        assert run.data.tags["switchpoint.gb_run_id"] == of_gb.info.run_id
        note = run.data.tags["mlflow.note.content"]
        assert f"#/experiments/{made.logged.experiment_id}/runs/{of_gb.info.run_id}" in note
        assert runs[study].info.run_id in note


def test_the_whole_curve_and_the_series(made: Made) -> None:
    client, plan, runs = made.client, made.plan, made.runs()
    arm = plan.arm("exams-seed-2")
    run_id = runs["exams-seed-2"].info.run_id
    rows = curve(plan, made.store, arm)
    assert len(rows) == 40
    for key, name in (("train.loss", "loss"), ("train.learning_rate", "learning_rate")):
        history = client.get_metric_history(run_id, key)
        assert sorted((one.step, one.value, one.timestamp) for one in history) == [
            (row["tokens"], row[name], int(row["time"] * 1000)) for row in rows
        ]
    found = client.get_metric_history(run_id, "eval.bits_per_byte.prose")
    expected = [(row["tokens"], 2.0, int(row["time"] * 1000)) for row in series(plan, made.store, arm)]
    assert sorted((one.step, one.value, one.timestamp) for one in found) == expected
    assert [step for step, _, _ in expected] == [20 * 128, 40 * 128]
    metrics = runs["exams-seed-2"].data.metrics
    assert metrics["score.bits_per_byte.exams"] == 2.0 - 6 / 8
    assert metrics["score.bits_per_byte.exams.stderr"] == 0.125
    # At the checkpoint a series of its own: the final score stays one value.
    (early,) = client.get_metric_history(run_id, "checkpoint.score.bits_per_byte")
    assert (early.step, early.value, early.timestamp) == (20 * 128, 2.0 + 20 / 64, int(rows[19]["time"] * 1000))
    assert len(client.get_metric_history(run_id, "score.bits_per_byte")) == 1
    gb = plan.gb_runs[0]
    history = client.get_metric_history(made.logged.gb_run_ids[gb.identity.digest], "train.loss")
    assert len(history) == gb.stage.end_step  # what was delivered while it trained is there once


def test_params_are_flat_numbers_and_every_arm_has_the_same(made: Made) -> None:
    runs = made.runs()
    params = [runs[arm.run_name].data.params for arm in made.plan.arms]
    assert len({frozenset(one) for one in params}) == 1
    text = {"arm", "base", "schedule", "blend.gb", "blend.qb"}
    for one in params:
        assert all(float(value) >= 0 for name, value in one.items() if name not in text)
    never, exams = runs["prose-seed-1"].data.params, runs["exams-seed-1"].data.params
    assert (never["switch.progress"], never["switch.tokens"], never["switch.step"]) == ("1.0", "5120", "40")
    assert float(never["switch.lr_ratio"]) == float(never["schedule.floor_ratio"]) == 0.01
    assert (never["blend.qb"], never["blend.qb.prose"], never["blend.qb.exams"]) == ("prose", "1.0", "0.0")
    assert (exams["blend.gb.qa_share"], exams["blend.qb.qa_share"]) == ("0.0", "0.25")
    assert 0.17 < float(exams["switch.lr_ratio"]) <= 0.2
    assert (exams["arm"], exams["seed"]) == ("exams", "1")


def test_blends_and_sources_are_dataset_inputs(made: Made) -> None:
    plan, run = made.plan, made.client.get_run(made.logged.run_ids["exams-seed-1"])
    found = {
        (one.dataset.name, one.dataset.digest): {tag.key: tag.value for tag in one.tags}
        for one in run.inputs.dataset_inputs
    }
    gb, qb = plan.arm("exams-seed-1").phases
    assert found == {
        (name, digest): {"mlflow.data.context": context}
        for name, digest, context in (
            ("prose", gb.blend_identity.digest, "gb"), ("exams", qb.blend_identity.digest, "qb"),
            ("prose", plan.tokens["prose"].digest, "gb, qb"), ("answers", plan.tokens["answers"].digest, "qb"),
            ("exams", plan.tokens["exams"].digest, "qb"),
        )
    }  # fmt: skip


def test_the_model_and_a_recipe_that_makes_the_row_again(made: Made, tmp_path: Path) -> None:
    arm, run_id = made.plan.arm("mixed-seed-2"), made.logged.run_ids["mixed-seed-2"]
    folder = Path(made.client.download_artifacts(run_id, "model", str(tmp_path)))
    exported = fetch_model(made.plan, made.store, arm.model)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in exported.iterdir()
    }
    recipe = yaml.safe_load(Path(made.client.download_artifacts(run_id, "study.yaml", str(tmp_path))).read_text())
    again, _ = check_study(recipe, "study.yaml", made.store.root)
    assert [one.evaluation.digest for one in again.arms] == [arm.evaluation.digest]
    whole = made.client.download_artifacts(made.logged.study_run_id, "study.yaml", str(tmp_path))
    assert check_study(yaml.safe_load(Path(whole).read_text()), "", made.store.root)[0].report == made.plan.report


def test_a_second_delivery_changes_nothing(made: Made) -> None:
    version = register_best(made.plan, made.store, "tiny-best", "exams-seed-1")
    before = dump(made.store.root / "mlflow.db")
    assert deliver(made.plan, made.store) == made.logged
    assert register_best(made.plan, made.store, "tiny-best", "exams-seed-1") == version == "1"
    assert dump(made.store.root / "mlflow.db") == before
    assert all(len(rows) > 0 for rows in before.values())


def test_a_step_that_was_trained_again_is_not_there_twice(made: Made) -> None:
    """The same values at another time."""
    before = dump(made.store.root / "mlflow.db")
    for run in made.plan.runs:
        for name in ("metrics.jsonl", "evaluation.jsonl"):
            path = made.store.local_folder(run.identity) / name
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps(row | {"time": row["time"] + 7}) + "\n" for row in rows))
    deliver(made.plan, made.store)
    after = dump(made.store.root / "mlflow.db")
    assert {name for name in TABLES if after[name] != before[name]} == {"runs"}  # they ended later


def test_versions_of_a_registered_model(made: Made) -> None:
    versions = [register_best(made.plan, made.store, "two", name) for name in ("exams-seed-1", "mixed-seed-1")]
    assert versions == ["1", "2"]
    found = made.client.get_model_version("two", "1")
    assert found.run_id == made.logged.run_ids["exams-seed-1"]
    assert found.tags["switchpoint.arm"] == "exams"
    assert found.tags["switchpoint.seed"] == "1"
    assert "config.json" in {path.name for path in Path(found.source.removeprefix("file://")).iterdir()}
    with pytest.raises(BadInput, match="a registered model's name"):
        register_best(made.plan, made.store, "it's", "exams-seed-1")


def test_an_extended_study_is_another_execution_of_the_same_arms(made: Made, tmp_path: Path) -> None:
    """Last: it nests the arms anew."""
    study = yaml.safe_load(Path(made.client.download_artifacts(made.logged.study_run_id, "study.yaml")).read_text())
    study["arms"]["answers"] = {"gb": "mixed", "qb": "exams"}
    plan, _ = check_study(study, "", made.store.root)
    logged = deliver(plan, made.store)
    assert logged.study_run_id != made.logged.study_run_id
    assert made.logged.run_ids.items() <= logged.run_ids.items()
    runs = made.runs()
    assert runs["mixed-seed-1"].data.tags["mlflow.parentRunId"] == logged.study_run_id
    assert set(runs["mixed-seed-1"].data.params) == set(runs["answers-seed-1"].data.params)
    assert runs["answers-seed-1"].info.status == "FAILED"  # it was not run
    assert runs["answers-seed-1"].info.end_time == runs["answers-seed-1"].info.start_time
    with pytest.raises(BadInput, match="no model to register"):
        register_best(plan, made.store, "tiny-best", "answers-seed-1")


def test_the_report_and_a_run_of_somebody_else(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLFLOW_RUN_ID is set by Kubeflow Pipelines: the run is told where the study is, and otherwise left alone."""
    other = made.client.create_run(made.client.create_experiment("kfp"), run_name="a task")
    monkeypatch.setenv("MLFLOW_RUN_ID", other.info.run_id)
    report(made.plan, made.store)
    seen = made.client.get_run(other.info.run_id)
    assert seen.info.status == "RUNNING"
    assert seen.data.tags["switchpoint.study_run_id"] == made.logged.study_run_id
    assert not seen.data.metrics
    assert not seen.data.params
    names = {one.path for one in made.client.list_artifacts(made.logged.study_run_id)}
    assert names == {"report.html", "report.json", "report.md", "study.yaml"}
    for run_id in made.logged.run_ids.values():
        assert "report.md" in {one.path for one in made.client.list_artifacts(run_id)}
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)  # it may be of another server
    assert deliver(made.plan, made.store) == made.logged


def test_two_that_look_for_a_run_at_once_make_one(made: Made) -> None:
    """Both would find nothing, were the second one not to wait until the first one's is there."""
    client, barrier = made.client, threading.Barrier(2)
    experiment_id = client.create_experiment("at once")

    class Slow:
        """Between search and creation there is time for the other one."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def search_runs(self, *arguments: Any) -> Any:
            found = client.search_runs(*arguments)
            time.sleep(0.5)
            return found

    def look() -> str:
        barrier.wait()
        return find_or_create(Slow(), made.store, experiment_id, "a key", "a name", 0, {}).run_id

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: look(), range(2))
    assert one == other
    assert len(client.search_runs([experiment_id])) == 1


@pytest.mark.parametrize("step", ["search_runs", "log_artifact"])
def test_whatever_mlflow_raises_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], step: str
) -> None:
    """Such as errors of its storage's own client, which are no errors of MLflow."""
    plan, store = make_study(tmp_path, tiny_study(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise S3UploadFailedError("AccessDenied")

    monkeypatch.setattr(MlflowClient, step, refuse)
    page = report(plan, store)
    assert "Does it walk?" in page.read_text()
    away = json.loads(page.with_name("report.json").read_text())["mlflow_away"]
    assert away == "MLflow did not take the study (AccessDenied): the same command delivers it"
    assert away in capfd.readouterr().err
    assert not store.is_done(plan.report)
    monkeypatch.setattr(MlflowClient, "search_runs", refuse)
    with pytest.raises(MLflowAway, match="AccessDenied"):
        register_best(plan, store, "tiny-best", "prose")


def test_categories_of_any_name_are_in_mlflow(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    study["sources"]["prose"]["category"] = "Web (filtered)"
    study["sources"]["answers"]["category"] = "ถามตอบ"
    plan, store = make_study(tmp_path, study)
    for one in (plan.base_evaluation, *(arm.evaluation for arm in plan.arms)):
        scores = dict(store.record(one)["outputs"]["scores"])  # type: ignore[index]
        for number, category in enumerate(("Web (filtered)", "ถามตอบ")):
            scores[f"bits_per_byte.category.{category}"] = {"value": 1.0 + number, "stderr": 0.5, "n": 5}
        store.write_record(one, store.local_folder(one), {"scores": scores})
    logged = deliver(plan, store)
    client = MlflowClient(f"sqlite:///{tmp_path}/store/mlflow.db")
    metrics = client.get_run(logged.run_ids["mixed"]).data.metrics
    assert metrics["score.bits_per_byte.category.Web _0x28_filtered_0x29_"] == 1.0
    assert metrics["score.bits_per_byte.category.ถามตอบ"] == 2.0


def test_what_mlflow_refuses_for_good_is_said_once_and_not_advised_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan, store = make_study(tmp_path, tiny_study(tmp_path))
    monkeypatch.setattr("switchpoint.components.tracking.curve.taken_name", lambda name: f"{name}()")
    page = report(plan, store)
    away = json.loads(page.with_name("report.json").read_text())["mlflow_away"]
    assert away.startswith("MLflow refuses the study (")
    assert "would refuse it again" in away
    assert "the same command" not in away
    assert "the command above delivers it" not in page.read_text()
    assert "would refuse it again" in page.read_text()
    monkeypatch.setattr("switchpoint.components.tracking.delivery.FIRST_SECONDS", 0.05)
    monkeypatch.setattr("switchpoint.components.tracking.delivery.EVERY_SECONDS", 0.05)
    capfd.readouterr()
    rows = list(read_metrics(store.local_folder(plan.runs[0].identity)))
    with Delivery(store, "tiny", plan.runs[0].identity, lambda: rows, label="gb", is_gb_run=True) as live:
        live._thread.join(timeout=60)
        assert not live._thread.is_alive()
    said = capfd.readouterr().err
    assert said.count("MLflow refuses the metrics") == 1
    assert "delivered later" not in said


def test_a_driver_that_is_missing_costs_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = make_study(tmp_path, tiny_study(tmp_path))

    def no_driver(_: Store) -> None:
        raise ModuleNotFoundError("No module named 'psycopg2'")

    monkeypatch.setattr("switchpoint.components.tracking.study.open_client", no_driver)
    page = report(plan, store)
    assert "psycopg2" in json.loads(page.with_name("report.json").read_text())["mlflow_away"]


def test_the_best_arm_is_registered_unless_one_is_named(made: Made, tmp_path: Path) -> None:
    def register(arm: str | None) -> tuple[str, str]:
        done = print_registered(rung(made.plan), made.store, "chosen", arm, Console(quiet=True))
        return done["arm"], done["uri"]

    assert register(None) == ("exams-seed-2", "models:/chosen/1")
    assert register("mixed") == ("mixed-seed-2", "models:/chosen/2")
    assert register("mixed-seed-1") == ("mixed-seed-1", "models:/chosen/3")
    assert register("exams") == ("exams-seed-2", "models:/chosen/1")
    with pytest.raises(BadInput, match="no such arm"):
        register("nothing")
    with pytest.raises(BadInput, match="nothing to register"):
        print_registered(rung(made.plan), Store(tmp_path), "chosen", None, Console(quiet=True))


def test_no_password_is_shown(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_password("https://me:secret@host:80/path") == "https://host:80/path"
    logged = Logged("1", {"base": "a"})
    for uri in ("https://me:secret@host", "postgresql://me:secret@host/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert "secret" not in " ".join(compare_commands(made.store, logged))


def test_the_many_curves_are_thinned() -> None:
    assert [step for step in range(46) if not is_drawn(step)] == [41, 43, 45]
    assert sum(map(is_drawn, range(1, 401))) == 105
    assert [step for step in range(1000, 1040) if is_drawn(step)] == [1008, 1024]


def test_a_row_whose_probes_changed_is_another_run(made: Made, tmp_path: Path) -> None:
    """Points that MLflow has are never changed: those of another text would stand beside them."""
    study = three_sources(tmp_path)
    study["evaluation"]["continual"]["bytes_per_source"] = 1000
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    changed, _ = check_study(load_study(tmp_path / "recipe.yaml"), "recipe.yaml", tmp_path / "store")
    for before, after in zip(made.plan.arms, changed.arms, strict=True):
        assert before.evaluation.digest == after.evaluation.digest
        assert row_key(made.plan, before.run_name, before) != row_key(changed, after.run_name, after)
    assert row_key(made.plan, "base", None) == row_key(changed, "base", None)
