"""The evaluations of a run while it trains: at the recipe's steps, into the run's series."""

import time
from pathlib import Path

from transformers import PreTrainedModel

from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.metrics import append_to_series, read_series
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.probes import Probes


class Evaluations:
    """All processes evaluate together; the first one writes the series."""

    def __init__(self, job: TrainJob, ranks: Ranks, folder: Path) -> None:
        self._job, self._ranks, self._folder = job, ranks, folder
        self._name = Path(job.probes).parent.name
        done = ranks.agree(list(read_series(folder, self._name)) if ranks.rank == 0 else [])
        self._steps = set(job.evaluation_steps) - set(done)  # a step that is trained again has the same scores
        self._probes: Probes | None = None

    def is_due(self, step: int) -> bool:
        """Return whether the recipe asks for an evaluation at `step` and the series lacks it."""
        return step in self._steps

    def evaluate(self, step: int, model: PreTrainedModel) -> float:
        """Evaluate `model`, append the scores to the series, and return the seconds that it took."""
        began = time.monotonic()
        if self._probes is None:
            self._probes = Probes(Path(self._job.probes), self._ranks, self._job.vocab_size)
        scores = self._probes.evaluate(model)
        if self._ranks.rank == 0:
            row = {"step": step, "tokens": self._job.clock.tokens_at(step), "probes": self._name, "scores": scores}
            append_to_series(self._folder, row | {"time": round(time.time(), 3)})
        return time.monotonic() - began
