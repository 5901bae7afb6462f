"""Batches: the samples of a step, read from the token files. Shapes: B samples, L sequence length."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from switchpoint.components.data.document_index import is_users
from switchpoint.components.data.samples import NO_TOKEN, Sample
from switchpoint.components.data.streams import file_prefixes
from switchpoint.components.recipe.training import check_batch
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.order import Place, order_of

READ_AHEAD_STEPS = 4
"""Samples in an object store are requested this many steps before they are trained on."""


@dataclass(frozen=True)
class Batch:
    """This process's samples of a step."""

    tokens: torch.Tensor
    """Token ids, shape (B, L + 1); NO_TOKEN where there is none."""
    sources: list[int]
    """The number of each sample's source."""
    num_labels: torch.Tensor
    """How many labels each source has here, fp64. The loss is a mean over the labels of all processes."""
    has_gaps: bool
    """Whether samples may have fewer labels than L, so that processes may have different numbers of them."""
    begins: torch.Tensor | None = None
    """Where a document begins that no end-of-document token comes before, shape (B, L + 1); None: nowhere."""


class Batches:
    """The batches of a job, each a function of its step: nothing to save, nothing to replay on resume."""

    def __init__(self, job: TrainJob, rank: int, world_size: int) -> None:
        """Raise ValueError if a batch cannot be divided over the processes."""
        for stretch in job.stretches:
            check_batch(stretch.batch_size, world_size * job.training.tensor_parallel, job.training)
        self._clock, self._rank, self._world_size = job.clock, rank, world_size
        self._order = order_of(job)
        self._end_step, self._vocab_size = job.end_step, job.vocab_size
        self._end_of_document = job.end_of_document
        self._by_index = job.settings.document_mask and any(
            is_users(file_prefixes(Path(source.stream))[0].decode()) for source in job.sources.values()
        )
        self._has_gaps = self._by_index or any(phase.settings.packing == "best_fit" for phase in job.phases)
        self.names = sorted({name for phase in job.phases for name in phase.weights})
        """The names of all sources, by number."""
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def batch(self, step: int) -> Batch:
        """Return this process's samples of `step`.

        Raise ValueError for a token id beyond the vocabulary, with the source and the sample.
        """
        size = self._clock.batch_size(step) // self._world_size
        placed = self._places(step, self._rank * size, size)
        tokens = np.empty((size, self._clock.sequence_length(step) + 1), dtype=np.int64)
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
                size_ahead = self._clock.batch_size(ahead) // self._world_size
                for _, samples, position in self._places(ahead, self._rank * size_ahead, size_ahead):
                    samples.prefetch(position)
        sources = [self._numbers[name] for name, _, _ in placed]
        begins = self._begins(tokens, placed) if self._by_index else None
        is_label = tokens[:, 1:] != NO_TOKEN
        if begins is not None:
            is_label &= ~begins[:, 1:]
        labels = is_label.sum(1) if self._has_gaps else np.full(size, tokens.shape[1] - 1)
        num_labels = np.bincount(sources, weights=labels, minlength=len(self.names))
        return Batch(
            torch.from_numpy(tokens), sources, torch.from_numpy(num_labels), self._has_gaps,
            None if begins is None else torch.from_numpy(begins),
        )  # fmt: skip

    def _begins(self, tokens: Sample, placed: list[Place]) -> npt.NDArray[np.bool_]:
        """Return where documents begin, by the indexes of users' files, after another token than that of an end."""
        found = np.zeros(tokens.shape, dtype=np.bool_)
        for row, (_, samples, position) in zip(found, placed, strict=True):
            row[samples.document_starts(position)] = True
        found[:, 1:] &= tokens[:, :-1] != self._end_of_document
        found[:, 0] = False
        return found

    def samples_of(self, step: int) -> dict[str, list[int]]:
        """Return the samples of `step` on all processes, by source."""
        found: dict[str, list[int]] = {}
        for name, _, position in self._places(step, 0, self._clock.batch_size(step)):
            found.setdefault(name, []).append(position)
        return found

    def _places(self, step: int, first: int, number: int) -> list[Place]:
        """Return the positions of `number` samples of `step`, beginning with its sample `first`."""
        begin = self._clock.samples_at(step) + first
        return self._order.places(np.arange(begin, begin + number, dtype=np.int64))


def document_positions(
    tokens_BL: torch.Tensor, end_of_document: int, begins_BL: torch.Tensor | None = None
) -> torch.Tensor:
    """Return each token's position in its own document, which ends with `end_of_document`, or before one that
    `begins_BL` says; shape (B, L).

    Where positions restart at 0, transformers builds a mask that keeps attention within a document, the same for SDPA
    and for flex attention.
    """
    places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    is_first_BL = tokens_BL[:, :-1] == end_of_document
    if begins_BL is not None:
        is_first_BL = is_first_BL | begins_BL[:, 1:]
    starts_BL = torch.zeros_like(tokens_BL)
    starts_BL[:, 1:] = is_first_BL * places_L[1:]
    return places_L - starts_BL.cummax(dim=1).values
