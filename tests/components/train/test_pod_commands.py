"""What the pods of a Volcano Job run trains: their own commands, as processes here, with the bits of a local job."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from torchx.runner import get_runner

from switchpoint.components.launch import volcano
from switchpoint.components.launch.job import JobEnd, JobRequest
from switchpoint.components.launch.local import run_local_job
from switchpoint.components.launch.site import Launched, Site
from switchpoint.components.launch.volcano import volcano_job
from switchpoint.components.recipe.cluster import Cluster
from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.store.store import read_json
from switchpoint.components.train.checkpoint import read_state, steps_in
from switchpoint.components.train.ending import ending
from tests.components.train.test_loop import END, job, losses, weights
from tests.components.train.test_supervise import wait_until


def start_pods(
    request: JobRequest, site: Site, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> "list[subprocess.Popen[bytes]]":
    """Every pod's container as a process."""
    return [start() for start in pod_starts(request, site, monkeypatch, logs)]


def pod_starts(
    request: JobRequest, site: Site, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> "list[Callable[[], subprocess.Popen[bytes]]]":
    """What starts each; Volcano's plugins would name the first pod's host."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        monkeypatch.setattr(volcano, "RENDEZVOUS_PORT", one.getsockname()[1])
    with get_runner() as runner:
        launched = Launched(site=site, namespace="team")
        spec: dict[str, Any] = volcano_job(request, launched, runner).request.resource
    logs.mkdir(parents=True, exist_ok=True)

    def start(task: dict[str, Any]) -> "subprocess.Popen[bytes]":
        (container,) = task["template"]["spec"]["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        environment |= {"VC_TRAIN_0_HOSTS": "127.0.0.1", "HOME": str(logs)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with (logs / f"{task['name']}.log").open("wb") as log:
            return subprocess.Popen(container["command"], env=environment, stdout=log, stderr=log)

    return [partial(start, task) for task in spec["spec"]["tasks"]]


def start_endless_pod(
    prepared: Planned, root: Path, monkeypatch: pytest.MonkeyPatch
) -> "tuple[subprocess.Popen[bytes], Path]":
    """A pod that trains `root / "run"` without end, once it has taken a step; its log."""
    endless = job(prepared, root / "run", end_step=100_000, keep_steps=[100_000], export_steps=[])
    (root / "run" / "job.json").write_text(endless.model_dump_json())
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=(str(root / "run" / "job.json"),),
        log_folder=root / "log", cluster=Cluster(device="none"),
    )  # fmt: skip
    log = root / "pod-logs" / "train-0.log"
    (process,) = start_pods(request, Site(trainer_image="trainer"), monkeypatch, log.parent)
    wait_until(lambda: (root / "run" / "metrics.jsonl").exists() or process.poll() is not None, 120)
    assert process.poll() is None, log.read_text()[-3000:]
    return process, log


def test_two_pods_train_with_the_bits_of_two_local_processes(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = job(prepared, tmp_path / "local")
    (tmp_path / "local" / "job.json").write_text(local.model_dump_json())
    file = str(tmp_path / "local" / "job.json")
    assert run_local_job(
        "local", "switchpoint.components.train.app", [file], tmp_path / "log", num_processes=2
    ).succeeded
    pods = job(prepared, tmp_path / "pods")
    (tmp_path / "pods" / "job.json").write_text(pods.model_dump_json())
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=(str(tmp_path / "pods" / "job.json"),),
        log_folder=tmp_path / "log", num_processes=2, cluster=Cluster(device="none"),
    )  # fmt: skip
    processes = start_pods(request, Site(trainer_image="trainer"), monkeypatch, tmp_path / "pod-logs")
    try:
        ended = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = "\n".join(log.read_text() for log in (tmp_path / "pod-logs").glob("*.log"))
    assert ended == [0, 0], said[-4000:]
    assert weights(tmp_path / "pods", END) == weights(tmp_path / "local", END)
    assert losses(tmp_path / "pods") == losses(tmp_path / "local")


def test_a_pod_that_is_told_to_end_writes_a_checkpoint_and_asks_to_be_started_again(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM reaches the trainer through bash and torchrun."""
    process, _ = start_endless_pod(prepared, tmp_path, monkeypatch)
    try:
        process.terminate()
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    status = read_json(tmp_path / "run" / "status.json")
    assert status["state"] == "stopped"
    assert status["resume"]
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_torchrun_tells_by_which_signal_a_trainer_died(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own error, with a traceback, is not taken for the trainer's."""
    process, log = start_endless_pod(prepared, tmp_path, monkeypatch)
    try:
        (trainer,) = [
            child for child in psutil.Process(process.pid).children(recursive=True)
            if "torch.distributed.run" not in " ".join(child.cmdline())
            and "switchpoint.components.train.app" in child.cmdline()
        ]  # fmt: skip
        trainer.kill()
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    end = JobEnd(succeeded=False, log=log)
    assert "ChildFailedError" in log.read_text()
    found = ending(tmp_path / "run", None, end)
    assert "was killed (SIGKILL" in found.reason
    assert found.resume


def test_a_pod_that_comes_late_is_taken_in(prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elastic: one pod trains, the second is placed; both go on from the first one's checkpoint."""
    folder, logs = tmp_path / "run", tmp_path / "pod-logs"
    monkeypatch.setattr(volcano, "_patience", lambda _: "last_call_timeout=1")  # for others, at the start: 30 s
    often = Training(checkpoint_every_seconds=0.3)
    endless = job(prepared, folder, end_step=100_000, keep_steps=[100_000], export_steps=[], training=often)
    (folder / "job.json").write_text(endless.model_dump_json())
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=(str(folder / "job.json"),),
        log_folder=tmp_path / "log", num_processes=2, cluster=Cluster(device="none", min_nodes=1),
    )  # fmt: skip
    first, second = pod_starts(request, Site(trainer_image="trainer"), monkeypatch, logs)
    processes = [first()]

    def both_train() -> bool:
        states = [read_state(folder, step) or {} for step in steps_in(folder)[-1:]]
        return any(process.poll() is not None for process in processes) or any(
            state.get("world_size") == 2 for state in states
        )

    try:
        wait_until(lambda: steps_in(folder) or processes[0].poll() is not None)
        processes.append(second())
        wait_until(both_train)
        said = "\n".join(log.read_text() for log in logs.glob("*.log"))
        assert [process.poll() for process in processes] == [None, None], said[-4000:]
        processes[0].terminate()
        assert all(process.wait(timeout=60) for process in processes)
    finally:
        for process in processes:
            process.kill()
    status = read_json(folder / "status.json")
    assert status["resume"]
    steps = [step for step, _ in losses(folder)]
    assert steps == list(range(1, status["step"] + 1))


def test_a_pod_whose_first_node_does_not_come_asks_to_be_started_again(
    prepared: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits as long as pods may; by default torchrun gives up after 60 s."""
    request = JobRequest(
        name="gb-0123456789abcdef", module="switchpoint.components.train.app",
        arguments=(str(tmp_path / "job.json"),),
        log_folder=tmp_path / "log", num_processes=2, cluster=Cluster(device="none", pending_seconds=3),
    )  # fmt: skip
    _, second = pod_starts(request, Site(trainer_image="trainer"), monkeypatch, tmp_path / "pod-logs")
    process = second()
    try:
        assert process.wait(timeout=40) != 0
    finally:
        process.kill()
    log = tmp_path / "pod-logs" / "train-1.log"
    end = JobEnd(succeeded=False, log=log)
    found = ending(tmp_path, None, end)
    assert "Rendezvous" in found.reason
    assert found.resume
