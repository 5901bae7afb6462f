"""Runs of the pipeline that fail: what ends them, what goes on, what people are told, and how they are completed."""

import json
import os
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
from kfp import dsl

from switchpoint.components.launch.task import FailedBefore, task
from switchpoint.components.recipe.load import load_study
from switchpoint.components.report.outcome import StudyFailed, check_outcome, failures_of
from switchpoint.components.stages import gated
from switchpoint.components.stages.component import train_gb, train_qb
from switchpoint.components.stages.group import train_arm_group, train_gb_group
from switchpoint.components.stages.supervise import TrainingFailed
from switchpoint.components.store.plan_file import plan_reference
from tests.conftest import switchpoint, weights
from tests.pipelines.conftest import Finished

pytestmark = pytest.mark.slow
"""Whole studies run, fail and are completed."""


def spoil_tokens(study: Finished, source: str) -> Callable[[], None]:
    """Cut the source's token file; return what makes it whole again."""
    record = study.store.record(study.plan.tokens[source])
    assert record is not None
    tokens = study.store.root / record["outputs"]["shards"][0] / "all.bin"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-100])
    return lambda: bool(tokens.write_bytes(whole))  # type: ignore[return-value]


def test_a_base_that_fails_ends_the_run_and_the_command_writes_the_report(copied: Callable[[], Finished]) -> None:
    study = copied()
    for folder in ("base", "phase", "evaluation", "report"):
        shutil.rmtree(study.root / folder)
    restore = spoil_tokens(study, "prose")
    ended = switchpoint("run", study.recipe, "--store", study.root, "--json")
    assert ended.returncode == 1, ended.stderr
    outcome = json.loads(ended.stdout)
    assert [failure["label"] for failure in outcome["failures"]] == ["base"]
    assert all("base failed: " in row["failure"] and "its .idx says" in row["failure"] for row in outcome["rows"])
    assert "its .idx says" in Path(outcome["report"]).read_text()
    assert "train-gb" not in Path(outcome["log"]).read_text()
    shown = switchpoint("report", study.recipe, "--store", study.root)
    assert shown.returncode == 1
    assert "its .idx says" in shown.stdout
    *_, report = json.loads(switchpoint("status", study.recipe, "--store", study.root, "--json").stdout)["outputs"]
    assert report["state"] == "written; some models have no scores"
    restore()
    assert switchpoint("run", study.recipe, "--store", study.root).returncode == 0
    assert switchpoint("report", study.recipe, "--store", study.root).returncode == 0


def test_report_writes_what_is_missing_at_any_time(copied: Callable[[], Finished], tmp_path: Path) -> None:
    study = copied()
    shutil.rmtree(study.root / "report")
    shown = switchpoint("report", study.recipe, "--store", study.root, "--json")
    assert shown.returncode == 0, shown.stderr
    assert Path(json.loads(shown.stdout)["report"]).exists()
    nothing = switchpoint("report", study.recipe, "--store", tmp_path / "empty")
    assert nothing.returncode == 1
    assert not (tmp_path / "empty").exists()


def _command_lines() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def test_a_launcher_that_is_killed_in_a_loop_leaves_its_siblings_and_the_next_run_completes_the_study(
    finished: Finished, tmp_path: Path
) -> None:
    """SIGKILL to one iteration's task process, as the kernel's out-of-memory killer sends it."""
    root = tmp_path / "store"
    shutil.copytree(finished.root, root)
    for folder in ("phase", "evaluation", "report"):
        shutil.rmtree(root / folder)
    killed, sibling = (finished.plan.arm(name).gb_run.digest for name in ("mixed", "prose"))
    command = [sys.executable, "-m", "switchpoint.pipelines.commands.cli", "run", str(finished.recipe)]
    command += ["--store", str(root), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not (owners := [
            pid for pid, line in _command_lines().items()
            if "kfp.dsl.executor_main" in line and "train_gb" in line and killed in line and str(root) in line
        ]) or not (root / "phase" / killed).exists():  # fmt: skip
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for owner in owners:
            os.kill(owner, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 1, stderr
    outcome = json.loads(stdout)
    assert weights(root)[f"phase/{sibling}"] == weights(finished.root)[f"phase/{sibling}"]
    assert f"phase/{killed}" not in weights(root)
    assert Path(outcome["report"]).exists()
    assert "without a reason: the process or pod that followed it was ended from outside" in stderr
    ended = switchpoint("run", finished.recipe, "--store", root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert weights(root) == weights(finished.root)


@pytest.fixture
def untrained(copied: Callable[[], Finished]) -> tuple[Finished, str]:
    """A study whose arms are to be trained again, and its plan's reference."""
    study = copied()
    for folder in ("phase", "evaluation", "report"):
        shutil.rmtree(study.root / folder)
    # The plan in the copied store names the store that it was copied from.
    reference = Path(plan_reference(load_study(study.recipe), study.store))
    reference.write_text(reference.read_text().replace(str(finished_root(reference)), str(study.root)))
    return study, str(reference)


def finished_root(reference: Path) -> str:
    return str(json.loads(reference.read_text())["store"])


def test_a_failed_gb_run_is_recorded_and_its_task_succeeds(
    untrained: tuple[Finished, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, reference = untrained
    own = study.plan.arm("mixed").gb_run

    def train_run(*_: Any) -> None:
        raise TrainingFailed("loss is nan at step 7")

    monkeypatch.setattr(gated, "train_run", train_run)
    train_gb_group(reference, [own.digest], tmp_path / "shown")
    assert (study.store.failure(own) or {})["reason"].endswith("loss is nan at step 7")
    assert "loss is nan at step 7" in (tmp_path / "shown").read_text()
    train_arm_group(reference, ["switched"], tmp_path / "shown-2")
    last = study.plan.arm("switched").runs[-1]
    assert "is missing" in (study.store.failure(last) or {})["reason"]


def test_a_failure_that_cannot_be_recorded_fails_the_task(
    untrained: tuple[Finished, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, reference = untrained

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(gated, "train_run", full)
    monkeypatch.setattr("switchpoint.components.store.store.Store.write_failure", full)
    with pytest.raises(OSError, match="No space left"):
        train_gb_group(reference, [study.plan.arm("mixed").gb_run.digest], tmp_path / "shown")


def test_several_runs_of_one_task_fail_and_succeed_each_by_itself(
    untrained: tuple[Finished, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is trained, one is killed without a word."""
    study, reference = untrained
    good, lost = (study.plan.arm(name).gb_run for name in ("prose", "mixed"))
    whole = gated.train_run

    def train_run(plan: Any, store: Any, run: Any) -> None:
        if run.identity == lost:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(plan, store, run)

    monkeypatch.setattr(gated, "train_run", train_run)
    train_gb_group(reference, [good.digest, lost.digest], tmp_path / "shown")
    assert weights(study.root)[good.path]
    assert study.store.failure(good) is None
    assert "killed by SIGKILL" in (study.store.failure(lost) or {})["reason"]
    shown = (tmp_path / "shown").read_text()
    assert "**trained**" in shown
    assert "**failed**: the process that follows its job ended without a reason (killed by SIGKILL)" in shown


def test_a_group_without_arms_says_so(tmp_path: Path) -> None:
    """At once: a loop with nothing to do has one such item."""
    for component, item in ((train_gb, {"plan": "none", "gb_runs": []}), (train_qb, {"plan": "none", "arms": []})):
        shown = dsl.Markdown(uri=str(tmp_path / component.name / "shown"))
        component.python_func(item, shown, None)
        assert Path(shown.path).read_text() == "Nothing is left to train here.\n"


def test_a_run_that_failed_is_not_tried_again_by_those_that_continue_it(untrained: tuple[Finished, str]) -> None:
    study, _ = untrained
    identity = study.plan.arm("mixed").gb_run
    study.store.write_failure(identity, "loss is nan", "log")
    with pytest.raises(FailedBefore, match="loss is nan"), task(study.store, identity, retries_failed=False):
        raise AssertionError
    assert study.store.failure(identity) is not None


def test_check_outcome_names_every_arm_without_scores_and_why(copied: Callable[[], Finished]) -> None:
    study = copied()
    check_outcome(study.plan, study.store)
    evaluation = study.plan.arm("mixed").evaluation
    shutil.rmtree(study.store.local_folder(evaluation))
    study.store.write_failure(evaluation, "ran out of memory", "the log")
    with pytest.raises(StudyFailed, match=r"1 of the study's models .*\n.*mixed: evaluation failed: ran out of memory"):
        check_outcome(study.plan, study.store)
    assert [one.name for one in failures_of(study.plan, study.store)] == ["mixed"]


def test_a_study_whose_recipe_is_wrong_on_a_cluster_fails_its_first_task(tmp_path: Path) -> None:
    """`plan` raises: the run ends there, and there is no plan to report on."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "x", "sources": {}}))
    ended = switchpoint("run", recipe, "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert not (tmp_path / "store").exists()
