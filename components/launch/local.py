"""Jobs on this machine: one TorchX application, its replicas as processes of TorchX's local scheduler."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from torchx import specs
from torchx.runner import get_runner

from switchpoint.components.launch.job import JobEnd
from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.launch.slots import has_gpus, slots, visible_gpus

LEFT_SECONDS = 5.0
"""How long the processes that are left may take to notice, and report, that another one of the job failed."""


def app_definition(
    name: str,
    module: str,
    arguments: Sequence[str],
    *,
    num_processes: int,
    num_threads: int,
    rendezvous: str = "",
    variables: Mapping[str, str] | None = None,
) -> specs.AppDef:
    """Return `python -m module arguments` in `num_processes` replicas that find each other through a file.

    The role's name must be letters and digits only: TorchX makes shell variables of it on a cluster.
    """
    role = module.split(".")[-2]
    assert role.isalnum(), role
    environment = {
        "OMP_NUM_THREADS": str(num_threads),
        "MKL_NUM_THREADS": str(num_threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "WORLD_SIZE": str(num_processes),
        "RANK": specs.macros.replica_id,
        "SWITCHPOINT_RENDEZVOUS": rendezvous,
        **(variables or {}),
    }
    return specs.AppDef(
        name=name,
        roles=[
            specs.Role(
                name=role, image="", entrypoint=sys.executable, args=["-m", module, *arguments], env=environment,
                num_replicas=num_processes, max_retries=0, resource=specs.Resource(cpu=num_threads, gpu=0, memMB=2048),
            )
        ],
    )  # fmt: skip


def run_local_job(
    name: str,
    module: str,
    arguments: Sequence[str],
    log_folder: Path,
    *,
    num_processes: int = 1,
    num_threads: int = 1,
    variables: Mapping[str, str] | None = None,
) -> JobEnd:
    """Run the job to its end, once the machine has room for it, with `variables` in its environment.

    The job dies with this process.
    """
    die_with_parent()
    log_folder.mkdir(parents=True, exist_ok=True)
    with (
        # A process has one GPU, whatever its threads; on a CPU each thread has a core.
        slots(num_processes if has_gpus() else num_processes * num_threads) as taken,
        tempfile.TemporaryDirectory(prefix="switchpoint-") as meeting,
        get_runner() as runner,
    ):
        app = app_definition(
            name, module, arguments, num_processes=num_processes, num_threads=num_threads,
            rendezvous=f"{meeting}/rendezvous", variables={**(variables or {}), **visible_gpus(taken)},
        )  # fmt: skip
        before = _children()
        handle = runner.schedule(runner.dryrun(app, "local_cwd", {"log_dir": str(log_folder)}))
        killed_by = _wait_for_all_or_one_failure(_children() - before)
        runner.cancel(handle)  # what is left: SIGTERM, and ten seconds later SIGKILL
        status = runner.wait(handle, wait_interval=0.1)
    assert status is not None, handle
    logs = log_folder / "torchx" / handle.rsplit("/", 1)[-1] / app.roles[0].name
    return JobEnd(
        succeeded=status.state == specs.AppState.SUCCEEDED,
        killed_by=killed_by,
        log=_telling_log(logs, num_processes),
    )


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _wait_for_all_or_one_failure(pids: set[int]) -> str:
    """Wait until all processes ended, or one of them failed: TorchX would wait for the others, which wait for it.

    They get a few seconds to end by themselves. Return the signal that killed the first one, if one did. Exit codes are
    read, not collected: TorchX collects them.
    """
    left, killed_by, deadline = set(pids), "", float("inf")
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        ended = [one for pid in left if (one := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))]
        left -= {one.si_pid for one in ended}
        failed = [one for one in ended if one.si_code != os.CLD_EXITED or one.si_status]
        if failed and deadline == float("inf"):
            deadline = time.monotonic() + LEFT_SECONDS
            killed = [signal.Signals(one.si_status).name for one in failed if one.si_code != os.CLD_EXITED]
            killed_by = killed[0] if killed else ""
    return killed_by


def _telling_log(logs: Path, num_processes: int) -> Path:
    candidates = [logs / str(replica) / "stderr.log" for replica in range(num_processes)]
    return next(
        (log for log in candidates if log.exists() and "Traceback" in log.read_text(errors="replace")), candidates[0]
    )


def tail(path: Path) -> str:
    """Return the last line at the margin, with what is indented below it: a traceback's message."""
    if not path.exists():
        return ""
    lines = [line.rstrip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    at_margin = [number for number, line in enumerate(lines) if not line[0].isspace()]
    return "; ".join(line.strip() for line in lines[at_margin[-1] :]) if at_margin else "".join(lines[-1:])
