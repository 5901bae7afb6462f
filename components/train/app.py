"""A rank of a training job: `python -m components.train.app JOB.json`, with RANK and WORLD_SIZE set."""

import os
import signal
import sys
from pathlib import Path

from components.launch.process import die_with_parent
from components.store.lock import locked

LOCK_WAIT_SECONDS = 60.0
"""A trainer whose launcher was killed writes one more checkpoint and ends; its successor waits for that."""


def main() -> None:
    die_with_parent(signal.SIGTERM)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    import torch
    import torch.distributed as dist

    from components.train.job import TrainJob
    from components.train.loop import FINISHED, Trainer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    job = TrainJob.model_validate_json(Path(sys.argv[1]).read_text())
    with locked(Path(job.folder) / f".trainer-{rank}.lock", LOCK_WAIT_SECONDS):
        if world_size > 1:
            meeting = f"file://{os.environ['SWITCHPOINT_RENDEZVOUS']}"
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
        end = Trainer(job, rank, world_size).run()
        if world_size > 1:
            dist.destroy_process_group()
    sys.exit(0 if end == FINISHED else 75)  # EX_TEMPFAIL: run me again


if __name__ == "__main__":
    main()
