"""Which tokens are sample i of a run: a function of the blends up to there, the seed and i (laws 2 and 3).

No index file, O(sources) memory, no start-up cost; any rank computes any sample, and resuming is a number. Within a
source, every epoch draws all its samples once, in a keyed order of its own.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from switchpoint.components.recipe.counting import BLOCK_SAMPLES, Indices, blend_of, phase_counts, phase_key
from switchpoint.components.recipe.permutation import num_bits, permute_each, round_keys

EPOCH_BITS = 40


class SampledPhase(Protocol):
    """What the sampler needs to know of a phase."""

    @property
    def weights(self) -> Mapping[str, Fraction]: ...

    @property
    def first_sample(self) -> int: ...

    @property
    def order(self) -> int:
        """Where it is higher than in the phase before, the sources begin a new permutation."""
        ...


class Sampler:
    """The order of all samples of a run. Sources continue across phases from their positions."""

    def __init__(
        self, phases: Sequence[SampledPhase], samples_per_epoch: Sequence[Mapping[str, int]], seed: int
    ) -> None:
        """Take the `phases` in order, the first at sample 0. `samples_per_epoch`: by phase, of every source in its
        `weights`, at its sequence length.
        """
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
        self._to_run = [
            np.array([self.names.index(name) for name in blend_of(phase.weights).names], dtype=np.int64)
            for phase in phases
        ]
        self._orders = np.array([phase.order for phase in phases], dtype=np.int64)
        self._sizes = np.array(
            [[sizes.get(name, 1) for name in self.names] for sizes in samples_per_epoch], dtype=np.int64
        )  # fmt: skip
        self._num_bits = np.array([[num_bits(size) for size in row] for row in self._sizes.tolist()], dtype=np.uint64)
        self._block = lru_cache(maxsize=8)(self._compute_block)
        self._keys_of = lru_cache(maxsize=4096)(self._round_keys)

    def addresses(self, samples: Indices) -> tuple[Indices, Indices]:
        """Return (source, sample within the source's stream) of each of `samples`: indices into `names`, shape (N,)."""
        sources = np.empty(len(samples), dtype=np.int64)
        ordinals = np.empty(len(samples), dtype=np.int64)
        number = np.searchsorted(self._starts, samples, side="right") - 1
        blocks, offsets = np.divmod(samples - self._starts[number], BLOCK_SAMPLES)
        for phase, block in sorted(set(zip(number.tolist(), blocks.tolist(), strict=True))):
            here = (number == phase) & (blocks == block)
            block_sources, block_ordinals = self._block(phase, block)
            sources[here], ordinals[here] = block_sources[offsets[here]], block_ordinals[offsets[here]]
        sizes = self._sizes[number, sources]
        epochs, rest = np.divmod(ordinals, sizes)
        # One permutation for each source and epoch: their round keys are gathered, then all samples permuted at once.
        of_source = self._orders[number] * len(self.names) + sources
        which, inverse = np.unique((of_source << EPOCH_BITS) | epochs, return_inverse=True)
        keys = np.stack([self._keys_of(one) for one in which.tolist()], axis=1)
        positions = permute_each(rest, sizes.astype(np.uint64), self._num_bits[number, sources], keys[:, inverse])
        return sources, positions

    def _compute_block(self, phase: int, block: int) -> tuple[Indices, Indices]:
        sources, ordinals = blend_of(self._phases[phase].weights).block(block, self._keys[phase])
        return self._to_run[phase][sources], ordinals + self._before[phase][sources]

    def _round_keys(self, code: int) -> npt.NDArray[np.uint64]:
        of_source, epoch = code >> EPOCH_BITS, code & ((1 << EPOCH_BITS) - 1)
        order, source = divmod(of_source, len(self.names))
        of_order = f"/order {order}" if order else ""
        return round_keys(f"seed {self._seed}/source {self.names[source]}{of_order}/epoch {epoch}")
