"""Whether arms differ: paired by seed (t), paired by example (bootstrap), corrected for testing many pairs (Holm).

Pure: numbers in, numbers out. Shapes: C columns, E examples, R resamples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Column = tuple[str, tuple[Any, ...]]
"""An arm, and the seeds that its scores are means over."""
CONFIDENCE = 0.95
RESAMPLES = 10_000
COUNTABLE = 10
"""The least number of resamples on the other side of 0 for which their share is an estimate."""
BOOTSTRAP_SEED = 20240707
CHUNK = 2**24
"""The number of counts of resampled examples that are held at a time."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The interval of a difference, with the p of there being none."""

    low: float
    high: float
    p: float

    def turned(self) -> "Interval":
        """Return the interval of the difference with the opposite sign."""
        return Interval(low=-self.high, high=-self.low, p=self.p)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`second` minus `first`, a mean over the seeds that both have."""

    first: str
    second: str
    value: float
    num_seeds: int
    over_seeds: Interval | None
    """None where fewer than two seeds are shared: the noise between seeds is not covered."""
    over_examples: Interval | None
    """None where the score has no examples."""
    adjusted_p: float
    """The larger of the two, each after Holm over all pairs."""

    @property
    def is_distinguishable(self) -> bool:
        return self.adjusted_p < 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Part:
    """Examples of one task or source: a score is the sum over its parts of weight x (sum of tops / sum of bottoms)."""

    weight: float
    tops: Array
    """The tops of each of `columns`, a mean over its seeds; shape (C, E)."""
    bottoms: Array
    """The bottoms of the examples; shape (E,)."""


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return (mean, half the width of its t interval); the width is None for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, float(_t_quantile(len(values)) * np.std(values, ddof=1) / math.sqrt(len(values)))


def paired_t(differences: Sequence[float]) -> Interval | None:
    """Return the t interval of paired per-seed differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    mean, half = mean_interval(differences)
    assert half is not None
    if half == 0:
        return Interval(low=mean, high=mean, p=0.0 if mean else 1.0)
    t = mean / (half / _t_quantile(len(differences)))
    return Interval(low=mean - half, high=mean + half, p=float(2 * stats.t.sf(abs(t), len(differences) - 1)))


def _t_quantile(number: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, number - 1))


def resampled_scores(parts: Sequence[Part]) -> Array:
    """Return the columns' scores on resampled examples, the same ones for all, within each part; shape (R, C)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    total = np.zeros((RESAMPLES, len(parts[0].tops)))
    for part in parts:
        examples = len(part.bottoms)
        step = max(1, CHUNK // examples)
        for first in range(0, RESAMPLES, step):
            size = min(step, RESAMPLES - first)
            counts = rng.multinomial(examples, np.full(examples, 1 / examples), size=size).astype(np.float64)
            ratios = (counts @ part.tops.T) / (counts @ part.bottoms)[:, None]
            total[first : first + size] += part.weight * ratios
    return total


def percentile_interval(differences: Array) -> Interval:
    """Return the interval of resampled differences. p counts those on the other side of 0; where there are too few to
    count, it is that of a normal distribution with their mean and spread, so that it is not bounded by the number of
    resamples.
    """
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (len(differences) + 1))
    spread = float(differences.std(ddof=1))
    if fewer < COUNTABLE and spread:
        p = min(p, float(2 * stats.norm.sf(abs(differences.mean()) / spread)))
    return Interval(low=float(low), high=float(high), p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's step-down: the k-th smallest of m is multiplied by m - k + 1, and none falls below the one
    before.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        highest = max(highest, min(1.0, p_values[number] * (len(p_values) - rank)))
        adjusted[number] = highest
    return adjusted


def differences(
    by_seed: Mapping[str, Mapping[Any, float]], parts: Sequence[Part], *, several_seeds: bool
) -> list[Difference]:
    """Return every pair of arms, compared on what both have. `by_seed`: scores by arm and seed; `parts`: the examples
    of its `columns`, in their order.

    `several_seeds`: whether the study has them. A pair that shares fewer than two then has a p of 1: that it may differ
    by its seeds alone is known, and not by how much. With one seed for all, p is that of the examples.
    """
    resampled = resampled_scores(parts) if parts else None
    places = {column: place for place, column in enumerate(columns(by_seed))}
    pairs = _pairs(by_seed)
    found: list[tuple[float, int, Interval | None, Interval | None]] = []
    for first, second in pairs:
        (a, _), (b, _) = first, second
        apart = [by_seed[b][seed] - by_seed[a][seed] for seed in by_seed[a] if seed in by_seed[b]]
        value = math.fsum(apart) / len(apart) if apart else _mean(by_seed[b]) - _mean(by_seed[a])
        over_examples = None
        if resampled is not None:
            over_examples = percentile_interval(resampled[:, places[second]] - resampled[:, places[first]])
        found.append((value, len(apart), paired_t(apart), over_examples))
    seeds_p = holm([over.p if over else float(several_seeds) for _, _, over, _ in found])
    examples_p = holm([over.p if over else 0.0 for _, _, _, over in found])
    return [
        Difference(
            first=a, second=b, value=value, num_seeds=number, over_seeds=over_seeds, over_examples=over_examples,
            adjusted_p=max(p_seeds, p_examples) if over_seeds or over_examples else 1.0,
        )
        for ((a, _), (b, _)), (value, number, over_seeds, over_examples), p_seeds, p_examples in zip(
            pairs, found, seeds_p, examples_p, strict=True
        )
    ]  # fmt: skip


def columns(by_seed: Mapping[str, Mapping[Any, float]]) -> list[Column]:
    """Return what pairs are compared by, each once: an arm has one column where every arm has every seed."""
    return list(dict.fromkeys(column for pair in _pairs(by_seed) for column in pair))


def _pairs(by_seed: Mapping[str, Mapping[Any, float]]) -> list[tuple[Column, Column]]:
    """Return every pair of arms, each with the seeds that both have, or with its own if they share none."""
    found = []
    for (a, first), (b, second) in combinations(by_seed.items(), 2):
        shared = tuple(seed for seed in first if seed in second)
        found.append(((a, shared or tuple(first)), (b, shared or tuple(second))))
    return found


def _mean(values: Mapping[Any, float]) -> float:
    return math.fsum(values.values()) / len(values)
