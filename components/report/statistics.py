"""Whether arms differ: paired by seed (t), paired by example (bootstrap), corrected for looking at many pairs (Holm).

Pure: numbers in, numbers out. Shapes: A arms, S seeds, E examples, R resamples.
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
CONFIDENCE = 0.95
RESAMPLES = 10_000
COUNTABLE = 10
"""Resamples on the other side of 0 from which on their share is an estimate."""
BOOTSTRAP_SEED = 20240707
CHUNK = 2**24
"""Counts of resampled examples that are held at a time."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Of a difference, with the p of there being none."""

    low: float
    high: float
    p: float

    def turned(self) -> "Interval":
        """Of the difference the other way round."""
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
    """Of every arm, a mean over its seeds; shape (A, E)."""
    bottoms: Array
    """Shape (E,)."""


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """(mean, half the width of its t interval); the width is None for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, float(_t_quantile(len(values)) * np.std(values, ddof=1) / math.sqrt(len(values)))


def paired_t(differences: Sequence[float]) -> Interval | None:
    """Of paired per-seed differences; None for fewer than two."""
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
    """The arms' scores on resampled examples, the same ones for all arms, within each part; shape (R, A)."""
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
    """From resampled differences. p counts those on the other side of 0; where there are too few to count, it is that
    of a normal distribution with their mean and spread, so that it is not bounded by the number of resamples."""
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (len(differences) + 1))
    spread = float(differences.std(ddof=1))
    if fewer < COUNTABLE and spread:
        p = min(p, float(2 * stats.norm.sf(abs(differences.mean()) / spread)))
    return Interval(low=float(low), high=float(high), p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down: the k-th smallest of m is multiplied by m - k + 1, and none falls below the one before."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        highest = max(highest, min(1.0, p_values[number] * (len(p_values) - rank)))
        adjusted[number] = highest
    return adjusted


def differences(by_seed: Mapping[str, Mapping[Any, float]], parts: Sequence[Part]) -> list[Difference]:
    """Every pair of arms. `by_seed`: scores by arm and seed; `parts`: their examples, arms in the same order."""
    names = list(by_seed)
    resampled = resampled_scores(parts) if parts else None
    pairs = list(combinations(range(len(names)), 2))
    found: list[tuple[float, int, Interval | None, Interval | None]] = []
    for a, b in pairs:
        first, second = by_seed[names[a]], by_seed[names[b]]
        shared = [seed for seed in first if seed in second]
        apart = [second[seed] - first[seed] for seed in shared]
        value = math.fsum(apart) / len(apart) if apart else _mean(second) - _mean(first)
        over_examples = None if resampled is None else percentile_interval(resampled[:, b] - resampled[:, a])
        found.append((value, len(apart), paired_t(apart), over_examples))
    seeds_p = holm([over.p if over else 0.0 for _, _, over, _ in found])
    examples_p = holm([over.p if over else 0.0 for _, _, _, over in found])
    return [
        Difference(
            first=names[a], second=names[b], value=value, num_seeds=number, over_seeds=over_seeds,
            over_examples=over_examples,
            adjusted_p=max(p_seeds, p_examples) if over_seeds or over_examples else 1.0,
        )
        for (a, b), (value, number, over_seeds, over_examples), p_seeds, p_examples in zip(
            pairs, found, seeds_p, examples_p, strict=True
        )
    ]  # fmt: skip


def _mean(values: Mapping[Any, float]) -> float:
    return math.fsum(values.values()) / len(values)
