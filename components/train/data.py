"""Batches: the samples of a step, read from the token files. Shapes: B samples, L sequence length."""

import numpy as np
import torch

from components.blend.samples import NO_TOKEN
from components.train.job import TrainJob
from components.train.order import Place, order_of

READ_AHEAD_STEPS = 4
"""Samples in an object store are asked for so many steps before they are trained on."""


class Batches:
    """Batch = f(job, step): nothing to save, nothing to skip on resume."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        """Raises ValueError where a batch cannot be divided over the ranks."""
        sizes = {stretch.batch_size for stretch in job.stretches}
        wrong = [size for size in sorted(sizes) if size % world_size]
        if wrong:
            raise ValueError(f"batch_size {wrong[0]} cannot be divided over {world_size} processes")
        self._clock, self._rank, self._world_size = job.clock, rank, world_size
        self._order = order_of(job)
        self._end_step, self._vocab_size = job.end_step, job.vocab_size

    def batch(self, step: int) -> torch.Tensor:
        """This rank's samples of `step`: token ids, shape (B / world size, L + 1); NO_TOKEN where there is none.

        Raises ValueError for an id beyond the vocabulary, with the source and the sample.
        """
        tokens = np.empty((self._per_rank(step), self._clock.sequence_length(step) + 1), dtype=np.int64)
        placed = self._places(step)
        for row, (_, samples, position) in zip(tokens, placed, strict=True):
            samples.read(position, row)
        if tokens.max() >= self._vocab_size:
            row, column = np.argwhere(tokens >= self._vocab_size)[0].tolist()
            name, _, position = placed[row]
            raise ValueError(
                f"token id {tokens[row, column]} in sample {position} of {name}, and the vocabulary has "
                f"{self._vocab_size}"
            )
        for ahead in range(step + 1, step + 1 + READ_AHEAD_STEPS if self._order.is_remote else 0):
            if ahead < self._end_step:
                for _, samples, position in self._places(ahead):
                    samples.prefetch(position)
        return torch.from_numpy(tokens)

    def _per_rank(self, step: int) -> int:
        return self._clock.batch_size(step) // self._world_size

    def _places(self, step: int) -> list[Place]:
        """Of each of this rank's samples of `step`."""
        per_rank = self._per_rank(step)
        first = self._clock.samples_at(step) + self._rank * per_rank
        return self._order.places(np.arange(first, first + per_rank, dtype=np.int64))


def document_positions(tokens_BL: torch.Tensor, end_of_document: int) -> torch.Tensor:
    """Each token's place in its own document, which ends with `end_of_document`; shape (B, L).

    From positions that begin anew, transformers makes a mask that keeps attention within a document, the same for
    SDPA and for flex attention.
    """
    places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    begins_BL = torch.zeros_like(tokens_BL)
    begins_BL[:, 1:] = (tokens_BL[:, :-1] == end_of_document) * places_L[1:]
    return places_L - begins_BL.cummax(dim=1).values


__all__ = ["NO_TOKEN", "Batches", "document_positions"]
