"""Training as processes that TorchX starts: two ranks, their end with the launcher, and failures with a reason."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from switchpoint.components.launch.local import app_definition, run_local_job
from switchpoint.components.launch.process import is_alive
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.train.checkpoint import checkpoint_path, steps_in
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.metrics import read_metrics
from tests.components.train.test_loop import END, job, weights


def write_job(one: TrainJob) -> str:
    path = Path(one.folder) / "job.json"
    path.write_text(one.model_dump_json())
    return str(path)


def test_the_role_can_be_a_shell_variable_on_a_cluster() -> None:
    app = app_definition("name", "switchpoint.components.train.app", [], num_processes=2, num_threads=1)
    assert app.roles[0].name == "train"
    assert app.roles[0].num_replicas == 2


def test_two_ranks_resume_with_the_same_bits_and_one_rank_goes_on_from_them(prepared: Planned, tmp_path: Path) -> None:
    whole = job(prepared, tmp_path / "whole", keep_steps=[10, END])
    assert run_local_job(
        "whole", "switchpoint.components.train.app", [write_job(whole)], tmp_path / "log", num_processes=2
    ).succeeded
    assert steps_in(tmp_path / "whole") == [10, END]
    for name, world_size in (("again", 2), ("smaller", 1)):
        folder = tmp_path / name
        rest = job(prepared, folder)
        (folder / "checkpoints").mkdir()
        shutil.copytree(checkpoint_path(tmp_path / "whole", 10), checkpoint_path(folder, 10))
        end = run_local_job(
            name,
            "switchpoint.components.train.app",
            [write_job(rest)],
            tmp_path / name / "log",
            num_processes=world_size,
        )
        assert end.succeeded, end.log.read_text()
    assert weights(tmp_path / "again", END) == weights(tmp_path / "whole", END)
    expected = [row["loss"] for row in read_metrics(tmp_path / "whole") if row["step"] > 10]
    assert [row["loss"] for row in read_metrics(tmp_path / "again")] == expected
    assert [row["loss"] for row in read_metrics(tmp_path / "smaller")] == pytest.approx(expected, rel=1e-4)


def test_the_trainer_ends_with_its_launcher_and_leaves_a_checkpoint(prepared: Planned, tmp_path: Path) -> None:
    """kill -9 of the launcher: the trainer saves at the next step and ends; no orphan trains on."""
    one = job(prepared, tmp_path / "run", end_step=100_000)
    code = (
        "import sys; from pathlib import Path; from switchpoint.components.launch.local import run_local_job; "
        "run_local_job('run', 'switchpoint.components.train.app', [sys.argv[1]], Path(sys.argv[2]))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code, write_job(one), str(tmp_path / "log")])
    metrics = tmp_path / "run" / "metrics.jsonl"
    _wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") > 5)
    trainer = int((tmp_path / "run" / ".trainer-0.lock").read_text())
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    _wait_until(lambda: not is_alive(trainer))
    status = read_json(tmp_path / "run" / "status.json")
    assert status["state"] == "stopped"
    assert steps_in(tmp_path / "run") == [status["step"]]


def test_a_failure_names_its_reason(prepared: Planned, tmp_path: Path) -> None:
    one = job(prepared, tmp_path / "run")
    path = Path(write_job(one))
    written = json.loads(path.read_text())
    written["stretches"][0]["batch_size"] = 3
    path.write_text(json.dumps(written))
    end = run_local_job("run", "switchpoint.components.train.app", [str(path)], tmp_path / "log", num_processes=2)
    assert not end.succeeded
    assert "batch_size 3 cannot be divided over 2 num_processes" in end.log.read_text()


def _wait_until(condition: object, seconds: float = 90) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
