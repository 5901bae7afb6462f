"""The training loop. Shapes: B this rank's samples, L sequence length, V vocabulary."""

import math
import signal
import time
from pathlib import Path
from typing import TextIO

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from components.store.store import write_json
from components.train.checkpoint import (
    checkpoint_path,
    is_kept,
    load_checkpoint,
    model_path,
    save_checkpoint,
    steps_in,
)
from components.train.data import NO_TOKEN, Batches, document_positions
from components.train.job import TrainJob
from components.train.metrics import open_metrics
from components.train.model import build_model, export, full_state, weights_digest
from components.train.optimizer import MAX_GRAD_NORM, build_optimizer, set_learning_rate

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"


class Trainer:
    """One job on one rank: everything that a step needs, and where the job stands."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        self.job, self.rank, self.world_size = job, rank, world_size
        self.folder = Path(job.folder)
        self.batches = Batches(job, rank, world_size)
        self.model: PreTrainedModel = build_model(job, world_size)
        self.optimizer = build_optimizer(self.model)
        self.keep = set(job.keep_steps) | set(job.export_steps)
        missing = sorted(step for step in self.keep if not self._is_kept(step))
        self.end_step = missing[-1] if missing else job.end_step
        self.step = self._load(missing[0] if missing else job.end_step)
        self._stop = False
        self._saved_at = time.monotonic()

    def _is_kept(self, step: int) -> bool:
        exported = step not in self.job.export_steps or model_path(self.folder, step).exists()
        return exported and is_kept(self.folder, step)

    def _load(self, wanted_step: int) -> int:
        """Goes on from the newest checkpoint of the job's own before what is missing, or starts as the job says.

        A GB run that was trained to its end may lack a checkpoint in the middle: a new arm switches there.
        """
        own = [step for step in steps_in(self.folder) if step <= wanted_step]
        if own:
            return load_checkpoint(checkpoint_path(self.folder, own[-1]), self.model, self.optimizer)
        if self.job.start_checkpoint:
            with_optimizer = self.job.start != "fresh"
            load_checkpoint(Path(self.job.start_checkpoint), self.model, self.optimizer if with_optimizer else None)
        return self.job.start_step

    def run(self) -> str:
        """Trains to the job's end (`finished`), or to the next whole step after SIGTERM (`stopped`)."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop", True))
        covered = max([*steps_in(self.folder), self.step])
        metrics = open_metrics(self.folder, covered) if self.rank == 0 else None
        self._status(RUNNING)
        job = self.job
        began, first = time.monotonic(), self.step
        self._export_missing()
        while self.step < self.end_step:
            loss, grad_norm, learning_rate, stop, save = self._train_step()
            if not math.isfinite(loss) or not math.isfinite(grad_norm):
                raise FloatingPointError(f"step {self.step}: loss {loss}, gradient norm {grad_norm}")
            if metrics and self.step > covered:
                trained = job.clock.tokens_at(self.step) - job.clock.tokens_at(first)
                self._write_row(metrics, loss, grad_norm, learning_rate, trained / (time.monotonic() - began))
            if self.step in self.keep or stop or save:
                self._save()
            if stop and self.step < self.end_step:
                self._status(STOPPED)
                return STOPPED
        self._status(FINISHED)
        return FINISHED

    def _train_step(self) -> tuple[float, float, float, bool, bool]:
        job = self.job
        learning_rate = job.schedule.learning_rate(job.clock.tokens_at(self.step))
        set_learning_rate(self.optimizer, learning_rate)
        tokens_BL1 = self.batches.batch(self.step)
        inputs_BL = tokens_BL1[:, :-1].clamp(min=0)
        positions_BL = document_positions(inputs_BL, job.end_of_document) if job.document_mask else None
        logits_BLV = self.model(input_ids=inputs_BL, position_ids=positions_BL, use_cache=False).logits
        labels_N = tokens_BL1[:, 1:].flatten()
        num_labels = (labels_N != NO_TOKEN).sum()
        if self.world_size > 1:
            dist.all_reduce(num_labels)  # packed samples are not equally full: the mean is over all ranks' labels
        scale = self.world_size / num_labels.clamp(min=1)
        loss = F.cross_entropy(logits_BLV.flatten(0, 1), labels_N, ignore_index=NO_TOKEN, reduction="sum") * scale
        loss.backward()
        grad_norm = _clip(self.model)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        due = self.rank == 0 and time.monotonic() - self._saved_at >= job.checkpoint_every_seconds
        agreed = torch.tensor([loss.item() / self.world_size, float(self._stop), float(due)], dtype=torch.float64)
        if self.world_size > 1:
            dist.all_reduce(agreed)  # all ranks stop, and save, at one step
        mean_loss, stop, save = agreed.tolist()
        return mean_loss, grad_norm, learning_rate, stop > 0, save > 0

    def _write_row(self, metrics: TextIO, loss: float, grad_norm: float, learning_rate: float, rate: float) -> None:
        """`rate`: tokens per second since the job began."""
        row = (
            f'{{"step": {self.step}, "tokens": {self.job.clock.tokens_at(self.step)}, "loss": {loss!r}, '
            f'"learning_rate": {learning_rate!r}, "grad_norm": {grad_norm!r}, '
            f'"tokens_per_second": {rate:.1f}, "time": {time.time():.3f}}}\n'
        )
        metrics.write(row)

    def _save(self) -> None:
        if is_kept(self.folder, self.step):  # trained again for the sake of an earlier step: the same bits
            return
        # The weights' digest costs a gather: it is taken where somebody compares or exports them.
        state = full_state(self.model) if self.step in self.keep else {}
        facts: dict[str, object] = {"weights_sha256": weights_digest(state)} if state else {}
        save_checkpoint(self.folder, self.step, self.model, self.optimizer, self.keep, facts)
        if self.step in self.job.export_steps and self.rank == 0:
            self._export(state)
        self._saved_at = time.monotonic()

    def _export_missing(self) -> None:
        """A stop between checkpoint and export leaves a step without its model: it is made up for here."""
        if self.step in self.job.export_steps and not model_path(self.folder, self.step).exists():
            state = full_state(self.model)
            if self.rank == 0:
                self._export(state)

    def _export(self, state: dict[str, torch.Tensor]) -> None:
        export(self.model, state, model_path(self.folder, self.step), Path(self.job.tokenizer))

    def _status(self, state: str) -> None:
        if self.rank == 0:
            write_json(self.folder / "status.json", {"state": state, "step": self.step})


def _clip(model: nn.Module) -> float:
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    return float(norm)
