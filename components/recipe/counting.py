"""How many samples a blend draws from each source: one function, for the plan and for the sampler (law 3).

The weights form a Huffman tree. At every node the samples are split between the two children in proportion
to their weights, rounded to the nearest whole sample. A split's counts never fall as the total grows, so
neither do a source's; they sum to the total; and a source's count stays within two samples of
weight x total: each of the d splits above a source errs by at most 1/2, scaled by the shares below it, and in a
Huffman tree two successive shares multiply to at most 1/2 (the uncle weighs at least as much as either
nephew), so the error is below 1/2 x (1 + 1 + 1/2 + 1/2 + 1/4 + ...) = 2.
"""

import heapq
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import lcm

import numpy as np
import numpy.typing as npt

from switchpoint.components.recipe.permutation import Indices, permute

BLOCK_SAMPLES = 1024


class Blend:
    """Weights over sources, ready to be counted and drawn. Sources are in order of their names."""

    def __init__(self, weights: Mapping[str, Fraction]) -> None:
        """`weights`: positive, summing to 1 (ValueError otherwise)."""
        if not weights or sum(weights.values()) != 1 or min(weights.values()) <= 0:
            raise ValueError(f"weights must be positive and sum to 1: {dict(weights)}")
        self.names = tuple(sorted(weights))
        denominator = lcm(*(weight.denominator for weight in weights.values()))
        heap = [
            (int(weights[name] * denominator), leaf) for leaf, name in enumerate(self.names)
        ]  # (weight, node); ties go by node, so the order in which weights were written plays no part
        heapq.heapify(heap)
        self._splits: list[tuple[int, int, int, int, int]] = []
        node = len(self.names)
        while len(heap) > 1:
            light_weight, light = heapq.heappop(heap)
            heavy_weight, heavy = heapq.heappop(heap)
            self._splits.append((node, light, heavy, light_weight, light_weight + heavy_weight))
            heapq.heappush(heap, (light_weight + heavy_weight, node))
            node += 1
        self._num_nodes = node

    def counts(self, num_samples: int) -> npt.NDArray[np.int64]:
        """Return the samples of each source among the phase's first `num_samples`, a whole number of blocks."""
        at_node = [0] * self._num_nodes
        at_node[-1] = num_samples
        for node, light, heavy, light_weight, weight in reversed(self._splits):
            total = at_node[node]
            at_node[light] = (2 * total * light_weight + weight) // (2 * weight)
            at_node[heavy] = total - at_node[light]
        return np.array(at_node[: len(self.names)], dtype=np.int64)

    def block(self, index: int, key: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return block `index` of the phase named `key`: for each of its samples the source (an index into `names`) and
        how many samples of that source the phase drew before it. Shapes (BLOCK_SAMPLES,).
        """
        before = self.counts(index * BLOCK_SAMPLES)
        drawn = self.counts((index + 1) * BLOCK_SAMPLES) - before
        order = permute(np.arange(BLOCK_SAMPLES, dtype=np.int64), BLOCK_SAMPLES, f"{key}/block {index}")
        sources = np.repeat(np.arange(len(self.names), dtype=np.int64), drawn)[order]
        # Rank within the source in the order of drawing, so that a phase that ends inside a block leaves no
        # gap in its sources.
        by_source = np.argsort(sources, kind="stable")
        first = np.cumsum(drawn) - drawn
        ordinals = np.empty(BLOCK_SAMPLES, dtype=np.int64)
        ordinals[by_source] = np.arange(BLOCK_SAMPLES) - np.repeat(first, drawn)
        return sources, ordinals + before[sources]


@lru_cache(maxsize=256)
def _blend(weights: tuple[tuple[str, Fraction], ...]) -> Blend:
    return Blend(dict(weights))


def blend_of(weights: Mapping[str, Fraction]) -> Blend:
    """Return the blend of these weights, made once."""
    return _blend(tuple(sorted(weights.items())))


def phase_key(seed: int, first_sample: int) -> str:
    """Return the name of the order of a phase that begins at the run's sample `first_sample`."""
    return f"seed {seed}/phase at {first_sample}"


def phase_counts(weights: Mapping[str, Fraction], num_samples: int, key: str) -> dict[str, int]:
    """Return the samples of each source in a phase of `num_samples`: exact, and summing to it."""
    blend = blend_of(weights)
    num_blocks, rest = divmod(num_samples, BLOCK_SAMPLES)
    counts = blend.counts(num_blocks * BLOCK_SAMPLES)
    if rest:
        sources, _ = blend.block(num_blocks, key)
        counts = counts + np.bincount(sources[:rest], minlength=len(blend.names))
    return dict(zip(blend.names, counts.tolist(), strict=True))


__all__ = ["BLOCK_SAMPLES", "Blend", "Indices", "blend_of", "phase_counts", "phase_key"]
