"""What two processes train, by every arrangement: `python -m tests.components.train.two_processes JOBS.json`.

One start of Python for all of them: importing costs more than training here.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from switchpoint.components.train import parallel
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loop import Trainer
from switchpoint.components.train.parallel import Ranks, join_processes


def main() -> None:
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    jobs: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
    first = TrainJob.model_validate(next(iter(jobs.values()))["job"])
    join_processes(Ranks(rank, world_size, first.training), f"file://{os.environ['SWITCHPOINT_RENDEZVOUS']}", 120)
    for given in jobs.values():
        parallel.SMALL_MODEL_PARAMETERS = 50_000_000 if given["small"] else 0
        assert Trainer(TrainJob.model_validate(given["job"]), rank, world_size).run() == "finished"
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
