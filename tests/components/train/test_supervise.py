"""Real processes that are killed, stopped, hung or started twice; the run ends as if nothing had happened."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from switchpoint.components.launch.job import JobEnd
from switchpoint.components.launch.process import is_alive
from switchpoint.components.recipe.training import Training
from switchpoint.components.stages import supervise
from switchpoint.components.stages.supervise import TrainingFailed, train_to_end
from switchpoint.components.store.lock import Locked
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json, write_json
from switchpoint.components.train.checkpoint import checkpoint_path, model_path, steps_in
from switchpoint.components.train.ending import Ending, ending, failure_file, forget_ending, write_failure, write_status
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loop import FINISHED, Trainer
from switchpoint.components.train.metrics import read_metrics
from tests.components.train.test_loop import job, losses, weights

GB_END, QB_END = 600, 1200
OFTEN = Training(checkpoint_every_seconds=0.3)


def jobs(prepared: Planned, root: Path, training: Training = OFTEN) -> tuple[TrainJob, TrainJob]:
    """GB, and QB from its checkpoint at the switch: long enough to be killed in the midst of."""
    phases = job(prepared, root / "x").phases
    qb_phase = phases[1].model_copy(update={"first_sample": GB_END * 4})
    fields: dict[str, Any] = {"training": training, "export_steps": []}
    gb = job(prepared, root / "gb", phases=phases[:1], keep_steps=[GB_END], end_step=GB_END, **fields)
    qb = job(
        prepared, root / "qb", phases=[phases[0], qb_phase], start="new_data", start_step=GB_END,
        start_checkpoint=str(checkpoint_path(root / "gb", GB_END)), model_config_folder=str(root / "config"),
        keep_steps=[QB_END], end_step=QB_END, **fields,
    )  # fmt: skip
    return gb, qb


def write_config(prepared: Planned, root: Path) -> None:
    Trainer(job(prepared, root / "c", end_step=1, keep_steps=[1], export_steps=[1]), 0, 1).run()
    model_path(root / "c", 1).rename(root / "config")


@pytest.fixture(scope="module")
def undisturbed(prepared: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    write_config(prepared, root)
    for one in jobs(prepared, root):
        assert Trainer(one, 0, 1).run() == FINISHED
    return root


SUPERVISED = (
    "import sys, json; from pathlib import Path; from switchpoint.components.train.job import TrainJob; "
    "from switchpoint.components.stages.supervise import train_to_end; "
    "job = TrainJob.model_validate_json(Path(sys.argv[1]).read_text()); "
    "train_to_end('run', job, Path(sys.argv[2]), int(sys.argv[3]))"
)


def start(one: TrainJob, num_processes: int = 1) -> subprocess.Popen[str]:
    """A launcher that follows the job to its end."""
    folder = Path(one.folder)
    file = folder / "given.json"
    write_json(file, one.model_dump(mode="json"))
    command = [sys.executable, "-c", SUPERVISED, str(file), str(folder / "log"), str(num_processes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trainer_pid(one: TrainJob, rank: int = 0) -> int | None:
    """Of the process that trains now, if any does."""
    try:
        pid = int((Path(one.folder) / f".trainer-{rank}.lock").read_text() or 0)
    except FileNotFoundError:
        return None
    return pid if pid and is_alive(pid) else None


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def last_step(one: TrainJob) -> int:
    return max((row["step"] for row in read_metrics(Path(one.folder))), default=one.start_step)


def _is_there_or_over(one: TrainJob, step: float, launcher: subprocess.Popen[str]) -> bool:
    return last_step(one) >= step or launcher.poll() is not None


def _is_training_or_over(one: TrainJob, launcher: subprocess.Popen[str]) -> bool:
    return trainer_pid(one) is not None or launcher.poll() is not None


def _is_dead(pid: int) -> bool:
    return not is_alive(pid)


def kill_at_random_moments(prepared: Planned, root: Path, kills: int, chance: random.Random) -> int:
    """Kills the trainer of GB and of QB `kills` times in all; each moment is one somewhere within its work."""
    write_config(prepared, root)
    killed = 0
    for one, share in zip(jobs(prepared, root), (kills // 2, kills - kills // 2), strict=True):
        launcher = start(one)
        for number in range(share):
            aim = one.start_step + (one.end_step - one.start_step) * (number + chance.random()) / share * 0.95
            wait_until(partial(_is_there_or_over, one, aim, launcher))
            # Rows that outlived a kill may lie beyond the next aim while nobody trains yet.
            wait_until(partial(_is_training_or_over, one, launcher))
            time.sleep(chance.random() * 0.3)
            if (pid := trainer_pid(one)) is None:
                continue
            os.kill(pid, signal.SIGKILL)
            killed += 1
            wait_until(partial(_is_dead, pid))
        told = launcher.communicate(timeout=600)[0]
        assert launcher.returncode == 0, told
    return killed


def check_same_bits(root: Path, undisturbed: Path) -> None:
    for name, end in (("gb", GB_END), ("qb", QB_END)):
        assert weights(root / name, end) == weights(undisturbed / name, end)
        assert losses(root / name) == losses(undisturbed / name)


def test_killed_three_times_it_ends_with_the_same_bits(prepared: Planned, undisturbed: Path, tmp_path: Path) -> None:
    assert kill_at_random_moments(prepared, tmp_path, 3, random.Random(3)) >= 2
    check_same_bits(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_25_times_it_ends_with_the_same_bits(prepared: Planned, undisturbed: Path, tmp_path: Path) -> None:
    assert kill_at_random_moments(prepared, tmp_path, 25, random.Random(25)) >= 20
    check_same_bits(tmp_path, undisturbed)


def test_one_of_two_is_killed_and_the_other_ends_too(prepared: Planned, tmp_path: Path) -> None:
    """Within seconds; the launcher starts both again. Then SIGTERM of one: both stop at one step and go on."""
    gb, _ = jobs(prepared, tmp_path, Training(checkpoint_every_seconds=0.3, num_processes=2))
    launcher = start(gb, num_processes=2)
    wait_until(lambda: steps_in(Path(gb.folder)))
    first, second = trainer_pid(gb, 0), trainer_pid(gb, 1)
    assert first
    assert second
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: not is_alive(first), seconds=15)
    reached = last_step(gb)
    wait_until(lambda: last_step(gb) > reached + 5)
    again = trainer_pid(gb, 1)
    assert again
    os.kill(again, signal.SIGTERM)
    told = launcher.communicate(timeout=300)[0]
    assert launcher.returncode == 0, told
    assert "a training process was killed" in told
    assert "stopped after step" in told
    assert steps_in(Path(gb.folder))[-1] == GB_END
    assert [row["step"] for row in read_metrics(Path(gb.folder))] == list(range(1, GB_END + 1))


@pytest.mark.slow
def test_a_run_that_hangs_is_started_again(prepared: Planned, tmp_path: Path) -> None:
    """SIGSTOP of the one: the other sees no step, writes its stacks and asks to be started again."""
    training = Training(checkpoint_every_seconds=0.3, hang_seconds=8, num_processes=2)
    gb, _ = jobs(prepared, tmp_path, training)
    launcher = start(gb, num_processes=2)
    wait_until(lambda: steps_in(Path(gb.folder)))
    stuck = trainer_pid(gb, 1)
    assert stuck
    os.kill(stuck, signal.SIGSTOP)
    wait_until(lambda: not is_alive(stuck), seconds=60)
    told = launcher.communicate(timeout=300)[0]
    assert launcher.returncode == 0, told
    assert "no step for 8 s after step" in told
    assert "started again from step" in told
    (stacks,) = (Path(gb.folder) / "log").glob("hang-*")
    assert "_train_step" in (stacks / "stacks-0.txt").read_text()


def test_restarts_that_come_no_further_end(prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage fails every time: so many restarts, then the cause is told."""
    gb, _ = jobs(prepared, tmp_path, Training(max_restarts=2))
    starts: list[int] = []

    def fails(*_: Any, **__: Any) -> Any:
        starts.append(1)
        write_json(
            failure_file(Path(gb.folder), 0), {"reason": "OSError: no answer", "lost_peer": False, "resume": True}
        )
        return JobEnd(succeeded=False, log=tmp_path / "log")

    monkeypatch.setattr("switchpoint.components.stages.supervise.run_job", fails)
    with pytest.raises(TrainingFailed, match=r"OSError: no answer \(step 0 of 600\); 2 restarts came no further"):
        train_to_end("run", gb, tmp_path / "log", 1)
    assert len(starts) == 3


def test_disruptions_are_not_counted_and_failures_between_them_are(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gb, _ = jobs(prepared, tmp_path, Training(max_restarts=1))
    taken = JobEnd(succeeded=False, log=tmp_path / "log", cause="pod train-0 was pre-empted", disrupted=True)
    killed = replace(taken, cause="pod train-0 ran out of memory", disrupted=False)
    done = replace(taken, succeeded=True)
    ends = [taken, taken, killed, taken, taken, done]
    monkeypatch.setattr("switchpoint.components.stages.supervise.run_job", lambda _: ends.pop(0))
    train_to_end("run", gb, tmp_path / "log", 1)
    ends = [taken, taken, killed, taken, killed, done]
    with pytest.raises(TrainingFailed, match="ran out of memory"):
        train_to_end("run", gb, tmp_path / "log", 1)
    assert ends == [done]


def test_the_cause_goes_before_what_followed_from_it(tmp_path: Path) -> None:
    write_json(
        failure_file(tmp_path, 0), {"reason": "RuntimeError: closed by peer", "lost_peer": True, "resume": False}
    )
    killed = JobEnd(succeeded=False, log=tmp_path / "log", killed_by="SIGKILL")
    without_log = ending(tmp_path, None, killed)
    killed.log.write_text("Traceback\nRuntimeError: anything\n")
    assert ending(tmp_path, None, killed) == without_log
    assert "was killed (SIGKILL, often" in ending(tmp_path, None, killed).reason
    assert ending(tmp_path, None, killed).resume
    evicted = replace(killed, cause="pod train-0 was evicted", may_resume=True)
    assert ending(tmp_path, None, evicted) == Ending("pod train-0 was evicted", True)
    bad = {"reason": "step 7: the loss is nan", "lost_peer": False, "resume": False}
    write_json(failure_file(tmp_path, 1), bad)
    assert ending(tmp_path, None, killed).reason == "step 7: the loss is nan"
    # What survivors of an eviction say follows from it; a bad batch does not.
    assert ending(tmp_path, None, evicted).reason == "pod train-0 was evicted"
    write_json(failure_file(tmp_path, 1), bad | {"is_final": True})
    assert ending(tmp_path, None, evicted).reason == "step 7: the loss is nan"
    assert not ending(tmp_path, None, killed).resume


@pytest.mark.parametrize(
    ("error", "resume"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True), (TimeoutError("no answer"), True),
        (FileNotFoundError("tokens"), False), (PermissionError("tokens"), False), (ValueError("a bug"), False),
        (RuntimeError("Connection closed by peer"), False), (Locked("a predecessor still writes"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (RuntimeError("CUDA error: out of memory"), False),
    ],
)  # fmt: skip
def test_only_what_may_pass_is_tried_again(tmp_path: Path, error: Exception, resume: bool) -> None:
    write_failure(tmp_path, 0, error)
    failure = read_json(failure_file(tmp_path, 0))
    assert failure["resume"] == resume
    assert failure["lost_peer"] == ("peer" in str(error))


def test_an_old_stop_is_not_the_reason_of_a_later_end(tmp_path: Path) -> None:
    write_status(tmp_path, "stopped", "SIGTERM", 7, resume=True)
    forget_ending(tmp_path)
    end = JobEnd(succeeded=False, log=tmp_path / "log", killed_by="SIGKILL")
    assert "was killed (SIGKILL" in ending(tmp_path, None, end).reason
    write_status(tmp_path, "running", "", 9, resume=False)
    forget_ending(tmp_path)  # of a job that is found running: what the terminal shows
    assert read_json(tmp_path / "status.json")["step"] == 9


def test_a_store_that_is_away_when_the_job_ends_is_asked_again(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gb, _ = jobs(prepared, tmp_path, Training(max_restarts=0))
    away = [OSError("no answer")] * 6

    def answered(value: Any) -> Any:
        def ask(*_: Any) -> Any:
            if len(away) % 3:
                raise away.pop()
            away.pop() if away else None
            return value

        return ask

    for name, value in {"steps_in": [7], "forget_ending": None, "fetch_ending": tmp_path, "write_job": "job"}.items():
        monkeypatch.setattr(supervise, name, answered(value) if name != "write_job" else lambda _: "job")
    monkeypatch.setattr(supervise, "wait_exponential", lambda *_, **__: lambda _: 0.0)
    monkeypatch.setattr(supervise, "run_job", lambda _: JobEnd(succeeded=False, log=tmp_path / "log"))
    with pytest.raises(TrainingFailed, match="a training process was killed"):
        train_to_end("run", gb.model_copy(update={"folder": "s3://store/gb"}), tmp_path / "log", 1)
    assert not away
    assert "the store does not answer (no answer): asked again" in capsys.readouterr().err
    with pytest.raises(PermissionError):
        supervise.patiently("s3://store/gb", lambda: (_ for _ in ()).throw(PermissionError()))


def test_a_second_trainer_on_a_run_is_refused(prepared: Planned, tmp_path: Path) -> None:
    """While the first one lives; once it is killed, its lock is free."""
    gb, _ = jobs(prepared, tmp_path)
    file = Path(gb.folder) / "given.json"
    write_json(file, gb.model_dump(mode="json"))
    environment = os.environ | {
        "RANK": "0", "WORLD_SIZE": "1", "OMP_NUM_THREADS": "1", "SWITCHPOINT_RENDEZVOUS": str(tmp_path / "meeting"),
    }  # fmt: skip
    impatient = "from switchpoint.components.train import app; app.LOCK_WAIT_SECONDS = 0.1; app.main()"
    command = [sys.executable, "-c", impatient, file]
    first = subprocess.Popen(command, env=environment)
    wait_until(lambda: last_step(gb) > 3)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert second.returncode == 1
    assert f"is held by process {first.pid}" in second.stderr
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = subprocess.Popen(command, env=environment)
    wait_until(lambda: trainer_pid(gb) == third.pid)
    third.send_signal(signal.SIGTERM)
    assert third.wait(timeout=60) in (0, 75, -signal.SIGTERM)


def test_sigterm_leaves_a_status_that_asks_to_be_started_again(prepared: Planned, tmp_path: Path) -> None:
    trainer = Trainer(jobs(prepared, tmp_path)[0], 0, 1)
    trainer.request_stop()
    trainer.run()
    status = read_json(tmp_path / "gb" / "status.json")
    assert status == {"state": "stopped", "reason": "SIGTERM", "step": 1, "resume": True}
    assert steps_in(tmp_path / "gb") == [1]
