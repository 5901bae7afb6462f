"""The training step: forward and backward pass, gradient clipping, optimizer update. Shapes: S sources."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from switchpoint.components.train.data import Batch, document_positions
from switchpoint.components.train.gradients import clip, total_norm
from switchpoint.components.train.guard import Guard
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.loss import summed_losses
from switchpoint.components.train.optimizer import set_learning_rate
from switchpoint.components.train.parallel import Ranks


@dataclass(frozen=True)
class StepResult:
    """The outcome of a training step, the same on every process."""

    loss: float
    """The mean over the labels of the whole batch."""
    losses: dict[str, float]
    """The mean over the labels of each source; sources without labels in the batch are absent."""
    grad_norm: float
    """The norm of all gradients before clipping."""
    learning_rate: float
    problem: str
    """Why the weights were not updated; empty if they were."""
    flags: list[bool]
    """The flags that at least one process raised."""


class TrainingStep:
    """A model, its optimizer and the guard. Each step calls `forward_backward`, then `update`."""

    def __init__(
        self, job: TrainJob, ranks: Ranks, model: PreTrainedModel, optimizer: torch.optim.Optimizer, guard: Guard,
        source_names: list[str],
    ) -> None:  # fmt: skip
        self._job, self._ranks, self._source_names = job, ranks, source_names
        self._model, self._optimizer, self._guard = model, optimizer, guard

    def forward_backward(self, batch: Batch, step: int) -> torch.Tensor:
        """Compute the gradients of the mean loss of the whole batch, one micro-batch at a time.

        Return this process's summed loss and number of labels by source: fp64, on the CPU, shape (2, S).
        """
        job, ranks = self._job, self._ranks
        # Dropout is a function of seed, step and rank: a resumed run draws the same without a saved state.
        torch.manual_seed((job.seed * 1_000_003 + step) * 65_537 + ranks.data_rank)
        num_labels = batch.num_labels.sum()
        total = ranks.sum(num_labels) if batch.has_gaps else num_labels * ranks.data_size
        # FSDP divides gradients by the number of processes; the mean is over the labels of all of them.
        scale = ranks.data_size / max(1.0, total.item())
        loss_sums = torch.zeros(len(self._source_names), dtype=torch.float64)
        size = job.training.micro_batch_size or len(batch.tokens)
        for first in range(0, len(batch.tokens), size):
            tokens = batch.tokens[first : first + size].to(ranks.device, non_blocking=True)
            inputs = tokens[:, :-1].clamp(min=0)
            begins = None if batch.begins is None else batch.begins[first : first + size].to(ranks.device)
            positions = None
            if job.settings.document_mask:
                positions = document_positions(inputs, job.end_of_document, None if begins is None else begins[:, :-1])
            loss, by_source = summed_losses(self._model, tokens, batch.sources[first : first + size], positions, begins)
            (loss * scale).backward()
            loss_sums[: len(by_source)] += by_source.double().cpu()
        return torch.stack([loss_sums, batch.num_labels])

    def update(self, step: int, sums: torch.Tensor, flags: Sequence[bool] = ()) -> StepResult:
        """Clip the gradients and update the weights, unless the guard finds a problem. Clears the gradients.

        `sums`: what `forward_backward` returned. `flags` share the message in which the processes add up their
        losses: every process learns which of them any process raised.
        """
        learning_rate = self._job.schedule.learning_rate(self._job.clock.tokens_at(step))
        set_learning_rate(self._optimizer, learning_rate)
        grad_norm = total_norm(self._model)  # the same on all processes: the sum of their shares is itself
        own = torch.tensor([*flags, grad_norm / self._ranks.data_size], dtype=torch.float64)
        agreed = self._ranks.sum(torch.cat([own, sums.flatten()]))
        *raised, grad_norm = agreed[: len(own)].tolist()
        loss_sums, num_labels = agreed[len(own) :].chunk(2)
        loss = float(loss_sums.sum() / num_labels.sum().clamp(min=1))
        problem = self._guard.judge(loss, grad_norm)
        if not problem:
            clip(self._model, grad_norm, self._job.settings.optimizer.max_grad_norm)
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        by_source = zip(self._source_names, loss_sums.tolist(), num_labels.tolist(), strict=True)
        losses = {name: loss_sum / count for name, loss_sum, count in by_source if count}
        return StepResult(loss, losses, grad_norm, learning_rate, problem, [count > 0 for count in raised])
