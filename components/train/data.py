"""Batches: the samples of a step, read from the token files. Shapes: B samples, L sequence length."""

from bisect import bisect_right
from pathlib import Path

import numpy as np
import torch

from components.blend.sampler import Sampler, SamplerPhase
from components.blend.samples import NO_TOKEN, Samples, open_samples
from components.recipe.phase import Packing
from components.train.job import TrainJob

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
        root = Path(job.store)
        opened: dict[tuple[str, int, Packing], Samples] = {}
        self._samples: list[dict[str, Samples]] = []
        for phase in job.phases:
            geometry = phase.sequence_length, phase.packing
            for name in phase.weights:
                if (name, *geometry) not in opened:
                    opened[name, *geometry] = open_samples(Path(job.sources[name].stream), root, *geometry)
            self._samples.append({name: opened[name, *geometry] for name in phase.weights})
        self._sampler = Sampler(
            [
                SamplerPhase(
                    weights=phase.weights, first_sample=phase.first_sample, order=phase.order,
                    samples_per_epoch={name: one.num_samples for name, one in samples.items()},
                )
                for phase, samples in zip(job.phases, self._samples, strict=True)
            ],
            job.seed,
        )  # fmt: skip
        self._is_remote = any(one.is_remote for one in opened.values())
        self._end_step, self._vocab_size = job.end_step, job.vocab_size
        self._phase_starts = [phase.first_sample for phase in job.phases]

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
        for ahead in range(step + 1, step + 1 + READ_AHEAD_STEPS if self._is_remote else 0):
            if ahead < self._end_step:
                for _, samples, position in self._places(ahead):
                    samples.prefetch(position)
        return torch.from_numpy(tokens)

    def _per_rank(self, step: int) -> int:
        return self._clock.batch_size(step) // self._world_size

    def _places(self, step: int) -> list[tuple[str, Samples, int]]:
        """(source, its samples, which of them) of each of this rank's samples of `step`."""
        per_rank = self._per_rank(step)
        first = self._clock.samples_at(step) + self._rank * per_rank
        sources, positions = self._sampler.addresses(np.arange(first, first + per_rank, dtype=np.int64))
        samples = self._samples[bisect_right(self._phase_starts, first) - 1]
        names = [self._sampler.names[source] for source in sources.tolist()]
        return [(name, samples[name], position) for name, position in zip(names, positions.tolist(), strict=True)]


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
