"""The metrics of a run's steps: measure the throughput, and write one row per step."""

import math
import time
from pathlib import Path
from typing import Any

from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.metrics import MetricsFile
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.throughput import Throughput
from switchpoint.components.train.training_step import StepResult


class StepMetrics:
    """The rows of a run; the first process writes them."""

    def __init__(self, job: TrainJob, ranks: Ranks, folder: Path, covered_step: int, end_step: int) -> None:
        """`covered_step`: rows up to it are final, because a checkpoint holds their steps; those after it are removed.

        `end_step`: the last step to train, for the time that is left.
        """
        self._clock, self._covered_step, self._end_step = job.clock, covered_step, end_step
        self._file = MetricsFile(folder, covered_step) if ranks.rank == 0 else None
        self._throughput = Throughput(ranks.device, ranks.world_size, job.flops_per_token)

    def record(self, step: int, result: StepResult, skipped_steps: int) -> None:
        """Write the row of `step`, which has just ended, unless the file has it: a step trained again has the same."""
        self._throughput.step(self._clock.tokens_at(step) - self._clock.tokens_at(step - 1))
        if self._file and step > self._covered_step:
            self._file.write(self._row(step, result, skipped_steps))

    def pause(self, seconds: float) -> None:
        """Leave the last `seconds`, which were not training, out of the throughput."""
        self._throughput.pause(seconds)

    def flush_to_disk(self) -> None:
        """Make the rows durable, before the checkpoint of the last one is complete."""
        if self._file:
            self._file.flush_to_disk()

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _row(self, step: int, result: StepResult, skipped_steps: int) -> dict[str, Any]:
        """Return the row of `step`. Numbers that are not finite become null: JSON has no others."""
        tokens, rate = self._clock.tokens_at(step), self._throughput.tokens_per_second
        left = self._clock.tokens_at(self._end_step) - tokens
        mfu = self._throughput.mfu()
        return {
            "step": step, "tokens": tokens, "loss": _finite(result.loss), "learning_rate": result.learning_rate,
            "grad_norm": _finite(result.grad_norm),
            "losses": {name: _finite(loss) for name, loss in result.losses.items()},
            "tokens_per_second": round(rate, 1), "mfu": mfu and round(mfu, 4),
            "memory_bytes": self._throughput.memory_bytes(), "eta_seconds": round(left / max(rate, 1e-9), 1),
            "skipped_steps": skipped_steps, **({"skipped": True} if result.problem else {}),
            "time": round(time.time(), 3),
        }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
