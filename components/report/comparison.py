"""The arms compared by one score: which is best, how far apart they are, and whether that is more than noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from switchpoint.components.evaluate.results import (
    Row,
    best_arm,
    examples,
    higher_is_better,
    means_over_seeds,
    scores_by_seed,
    shared_seeds,
)
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.suites import SUITES
from switchpoint.components.report.statistics import Difference, Part, columns, differences
from switchpoint.components.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Comparison:
    metric: str
    higher_is_better: bool
    best: str
    """The arm with the best mean over the seeds that all arms have."""
    value: float
    num_shared_seeds: int
    """The number of seeds that all arms have; 0: means are over each arm's own."""
    against: tuple[Difference, ...]
    """The best arm minus every other, its own base included, the nearest first."""
    num_pairs: int
    """That p was corrected for."""
    base: str = BASE
    """The base that the best arm starts from. Other bases are not compared with."""

    @property
    def num_seeds(self) -> tuple[int, int]:
        """The fewest and the most seeds that a difference is paired by."""
        numbers = [one.num_seeds for one in self.against]
        return min(numbers, default=1), max(numbers, default=1)

    @property
    def undecided(self) -> list[str]:
        """Arms that the best one cannot be told from."""
        return [one.first for one in self.against if not one.is_distinguishable and one.first != self.base]


def compare(plan: Plan, store: Store, found: Sequence[Row], metric: str) -> Comparison | None:
    """Return the comparison; None if no arm has the score. Arms that failed with some of their seeds are compared by
    the others.
    """
    by_seed = scores_by_seed(found, metric)
    best = best_arm(found, metric)
    if best is None:
        return None
    value, num_shared_seeds = means_over_seeds(by_seed)[best], len(shared_seeds(by_seed))
    seeds = sorted({seed for values in by_seed.values() for seed in values})
    kept = {
        (row.arm_id, None if row.is_base else row.seed or 0): examples(store, row, plan)
        for row in found
        if metric in row.scores and not row.stopped
    }
    own_base = next(arm.base for arm in plan.arms if arm.arm_id == best)
    for base in (row for row in found if row.is_base and row.name == own_base and metric in row.scores):
        by_seed[own_base] = dict.fromkeys(seeds, base.scores[metric]["value"])  # the same beside every seed
    chosen = [
        [kept[arm_id, seed] for seed in (seeds_of if arm_id != own_base else [None])]
        for arm_id, seeds_of in columns(by_seed)
    ]
    several_seeds = len({arm.seed for arm in plan.arms}) > 1
    pairs = differences(by_seed, _parts(metric, chosen), several_seeds=several_seeds)
    against = [one if one.second == best else _turned(one) for one in pairs if best in (one.first, one.second)]
    against.sort(key=lambda one: abs(one.value))
    return Comparison(
        metric=metric,
        higher_is_better=higher_is_better(metric, found),
        best=best,
        value=value,
        num_shared_seeds=num_shared_seeds,
        against=tuple(against),
        num_pairs=len(pairs),
        base=own_base,
    )


def _turned(one: Difference) -> Difference:
    return Difference(
        first=one.second, second=one.first, value=-one.value, num_seeds=one.num_seeds, adjusted_p=one.adjusted_p,
        over_seeds=one.over_seeds.turned() if one.over_seeds else None,
        over_examples=one.over_examples.turned() if one.over_examples else None,
    )  # fmt: skip


def weights_of(metric: str, known: Sequence[str]) -> dict[str, float]:
    """Return the scores with examples of which `metric` is the weighted sum, with their weights; empty if that is not
    known.
    """
    if metric in known:
        return {metric: 1.0}
    if metric == "bits_per_byte":
        sources = [name for name in known if name.startswith("bits_per_byte.") and name.count(".") == 1]
        return {name: 1 / len(sources) for name in sources}
    suite, _, last = metric.partition(".")
    if last == "average" and suite in SUITES:
        parts = [f"{suite}.{benchmark.score}" for benchmark in SUITES[suite]]
        return {name: 1 / len(parts) for name in parts} if set(parts) <= set(known) else {}
    return {}


def _parts(metric: str, chosen: Sequence[Sequence[Mapping[str, Sequence[Any]]]]) -> list[Part]:
    """Return the examples of every column, means over its seeds; none if an arm was tested on other examples."""
    found = []
    for name, weight in weights_of(metric, list(chosen[0][0]) if chosen else []).items():
        tops, bottoms = [], []
        for of_seeds in chosen:
            pairs = [_pairs(one.get(name, [])) for one in of_seeds]
            if any(len(pair) != len(pairs[0]) for pair in pairs) or not len(pairs[0]):
                return []
            tops.append(np.mean([pair[:, 0] for pair in pairs], axis=0))
            bottoms.append(pairs[0][:, 1])
        if any(len(one) != len(bottoms[0]) or not np.array_equal(one, bottoms[0]) for one in bottoms):
            return []
        found.append(Part(weight=weight, tops=np.stack(tops), bottoms=bottoms[0]))
    return found


def _pairs(values: Sequence[Any]) -> Any:
    """Return (top, bottom) of every example; shape (E, 2)."""
    return np.array([value if isinstance(value, list) else [value, 1.0] for value in values], dtype=np.float64)
