"""`switchpoint run` on a finished store, on a spoiled one, and cut off at many moments."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from switchpoint.components.evaluate.results import curve
from switchpoint.components.train.metrics import read_metrics
from switchpoint.components.train.outputs import fetch_model
from tests.conftest import losses, records, switchpoint, tiny_study, weights
from tests.pipelines.conftest import Finished


def mlflow_runs(root: Path) -> dict[str, Any]:
    """Of the rows: the base and the arms."""
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: (client, run) for run in runs if run.data.tags["switchpoint.kind"] in ("base", "arm")}


def test_mlflow_holds_the_full_curve_of_each_arm(finished: Finished) -> None:
    plan, store = finished.plan, finished.store
    runs = mlflow_runs(finished.root)
    assert set(runs) == {"base", "prose", "mixed", "switched"}
    for name, (client, run) in runs.items():
        steps = (
            curve(plan, store, plan.arm(name)) if name != "base" else list(read_metrics(store.local_folder(plan.base)))
        )
        assert len(steps) == 40
        for key, field in (("train.loss", "loss"), ("train.learning_rate", "learning_rate")):
            history = sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
            assert history == [(step["tokens"], step[field]) for step in steps]
        assert run.info.status == "FINISHED"
        recipe = json.loads(Path(client.download_artifacts(run.info.run_id, "recipe.json")).read_text())
        assert recipe["horizon_tokens"] == 5_120
    switched = runs["switched"][1].data
    assert (switched.params["blend.gb"], switched.params["blend.qb"]) == ("prose", "mixed")
    assert switched.params["switch.step"] == str(plan.arm("switched").switch_step)


def test_one_truth(finished: Finished) -> None:
    """Law 8: the same scores in the store, in MLflow and in the report."""
    data = json.loads((finished.store.local_folder(finished.plan.report) / "report.json").read_text())
    runs = mlflow_runs(finished.root)
    assert [row["arm"] for row in data["rows"]] == ["base", "prose", "mixed", "switched"]
    for row in data["rows"]:
        logged = runs[row["arm"]][1].data.metrics
        assert {name: score["value"] for name, score in row["scores"].items()} == {
            name: logged[f"score.{name}"] for name in row["scores"]
        }
        assert set(row["scores"]) == {"bits_per_byte", "bits_per_byte.prose", "bits_per_byte.answers"}


def test_the_report_is_one_file_that_needs_no_other(finished: Finished) -> None:
    page = (finished.store.local_folder(finished.plan.report) / "report.html").read_text()
    assert len(page.encode()) < 2_000_000
    for outside in ("src=", "@import", "<link", "<script"):
        assert outside not in page
    for shown in ("switched", "prose → mixed", "switch</text>", "mlflow ui", "Does it walk?"):
        assert shown in page


def test_a_second_run_trains_nothing(copied: Callable[[], Finished]) -> None:
    study = copied()
    before = {path: path.stat().st_mtime_ns for path in study.root.glob("*/*/record.json")}
    ended = switchpoint("run", study.recipe, "--store", study.root, "--json")
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert outcome["state"] == "succeeded"
    assert "14 of 14 outputs are there already" in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in study.root.glob("*/*/record.json")} == before
    assert "nothing is left to do" in ended.stderr
    assert [row["arm"] for row in outcome["rows"]] == ["base", "prose", "mixed", "switched"]


def test_a_lost_report_is_written_again_by_a_dag_that_trains_nothing(
    copied: Callable[[], Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied()
    shutil.rmtree(study.root / "report")
    before = weights(study.root)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    ended = switchpoint("run", study.recipe, "--store", study.root, "--json")
    # Slots are shared by all runs of a user, so they stay.
    assert {path.name.rstrip("0123456789") for path in (tmp_path / "temporary").iterdir()} <= {"switchpoint-slots-"}
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    ran = set(
        re.findall(r"Executing task '([a-z-]+)'", re.sub(r"\x1b\[[0-9;]*m", "", Path(outcome["log"]).read_text()))
    )
    # A loop with nothing to do has one item that says so.
    assert {"plan", "tokenise", "train-gb", "join", "train-qb", "report", "check-outcome"} <= ran
    assert weights(study.root) == before
    assert Path(outcome["report"]).exists()


def test_a_changed_field_repeats_only_what_depends_on_it_and_says_why(
    copied: Callable[[], Finished], tmp_path: Path
) -> None:
    study = copied()
    recipe = yaml.safe_load(study.recipe.read_text())
    recipe["switch"] = {"learning_rate_ratio": 0.5}
    changed = study.recipe.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(recipe, sort_keys=False))
    planned = switchpoint("plan", changed, "--store", study.root, "--json")
    missing = [(entry["output"].split("/")[0], entry["why"]) for entry in json.loads(planned.stdout)["missing"]]
    # The GB run is trained already, but was not kept at the new switch.
    assert [kind for kind, _ in missing] == ["phase", "phase", "evaluation", "report"]
    assert any(reason.startswith("start_step: ") for reason in missing[1][1])
    old = weights(study.root)
    ended = switchpoint("run", changed, "--store", study.root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    new = weights(study.root)
    assert len(records(study.root, "phase")) == 4
    for output, digests in old.items():
        kept = new[output] if isinstance(digests, str) else {step: new[output][step] for step in digests}
        assert kept == digests
    assert "made anew: start_step" in ended.stdout


def test_where_one_arm_fails_the_others_finish_and_the_report_says_why(copied: Callable[[], Finished]) -> None:
    """The token file of `answers` is cut: the mixed GB run fails, and so does the arm that switches to it."""
    study = copied()
    plan, store = study.plan, study.store
    for identity in (plan.arm("mixed").gb_run, plan.arm("switched").runs[-1]):
        shutil.rmtree(store.local_folder(identity))
    for kind in ("evaluation", "report"):
        shutil.rmtree(study.root / kind)
    record = store.record(plan.tokens["answers"])
    assert record is not None
    tokens = store.root / record["outputs"]["shards"][0] / "all.bin"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-100])

    ended = switchpoint("run", study.recipe, "--store", study.root, "--json")
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    outcome = json.loads(ended.stdout)
    rows = {row["arm"]: row for row in outcome["rows"]}
    assert rows["prose"]["scores"]
    assert rows["base"]["scores"]
    for arm in ("mixed", "switched"):
        assert not rows[arm]["scores"]
        assert "its .idx says" in rows[arm]["failure"]
    assert sorted(failure["label"] for failure in outcome["failures"]) == ["gb", "qb"]
    assert Path(outcome["failures"][0]["log"]).exists()
    page = Path(outcome["report"]).read_text()
    assert "its .idx says" in page
    runs = mlflow_runs(study.root)
    assert {name: run.info.status for name, (_, run) in runs.items()} == {
        "base": "FINISHED", "prose": "FINISHED", "mixed": "FAILED", "switched": "FAILED",
    }  # fmt: skip

    tokens.write_bytes(whole)
    completed = switchpoint("run", study.recipe, "--store", study.root)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert all(run.info.status == "FINISHED" for _, run in mlflow_runs(study.root).values())


CUTS = {
    "shard": ("locks/shard-*", signal.SIGKILL),
    "base": ("base/*/metrics.jsonl", signal.SIGINT),
    "gb": ("{gb}/metrics.jsonl", signal.SIGKILL),
    "qb": ("{qb}/metrics.jsonl", signal.SIGKILL),
    "evaluation": ("jobs/evaluate-*/job.json", signal.SIGKILL),
    "report": ("report/*", signal.SIGKILL),
}
"""Where the run is cut off: the output, what shows that it has begun, and the signal (SIGINT is Ctrl-C)."""


@pytest.mark.slow
def test_cut_off_at_any_moment_it_resumes_and_ends_with_the_same_bits(finished: Finished, tmp_path: Path) -> None:
    """Ctrl-C or kill -9 of the whole group inside every step, each in a new run, then to the end."""
    root = tmp_path / "store"
    arm = finished.plan.arm("switched")
    trained = {"gb": arm.gb_run.path, "qb": arm.runs[-1].path}
    for name, (shows, sent) in CUTS.items():
        code = _run_until(finished.recipe, root, shows.format(**trained), sent)
        assert code == (130 if sent == signal.SIGINT else -signal.SIGKILL)
        _wait_for_the_orphans(root)
        made = [record["digest"] for record in records(root, trained.get(name, name).split("/")[0])]
        output = trained.get(name, "/").split("/")[1]
        assert name == "shard" or not (made if not output else output in made), "it was to be cut off before its end"
    ended = switchpoint("run", finished.recipe, "--store", root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert weights(root) == weights(finished.root)
    assert losses(root) == losses(finished.root)
    scores = [[record["outputs"] for record in records(one, "evaluation")] for one in (root, finished.root)]
    assert scores[0] == scores[1]
    assert set(mlflow_runs(root)) == set(mlflow_runs(finished.root))


def test_no_task_outlives_the_command(finished: Finished, tmp_path: Path) -> None:
    """A signal to the command alone, not to its group: what it started ends all the same."""
    root = tmp_path / "store"
    assert _run_until(finished.recipe, root, "base/*/metrics.jsonl", signal.SIGKILL, whole_group=False) == -9
    _wait_for_the_orphans(root)


def _run_until(recipe: Path, root: Path, shows: str, sent: signal.Signals, whole_group: bool = True) -> int:
    """Starts the study in a process group of its own and sends the signal once the file `shows` has something in it."""
    command = [sys.executable, "-m", "switchpoint.pipelines.commands.cli", "run", str(recipe), "--store", str(root)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        # Where the tests run in the background of a shell, it has told them to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not any(_has_begun(path) for path in root.glob(shows)):
        assert process.poll() is None, "it ended before it could be cut off"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (os.killpg if whole_group else os.kill)(process.pid, sent)
    return process.wait(timeout=60)


def _has_begun(path: Path) -> bool:
    try:
        return path.is_dir() or path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _wait_for_the_orphans(root: Path) -> None:
    """No process of the run may live on: each names the store, or a job in it, on its command line."""
    deadline = time.monotonic() + 30
    while _processes_of(root):
        assert time.monotonic() < deadline, _processes_of(root)
        time.sleep(0.1)


def _processes_of(root: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root) in line:
            found.append(line)
    return found


def test_a_renamed_blend_trains_nothing_and_is_shown(copied: Callable[[], Finished]) -> None:
    study = copied()
    text = study.recipe.read_text().replace("mixed:", "blended:").replace(": mixed", ": blended")
    renamed = study.recipe.with_name("renamed.yaml")
    renamed.write_text(text)
    trained = weights(study.root)
    ended = switchpoint("run", renamed, "--store", study.root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "prose → blended" in ended.stdout
    assert weights(study.root) == trained


@pytest.mark.slow
def test_another_sequence_length_in_the_same_store(copied: Callable[[], Finished]) -> None:
    """Tokens and blends stay; what is drawn from them does not."""
    study = copied()
    recipe = yaml.safe_load(study.recipe.read_text())
    recipe |= {"sequence_length": 48, "arms": {"switched": {}}}
    recipe["evaluation"] = {"bytes_per_source": 500}
    changed = study.recipe.with_name("longer.yaml")
    changed.write_text(yaml.safe_dump(recipe, sort_keys=False))
    ended = switchpoint("run", changed, "--store", study.root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(records(study.root, "tokens")) == 2


def test_a_base_from_a_hugging_face_folder(finished: Finished, tmp_path: Path) -> None:
    recipe = tiny_study(tmp_path)
    folder = str(fetch_model(finished.plan, finished.store, finished.plan.bases["base"].model))
    recipe |= {
        "model": {"folder": folder}, "tokenizer": {"folder": folder}, "schedule": {"max_learning_rate": 1e-3},
        "arms": {"switched": {}}, "horizon_tokens": 2_560, "start": "fresh",
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    ended = switchpoint("run", path, "--store", tmp_path / "store", "--json")
    assert ended.returncode == 0, ended.stderr
    rows = {row["arm"]: row["scores"] for row in json.loads(ended.stdout)["rows"]}
    assert rows["switched"]["bits_per_byte.answers"]["value"] < rows["base"]["bits_per_byte.answers"]["value"]


@pytest.mark.slow
def test_the_quickstart(tmp_path: Path) -> None:
    recipe = Path(__file__).parents[2] / "pipelines" / "recipes" / "quickstart.yaml"
    ended = switchpoint("run", recipe, "--store", tmp_path / "store", "--json", timeout=1800)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    print(f"the quickstart took {outcome['seconds']} s")
    scores = {row["arm"]: row["scores"] for row in outcome["rows"]}
    assert list(scores) == ["base", "pretraining", "qa", "gb_then_qb"]
    for name, found in scores.items():
        assert found["accuracy"]["n"] == 300, name
        # All continued training on QA data must show in the held-out QA text.
    assert scores["qa"]["bits_per_byte.qa"]["value"] < scores["base"]["bits_per_byte.qa"]["value"]
    assert scores["gb_then_qb"]["bits_per_byte.qa"]["value"] < scores["pretraining"]["bits_per_byte.qa"]["value"]
