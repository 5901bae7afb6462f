"""A process of a training job: `python -m switchpoint.components.train.app JOB.json`, with RANK and WORLD_SIZE set.

What it does is in `loop.py`; this module holds its lock, watches it for hangs, and reports how it ended.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.store.location import remove_files
from switchpoint.components.store.lock import locked
from switchpoint.components.train.ending import RESUME_ME, STATUS, failure_file, write_failure, write_status

LOCK_WAIT_SECONDS = 60.0
"""How long to wait for an earlier trainer: when its launcher is killed, it writes one more checkpoint and ends."""


def main() -> None:
    die_with_parent(signal.SIGTERM)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    from switchpoint.components.train.job_files import read_job, work_folder

    job = read_job(sys.argv[1])
    folder = work_folder(job, rank)
    # A cluster may restart a pod without the launcher; the failure of its first start would be taken for a new one.
    remove_files(job.folder, [failure_file(Path(), rank).name])
    try:
        with locked(folder / f".trainer-{rank}.lock", LOCK_WAIT_SECONDS):
            finished = _train(job, rank, world_size)
    except BaseException as error:
        traceback.print_exc()
        write_failure(folder, rank, error)
        from switchpoint.components.train.upload import send_ending

        send_ending(job, rank)
        # Exit without waiting: a thread that writes a checkpoint may wait for the other processes forever.
        sys.stderr.flush()
        os._exit(1)
    sys.exit(0 if finished else RESUME_ME)


def _train(job: "TrainJob", rank: int, world_size: int) -> bool:  # type: ignore[name-defined] # noqa: F821
    """Train the job. Return True if it is finished, False if it was stopped and must be restarted."""
    import torch
    import torch.distributed as dist

    from switchpoint.components.train.job_files import work_folder
    from switchpoint.components.train.loop import FINISHED, STOPPED, Trainer
    from switchpoint.components.train.metrics import last_step
    from switchpoint.components.train.parallel import Ranks, join_processes
    from switchpoint.components.train.upload import send_ending
    from switchpoint.components.train.watchdog import Watchdog

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    file = os.environ.get("SWITCHPOINT_RENDEZVOUS")
    init_method = f"file://{file}" if file else "env://"  # a file on one machine; elsewhere torchrun sets the address
    folder, seconds = work_folder(job, rank), job.training.hang_seconds

    def report_hang() -> None:
        step = last_step(folder, job.start_step)
        write_status(folder, STOPPED, f"no step for {seconds:g} s after step {step}", step, resume=True)
        send_ending(job, rank, *([STATUS] if rank == 0 else []))  # rank 0 has the metrics

    with Watchdog(folder, rank, seconds, report_hang) as watchdog:
        # Communication times out later than the watchdog, whose stacks show what each process was doing.
        join_processes(Ranks(rank, world_size, job.training), init_method, 2 * seconds)
        end = Trainer(job, rank, world_size).run(watchdog.alive)
        watchdog.alive()
        if dist.is_initialized():
            dist.destroy_process_group()
    return end == FINISHED


if __name__ == "__main__":
    main()
