"""The checkpoints and exported models of a training job: load the right one, write those that are missing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from switchpoint.components.train.checkpoint import (
    CheckpointWriter,
    DamagedCheckpoint,
    checkpoint_place,
    find_damage_together,
    has_model,
    is_kept,
    load_checkpoint,
    model_path,
    newest_intact,
    steps_in,
)
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.missing_steps import MissingSteps, find_missing
from switchpoint.components.train.optimizer import apply_settings
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.weights import export, full_state, weights_digest

MAX_SAVING_SHARE = 0.05
"""The largest share of the time for which periodic checkpoints may stop the loop."""


class Resumed(NamedTuple):
    """The position of a job after its weights and optimizer state were loaded."""

    step: int
    state: dict[str, Any]
    """The content of the checkpoint's state file; empty at the job's start."""


class JobCheckpoints:
    """The checkpoints and exported models of one job. All processes call its methods at the same steps."""

    def __init__(
        self, job: TrainJob, ranks: Ranks, folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer,
        before_state: Callable[[], None],
    ) -> None:  # fmt: skip
        """`folder`: where this process exports models. `before_state`: see `CheckpointWriter`."""
        self._job, self._ranks, self._folder, self._place = job, ranks, folder, job.folder
        self._model, self._optimizer = model, optimizer
        self._requested = {*job.keep_steps, *job.export_steps}
        missing = self._ask_first(
            lambda: find_missing(job.keep_steps, job.export_steps, self._is_kept, self._is_exported)
        )
        self.missing = MissingSteps(tuple(missing), job.end_step)
        self._kept: set[int] = set()
        self.writer = CheckpointWriter(job.folder, self._requested, job.training.keep_checkpoints, before_state)
        self._saved_at = time.monotonic()

    def resume(self) -> Resumed:
        """Load the newest intact checkpoint from which the missing steps can be trained.

        Without one, load what the job starts from. Raise DamagedCheckpoint if that is damaged: it belongs to another
        run, and is not ours to set aside.
        """
        step = newest_intact(self._place, self.missing.resume_candidates(self._complete()))
        if step is not None:
            return self._load(step)
        if start := self._job.start_checkpoint:
            if damage := find_damage_together(start):
                raise DamagedCheckpoint(f"what the run starts from is damaged: {damage}, in {start}")
            load_checkpoint(start, self._model, None if self._job.start == "fresh" else self._optimizer)
            # A checkpoint brings the settings of the run that it belongs to.
            apply_settings(self._optimizer, self._job.settings.optimizer)
        self._find_kept(self._job.start_step)
        return Resumed(self._job.start_step, {})

    def skip_ahead(self, step: int) -> Resumed | None:
        """Load the newest intact checkpoint between `step` and the next missing step, to skip what was trained before.

        Return None if there is nothing to skip.
        """
        if not self.missing.may_skip(step):
            return None
        candidates = self.missing.skip_candidates(step, self._complete())
        if not candidates:
            return None
        self.writer.wait()
        newest = newest_intact(self._place, candidates)
        if newest is not None:
            return self._load(newest)
        self._find_kept(step)  # those that were damaged have been set aside
        return None

    def must_save(self, step: int) -> bool:
        """Return whether the checkpoint of `step` is requested and not there yet."""
        return step in self._requested and step not in self._kept

    def is_due(self) -> bool:
        """Return whether it is time for a periodic checkpoint."""
        pause = max(self._job.training.checkpoint_every_seconds, self.writer.blocked_seconds / MAX_SAVING_SHARE)
        return time.monotonic() - self._saved_at >= pause and not self.writer.is_busy

    def save(self, step: int, facts: dict[str, Any]) -> None:
        """Start to write the checkpoint of `step`, with `facts` in its state file; export the model if requested.

        A checkpoint that is kept already is not written again: a step that was trained again has the same bits. Raise
        CheckpointFailed if an earlier requested checkpoint could not be written.
        """
        if step in self._kept:
            return
        # All weights are gathered for their digest: only for steps where it is compared, or the model exported.
        weights = full_state(self._model) if step in self._requested else {}
        digest = {"weights_sha256": weights_digest(weights)} if weights else {}
        self.writer.save(step, self._model, self._optimizer, facts | digest)
        if step in self._job.export_steps:
            self._export(step, weights)
        self._saved_at = time.monotonic()

    def export_if_missing(self, step: int) -> None:
        """Export the model of `step` if it is requested and not there: a trainer may stop between save and export."""
        if step in self._job.export_steps and not self._ask_first(lambda: self._is_exported(step)):
            self._export(step, full_state(self._model))

    def newest(self) -> int:
        """Return the step of the newest complete checkpoint, -1 if there is none."""
        return max(self._complete(), default=-1)

    def finish(self) -> None:
        """Wait for the last checkpoint. Raise CheckpointFailed if it could not be written."""
        self.writer.wait()
        self.writer.close()

    def _load(self, step: int) -> Resumed:
        state = load_checkpoint(checkpoint_place(self._place, step), self._model, self._optimizer)
        self.writer.last_good = step
        self._find_kept(step)
        return Resumed(step, state)

    def _find_kept(self, first: int) -> None:
        """Find the kept checkpoints from step `first` on. Asks the store now, so that no step has to wait for it."""
        self._kept = set(self._ask_first(lambda: [s for s in steps_in(self._place) if s >= first and self._is_kept(s)]))

    def _export(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        if self._ranks.rank == 0:
            base = Path(self._job.model_config_folder) if self._job.model_config_folder else None
            export(self._model, weights, model_path(self._folder, step), Path(self._job.tokenizer), base)

    def _complete(self) -> list[int]:
        steps: list[int] = self._ask_first(lambda: steps_in(self._place))
        return steps

    def _is_kept(self, step: int) -> bool:
        return is_kept(self._place, step)

    def _is_exported(self, step: int) -> bool:
        """Return whether the model is in the store, or still on its way there."""
        return model_path(self._folder, step).exists() or has_model(self._place, step)

    def _ask_first(self, ask: Callable[[], Any]) -> Any:
        """Return the first process's answer on all processes: another one may see the store a moment later."""
        return self._ranks.agree(ask() if self._ranks.rank == 0 else None)
