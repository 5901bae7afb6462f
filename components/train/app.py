"""A process of a training job: `python -m switchpoint.components.train.app JOB.json`, with RANK and WORLD_SIZE set.

What it does is in `loop.py`; this module holds its lock, watches it for hangs, and reports how it ended.
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.store.location import remove_files
from switchpoint.components.store.lock import locked
from switchpoint.components.train.ending import RESUME_ME, STATUS, failure_file, write_failure, write_status

if TYPE_CHECKING:  # read after the process has told the kernel to end it with its parent
    from switchpoint.components.train.job import TrainJob

LOCK_WAIT_SECONDS = 60.0
"""How long to wait for an earlier trainer: when its launcher is killed, it writes one more checkpoint and ends."""


def main() -> None:
    die_with_parent(signal.SIGTERM)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    from switchpoint.components.train.job_files import read_job, work_folder

    job = read_job(sys.argv[1])
    folder, seconds = work_folder(job, rank), job.training.hang_seconds
    # A cluster may restart a pod without the launcher; the failure of its first start would be taken for a new one.
    remove_files(job.folder, [failure_file(Path(), rank).name])
    with _failure_reported(job, rank, folder), locked(folder / f".trainer-{rank}.lock", LOCK_WAIT_SECONDS):
        import torch
        import torch.distributed as dist

        from switchpoint.components.train.loop import FINISHED, Trainer
        from switchpoint.components.train.parallel import Ranks, join_processes
        from switchpoint.components.train.watchdog import Watchdog

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        file = os.environ.get("SWITCHPOINT_RENDEZVOUS")
        init_method = (
            f"file://{file}" if file else "env://"
        )  # a file on one machine; elsewhere torchrun sets the address
        with Watchdog(folder, rank, seconds, partial(_report_hang, job, rank, folder)) as watchdog:
            # Communication times out later than the watchdog, whose stacks show what each process was doing.
            join_processes(Ranks(rank, world_size, job.training), init_method, 2 * seconds)
            end = Trainer(job, rank, world_size).run(watchdog.alive)
            watchdog.alive()
            if dist.is_initialized():
                dist.destroy_process_group()
    sys.exit(0 if end == FINISHED else RESUME_ME)


@contextmanager
def _failure_reported(job: "TrainJob", rank: int, folder: Path) -> Iterator[None]:
    """Write why this process failed to where its launcher reads it, and end the process."""
    try:
        yield
    except BaseException as error:
        traceback.print_exc()
        write_failure(folder, rank, error)
        from switchpoint.components.train.upload import send_ending

        send_ending(job, rank)
        # Exit without waiting: a thread that writes a checkpoint may wait for the other processes forever.
        sys.stderr.flush()
        os._exit(1)


def _report_hang(job: "TrainJob", rank: int, folder: Path) -> None:
    from switchpoint.components.train.loop import STOPPED
    from switchpoint.components.train.metrics import last_step
    from switchpoint.components.train.upload import send_ending

    step = last_step(folder, job.start_step)
    reason = f"no step for {job.training.hang_seconds:g} s after step {step}"
    write_status(folder, STOPPED, reason, step, resume=True)
    send_ending(job, rank, *([STATUS] if rank == 0 else []))  # rank 0 has the metrics


if __name__ == "__main__":
    main()
