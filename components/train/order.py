"""Which samples a run trains on, and which files they are read from: the keyed order, or Megatron's."""

from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from switchpoint.components.data.megatron_order import MegatronBlend, MegatronSamples
from switchpoint.components.data.sampler import Sampler
from switchpoint.components.data.samples import Samples, open_samples
from switchpoint.components.recipe.permutation import Indices
from switchpoint.components.recipe.phase import Packing
from switchpoint.components.store.opening import store_at
from switchpoint.components.train.job import TrainJob

Place = tuple[str, Samples, int]
"""A source, its samples, and which of them."""


class Order(Protocol):
    is_remote: bool
    """Whether samples lie in an object store."""

    def places(self, samples: Indices) -> list[Place]:
        """Return the source and position of each of the run's `samples`, which are all of one phase."""


class KeyedOrder:
    """The sampler's order: a function of blends, seed and sample."""

    def __init__(self, job: TrainJob) -> None:
        opened: dict[tuple[str, int, Packing], Samples] = {}
        self._samples: list[dict[str, Samples]] = []
        for phase in job.phases:
            geometry = phase.settings.sequence_length, phase.settings.packing
            for name in phase.weights:
                if (name, *geometry) not in opened:
                    path = Path(job.sources[name].stream)
                    opened[name, *geometry] = open_samples(path, store_at(job.store), *geometry)
            self._samples.append({name: opened[name, *geometry] for name in phase.weights})
        self._sampler = Sampler(
            job.phases,
            [{name: one.num_samples for name, one in samples.items()} for samples in self._samples],
            job.seed,
        )
        self._phase_starts = [phase.first_sample for phase in job.phases]
        self.is_remote = any(one.is_remote for one in opened.values())

    def places(self, samples: Indices) -> list[Place]:
        sources, positions = self._sampler.addresses(samples)
        opened = self._samples[bisect_right(self._phase_starts, int(samples[0])) - 1]
        names = [self._sampler.names[source] for source in sources.tolist()]
        return [(name, opened[name], position) for name, position in zip(names, positions.tolist(), strict=True)]


class MegatronOrder:
    """The order that megatron-core would draw: each phase is a data set of its own."""

    is_remote = False

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._phase_starts = [phase.first_sample for phase in job.phases]
        self._phase = lru_cache(maxsize=1)(self._open)

    def places(self, samples: Indices) -> list[Place]:
        number = bisect_right(self._phase_starts, int(samples[0])) - 1
        blend, opened = self._phase(number)
        sources, positions = blend.addresses(samples - self._phase_starts[number])
        names = [blend.names[source] for source in sources.tolist()]
        return [(name, opened[name], position) for name, position in zip(names, positions.tolist(), strict=True)]

    def _open(self, number: int) -> tuple[MegatronBlend, dict[str, Samples]]:
        job, phase, store = self._job, self._job.phases[number], store_at(self._job.store)
        blend = MegatronBlend(phase.weights, phase.num_samples)
        opened: dict[str, Samples] = {
            name: MegatronSamples(
                Path(job.sources[name].stream), store, phase.settings.sequence_length, blend.requested[name], job.seed
            )
            for name in blend.names
        }
        return blend, opened


def order_of(job: TrainJob) -> Order:
    return MegatronOrder(job) if job.settings.data_order == "megatron" else KeyedOrder(job)
