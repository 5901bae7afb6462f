"""Which tokens are sample i of a run: a function of the blends up to there, the seed and i (laws 2 and 3).

No index file, O(sources) memory, no start-up cost; any rank computes any sample, and resuming is a number.
Within a source, every epoch goes through all its samples in a keyed order of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from components.recipe.counting import BLOCK_SAMPLES, Indices, blend_of, phase_counts, phase_key
from components.recipe.permutation import permute


@dataclass(frozen=True, kw_only=True)
class SamplerPhase:
    """A phase as the sampler sees it."""

    weights: Mapping[str, Fraction]
    first_sample: int
    samples_per_epoch: Mapping[str, int]
    """Of every source in `weights`, at the phase's sequence length."""
    order: int = 0
    """Where it is higher than in the phase before, the sources begin a new permutation."""


class Sampler:
    """The order of all samples of a run. Sources continue across phases where they stood."""

    def __init__(self, phases: Sequence[SamplerPhase], seed: int) -> None:
        """`phases` in order, the first at sample 0."""
        self.names = tuple(sorted({name for phase in phases for name in phase.weights}))
        self._phases = tuple(phases)
        self._seed = seed
        self._keys = [phase_key(seed, phase.first_sample) for phase in phases]
        self._starts = np.array([phase.first_sample for phase in phases], dtype=np.int64)
        stood = dict.fromkeys(self.names, 0)
        self._before: list[npt.NDArray[np.int64]] = []
        for number, phase in enumerate(phases):
            if number and phase.order != phases[number - 1].order:
                stood = dict.fromkeys(self.names, 0)
            names = blend_of(phase.weights).names
            self._before.append(np.array([stood[name] for name in names], dtype=np.int64))
            if number + 1 < len(phases):
                length = phases[number + 1].first_sample - phase.first_sample
                for name, count in phase_counts(phase.weights, length, self._keys[number]).items():
                    stood[name] += count
        self._block = lru_cache(maxsize=8)(self._compute_block)

    def addresses(self, samples: Indices) -> tuple[Indices, Indices]:
        """(source, sample within the source's stream) of each of `samples`: indices into `names`, shape (N,)."""
        sources = np.empty(len(samples), dtype=np.int64)
        ordinals = np.empty(len(samples), dtype=np.int64)
        number = np.searchsorted(self._starts, samples, side="right") - 1
        blocks, offsets = np.divmod(samples - self._starts[number], BLOCK_SAMPLES)
        for phase, block in sorted(set(zip(number.tolist(), blocks.tolist(), strict=True))):
            here = (number == phase) & (blocks == block)
            block_sources, block_ordinals = self._block(phase, block)
            sources[here], ordinals[here] = block_sources[offsets[here]], block_ordinals[offsets[here]]
        for phase in np.unique(number).tolist():
            here = number == phase
            ordinals[here] = self._within_source(self._phases[phase], sources[here], ordinals[here])
        return sources, ordinals

    def _compute_block(self, phase: int, block: int) -> tuple[Indices, Indices]:
        blend = blend_of(self._phases[phase].weights)
        sources, ordinals = blend.block(block, self._keys[phase])
        to_run = np.array([self.names.index(name) for name in blend.names], dtype=np.int64)
        return to_run[sources], ordinals + self._before[phase][sources]

    def _within_source(self, phase: SamplerPhase, sources: Indices, ordinals: Indices) -> Indices:
        positions = np.empty_like(ordinals)
        order = f"/order {phase.order}" if phase.order else ""
        for source in np.unique(sources).tolist():
            size = phase.samples_per_epoch[self.names[source]]
            of_source = sources == source
            epochs, rest = np.divmod(ordinals[of_source], size)
            found = np.empty_like(rest)
            for epoch in np.unique(epochs).tolist():
                in_epoch = epochs == epoch
                key = f"seed {self._seed}/source {self.names[source]}{order}/epoch {epoch}"
                found[in_epoch] = permute(rest[in_epoch], size, key)
            positions[of_source] = found
        return positions
