"""Batches: the samples of a step, read from the token files. Shapes: B samples, L sequence length."""

from pathlib import Path

import numpy as np
import torch

from components.blend.sampler import Sampler, SamplerPhase
from components.blend.token_file import read_token_file
from components.train.job import TrainJob


class Batches:
    """Batch = f(job, step): nothing to save, nothing to skip on resume."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        """Raises ValueError where the batch cannot be divided over the ranks."""
        if job.batch_size % world_size:
            raise ValueError(f"batch_size {job.batch_size} cannot be divided over {world_size} processes")
        self._length, self._batch_size = job.sequence_length, job.batch_size
        self._rank, self._per_rank = rank, job.batch_size // world_size
        phases = [
            SamplerPhase(weights=phase.weights, first_sample=phase.start_step * job.batch_size) for phase in job.phases
        ]
        sizes = {name: source.samples_per_epoch for name, source in job.sources.items()}
        self._sampler = Sampler(phases, sizes, job.seed)
        self._tokens = [read_token_file(Path(job.sources[name].prefix)).tokens for name in self._sampler.names]

    def batch(self, step: int) -> torch.Tensor:
        """This rank's samples of `step`: token ids, shape (B / world size, L + 1)."""
        first = step * self._batch_size + self._rank * self._per_rank
        sources, positions = self._sampler.addresses(np.arange(first, first + self._per_rank, dtype=np.int64))
        length = self._length
        rows = [
            self._tokens[source][position * length : position * length + length + 1]
            for source, position in zip(sources.tolist(), positions.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(rows).astype(np.int64))
