"""Batches: the samples of a step, read from the token files. Shapes: B samples, L sequence length."""

from pathlib import Path

import numpy as np
import torch

from components.blend.sampler import Sampler, SamplerPhase
from components.blend.streams import TokenStream
from components.recipe.caps import samples_per_epoch
from components.train.job import TrainJob


class Batches:
    """Batch = f(job, step): nothing to save, nothing to skip on resume."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        """Raises ValueError where a batch cannot be divided over the ranks."""
        sizes = {stretch.batch_size for stretch in job.stretches}
        wrong = [size for size in sorted(sizes) if size % world_size]
        if wrong:
            raise ValueError(f"batch_size {wrong[0]} cannot be divided over {world_size} processes")
        self._clock, self._rank, self._world_size = job.clock, rank, world_size
        phases = [
            SamplerPhase(
                weights=phase.weights, first_sample=phase.first_sample, order=phase.order,
                samples_per_epoch={
                    name: samples_per_epoch(job.sources[name].tokens, phase.sequence_length) for name in phase.weights
                },
            )
            for phase in job.phases
        ]  # fmt: skip
        self._sampler = Sampler(phases, job.seed)
        root = Path(job.store)
        self._streams = [TokenStream(Path(job.sources[name].stream), root) for name in self._sampler.names]

    def batch(self, step: int) -> torch.Tensor:
        """This rank's samples of `step`: token ids, shape (B / world size, L + 1)."""
        per_rank = self._clock.batch_size(step) // self._world_size
        first = self._clock.samples_at(step) + self._rank * per_rank
        sources, positions = self._sampler.addresses(np.arange(first, first + per_rank, dtype=np.int64))
        length = self._clock.sequence_length(step)
        tokens = np.empty((per_rank, length + 1), dtype=np.int64)
        for row, source, position in zip(tokens, sources.tolist(), positions.tolist(), strict=True):
            self._streams[source].read(position * length, row)
        return torch.from_numpy(tokens)
