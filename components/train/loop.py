"""The training loop: one job on one process."""

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from components.store.store import write_json
from components.train.checkpoint import (
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
from components.train.data import Batch, Batches, document_positions
from components.train.ending import write_status
from components.train.guard import BadBatch, Guard
from components.train.job import TrainJob
from components.train.job_files import brought_here, work_folder
from components.train.loss import summed_losses
from components.train.metrics import MetricsFile, append_to_series, read_series
from components.train.model import build_model
from components.train.optimizer import apply_settings, build_optimizer, set_learning_rate
from components.train.parallel import Ranks
from components.train.probes import Probes
from components.train.throughput import Throughput
from components.train.upload import Upload
from components.train.weights import export, full_state, weights_digest

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"
MAX_SAVING_SHARE = 0.05
"""Of the time, at most, that periodic checkpoints may keep the loop."""


class Trainer:
    """Everything that a step needs, and where the job stands."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        self.job = job = brought_here(job, rank)
        self.ranks = ranks = Ranks(rank, world_size, job.training)
        self.place, self.folder = job.folder, work_folder(job, rank)
        self.upload = Upload(job, rank)
        self.batches = Batches(job, ranks.data_rank, ranks.data_size)
        self.model = build_model(job, ranks)
        self.optimizer = build_optimizer(self.model, job.settings.optimizer)
        self.guard = Guard(job.training)
        self.probes: Probes | None = None
        evaluated = ranks.agree(list(read_series(self.folder, Path(job.probes).parent.name)))
        self.evaluation_steps = set(job.evaluation_steps) - set(evaluated)
        self.skipped_steps = 0
        self.keep = set(job.keep_steps) | set(job.export_steps)
        # The first process looks: another one may see the store as it was, or a moment later.
        self.missing = ranks.agree(sorted(s for s in self.keep if not self._is_there(s)) if rank == 0 else [])
        self.end_step = self.missing[-1] if self.missing else job.end_step
        self.step = self._load(self.missing[0] if self.missing else job.end_step)
        self.kept = self._kept()
        self.writer = CheckpointWriter(self.place, self.keep, job.training.keep_checkpoints, self.upload.now)
        self.writer.last_good = self.resumed_from
        self._stop_wanted = False
        self._saved_at = time.monotonic()

    def _is_there(self, step: int) -> bool:
        exported = step not in self.job.export_steps or self._is_exported(step)
        return exported and (step not in self.job.keep_steps or is_kept(self.place, step))

    def _is_exported(self, step: int) -> bool:
        return model_path(self.folder, step).exists() or has_model(self.place, step)

    def _kept(self) -> set[int]:
        """Steps from here on whose checkpoints need not be written again. Asked once: no step waits for the store."""
        found = [step for step in steps_in(self.place) if step >= self.step] if self.ranks.rank == 0 else []
        return set(self.ranks.agree([step for step in found if is_kept(self.place, step)]))

    def _load(self, wanted_step: int) -> int:
        """Goes on from the newest checkpoint of the job's own before what is missing, or starts as the job says.

        A GB run that was trained to its end may lack a checkpoint in the middle: a new arm switches there.
        """
        there = self.ranks.agree(steps_in(self.place) if self.ranks.rank == 0 else [])
        self.resumed_from = own = newest_intact(self.place, [step for step in there if step <= wanted_step])
        if own is not None:
            state = load_checkpoint(checkpoint_place(self.place, own), self.model, self.optimizer)
            self.guard.load(state.get("guard", {}))
            self.skipped_steps = state.get("skipped_steps", 0)
            return own
        if self.job.start_checkpoint:
            start = self.job.start_checkpoint
            if damage := find_damage_together(start):
                raise DamagedCheckpoint(f"what the run starts from is damaged: {damage}, in {start}")
            load_checkpoint(start, self.model, None if self.job.start == "fresh" else self.optimizer)
            # A checkpoint brings the settings that its run had.
            apply_settings(self.optimizer, self.job.settings.optimizer)
        return self.job.start_step

    def run(self, alive: Callable[[], None] = lambda: None) -> str:
        """Trains to the job's end (`finished`), or to the next whole step after SIGTERM (`stopped`).

        `alive` is called after every step, and at the end with every part of a file that is sent. Raises BadBatch
        where a step must not be taken, CheckpointFailed where a checkpoint that must be there cannot be written.
        """
        self.upload.alive = alive
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop_wanted", True))
        with self.upload:
            return self._run(alive)

    def _run(self, alive: Callable[[], None]) -> str:
        job = self.job
        covered = max([*steps_in(self.place), self.step])
        self.metrics = MetricsFile(self.folder, covered) if self.ranks.rank == 0 else None
        self.throughput = Throughput(self.ranks.device, self.ranks.world_size, job.flops_per_token)
        self._status(RUNNING)
        self._make_up()
        self._evaluate(alive)
        batch = self.batches.batch(self.step) if self.step < self.end_step else None
        while batch is not None:
            row, batch, stop, save = self._train_step(batch)
            alive()
            if self.metrics and self.step > covered:
                self.metrics.write(row)
            self._evaluate(alive)
            if self.step in self.keep or stop or save:
                self._save()
            if stop:
                break
            while self._skip_ahead():
                self._make_up()
                batch = self.batches.batch(self.step) if self.step < self.end_step else None
        self.writer.wait()
        self.writer.close()
        if self.metrics:
            self.metrics.close()
        end = FINISHED if self.step >= self.end_step else STOPPED
        self._status(end, "SIGTERM" if end == STOPPED else "")
        return end

    def _skip_ahead(self) -> bool:
        """Where the next step that is missing lies behind a checkpoint that is there: goes on from that one."""
        if self.step not in self.missing:
            return False
        ahead = [step for step in self.missing if step > self.step]
        kept = [step for step in steps_in(self.place) if ahead and self.step < step <= ahead[0]]
        newest = self.ranks.agree(kept[-1:])
        if not newest:
            return False
        self.writer.wait()
        self.step = self._load(ahead[0])
        self.kept = self._kept()
        return True

    def _evaluate(self, alive: Callable[[], None]) -> None:
        """Where the recipe wants it at this step, unless the series has it: a step trained again has the same."""
        job = self.job
        if self.step not in self.evaluation_steps:
            return
        began = time.monotonic()
        if self.probes is None:
            self.probes = Probes(Path(job.probes), self.ranks, job.vocab_size)
        scores = self.probes.evaluate(self.model)
        if self.ranks.rank == 0:
            tokens = job.clock.tokens_at(self.step)
            row = {"step": self.step, "tokens": tokens, "probes": Path(job.probes).parent.name, "scores": scores}
            append_to_series(self.folder, row | {"time": round(time.time(), 3)})
        self.throughput.pause(time.monotonic() - began)
        alive()

    def _train_step(self, batch: Batch) -> tuple[dict[str, Any], Batch | None, bool, bool]:
        """One step: its row of metrics, the next batch, and whether all stop, or save, after it."""
        job, ranks = self.job, self.ranks
        learning_rate = job.schedule.learning_rate(job.clock.tokens_at(self.step))
        set_learning_rate(self.optimizer, learning_rate)
        # What is random in a model (dropout) follows from the step: there is no state to keep.
        torch.manual_seed((job.seed * 1_000_003 + self.step) * 65_537 + ranks.data_rank)
        num_labels = batch.num_labels.sum()
        total = ranks.sum(num_labels) if batch.has_gaps else num_labels * ranks.data_size
        # FSDP divides gradients by the number of processes; the mean is over the labels of all of them.
        sums = self._backward(batch, ranks.data_size / max(1.0, total.item()))
        following = self.batches.batch(self.step + 1) if self.step + 1 < self.end_step else None
        grad_norm = total_norm(self.model)
        due = ranks.rank == 0 and self._is_save_due()
        flags = torch.tensor([float(self._stop_wanted), float(due), grad_norm / ranks.data_size], dtype=torch.float64)
        agreed = ranks.sum(torch.cat([flags, sums, batch.num_labels]))
        stop, save, grad_norm = agreed[:3].tolist()
        sums, counts = agreed[3:].chunk(2)
        loss = float(sums.sum() / counts.sum().clamp(min=1))
        problem = self.guard.judge(loss, grad_norm)
        if problem:
            self._bad_batch(problem, loss, grad_norm)
        else:
            clip(self.model, grad_norm, job.settings.optimizer.max_grad_norm)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tokens_before = job.clock.tokens_at(self.step)
        self.step += 1
        self.throughput.step(job.clock.tokens_at(self.step) - tokens_before)
        by_source = {
            name: value / count
            for name, value, count in zip(self.batches.names, sums.tolist(), counts.tolist(), strict=True)
            if count
        }
        return self._row(loss, by_source, grad_norm, learning_rate, bool(problem)), following, stop > 0, save > 0

    def _backward(self, batch: Batch, scale: float) -> torch.Tensor:
        """Gradients of `scale` x the summed loss, micro-batch by micro-batch. Returns the sums by source, fp64."""
        job = self.job
        size = job.training.micro_batch_size or len(batch.tokens)
        sums = torch.zeros(len(self.batches.names), dtype=torch.float64)
        for first in range(0, len(batch.tokens), size):
            tokens = batch.tokens[first : first + size].to(self.ranks.device, non_blocking=True)
            sources = batch.sources[first : first + size]
            inputs = tokens[:, :-1].clamp(min=0)
            positions = document_positions(inputs, job.end_of_document) if job.settings.document_mask else None
            loss, by_source = summed_losses(self.model, tokens, sources, positions)
            (loss * scale).backward()
            sums[: len(by_source)] += by_source.double().cpu()
        return sums

    def _row(
        self, loss: float, by_source: dict[str, float], grad_norm: float, learning_rate: float, skipped: bool
    ) -> dict[str, Any]:
        """What a step leaves in the metrics file. Numbers that are not finite become null: JSON has no others."""
        tokens, rate = self.job.clock.tokens_at(self.step), self.throughput.tokens_per_second
        left = self.job.clock.tokens_at(self.end_step) - tokens
        mfu = self.throughput.mfu()
        return {
            "step": self.step, "tokens": tokens, "loss": _finite(loss), "learning_rate": learning_rate,
            "grad_norm": _finite(grad_norm), "losses": {name: _finite(one) for name, one in by_source.items()},
            "tokens_per_second": round(rate, 1), "mfu": mfu and round(mfu, 4),
            "memory_bytes": self.throughput.memory_bytes(), "eta_seconds": round(left / max(rate, 1e-9), 1),
            "skipped_steps": self.skipped_steps, **({"skipped": True} if skipped else {}),
            "time": round(time.time(), 3),
        }  # fmt: skip

    def _bad_batch(self, problem: str, loss: float, grad_norm: float) -> None:
        """Names the batch; raises BadBatch unless the recipe lets it be skipped."""
        samples = self.batches.samples_of(self.step)
        shown = "; ".join(
            f"{name} {', '.join(map(str, numbers[:8]))}" + (f" and {len(numbers) - 8} more" if numbers[8:] else "")
            for name, numbers in samples.items()
        )
        message = f"step {self.step + 1}: {problem}; samples: {shown}"
        if self.ranks.rank == 0:
            file = self.folder / f"bad-batch-{self.step + 1:08d}.json"
            write_json(file, {"step": self.step + 1, "problem": problem, "samples": samples})
            message += f" (all in {file})"
        if self.job.training.bad_batch == "stop":
            raise BadBatch(message)
        self.skipped_steps += 1
        if self.ranks.rank == 0:
            print(f"{message}: skipped, {self.skipped_steps} so far", flush=True)

    def _is_save_due(self) -> bool:
        pause = max(self.job.training.checkpoint_every_seconds, self.writer.blocked_seconds / MAX_SAVING_SHARE)
        return time.monotonic() - self._saved_at >= pause and not self.writer.is_busy

    def _save(self) -> None:
        if self.step in self.kept:  # trained again for the sake of an earlier step: the same bits
            return
        facts: dict[str, Any] = {
            "guard": self.guard.state(), "skipped_steps": self.skipped_steps, "world_size": self.ranks.world_size,
        }  # fmt: skip
        # The weights' digest costs a gather: it is taken where somebody compares or exports them.
        state = full_state(self.model) if self.step in self.keep else {}
        if state:
            facts["weights_sha256"] = weights_digest(state)
        if self.metrics:
            self.metrics.flush_to_disk()
        self.writer.save(self.step, self.model, self.optimizer, facts)
        if self.step in self.job.export_steps and self.ranks.rank == 0:
            self._export(state)
        self._saved_at = time.monotonic()

    def _make_up(self) -> None:
        """For what is wanted of the step that is gone on from: a checkpoint that nobody wanted when it was written has
        not its weights' digest, and a stop between checkpoint and export leaves a step without its model.
        """
        # Asked before one of them exports, which the others may see or not.
        lacks_model = self.step in self.job.export_steps and not self.ranks.agree(self._is_exported(self.step))
        if self.step in self.keep and self.step not in self.kept:
            self._save()
        elif lacks_model:
            state = full_state(self.model)
            if self.ranks.rank == 0:
                self._export(state)

    def _export(self, state: dict[str, torch.Tensor]) -> None:
        export(self.model, state, model_path(self.folder, self.step), Path(self.job.tokenizer))

    def _status(self, state: str, reason: str = "") -> None:
        if self.ranks.rank == 0:
            write_status(self.folder, state, reason, self.step, resume=state == STOPPED)


def total_norm(model: nn.Module) -> float:
    """Of all gradients. Those of different meshes (sharded, and split by tensor parallel) are added up in squares."""
    norms = [torch.nn.utils.get_total_norm(grads) for grads in _grads_by_mesh(model)]
    whole = [float(norm.full_tensor() if isinstance(norm, DTensor) else norm) for norm in norms]
    return whole[0] if len(whole) == 1 else math.sqrt(math.fsum(norm**2 for norm in whole))


def clip(model: nn.Module, grad_norm: float, max_grad_norm: float) -> None:
    """Scale all gradients so that their norm is at most `max_grad_norm`."""
    factor = max_grad_norm / (grad_norm + 1e-6)
    if factor < 1:
        for grads in _grads_by_mesh(model):
            torch._foreach_mul_(grads, factor)


def _grads_by_mesh(model: nn.Module) -> list[list[torch.Tensor]]:
    """Operations on many tensors take those of one mesh only."""
    found: dict[Any, list[torch.Tensor]] = {}
    for parameter in model.parameters():
        if (grad := parameter.grad) is not None:
            found.setdefault(grad.device_mesh if isinstance(grad, DTensor) else None, []).append(grad)
    return list(found.values())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
