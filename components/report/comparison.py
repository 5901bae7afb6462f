"""The arms compared by one score: which is best, how far apart they are, and whether that is more than noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.recipe.plan import Plan
from components.recipe.suites import SUITES
from components.report.results import BASE, Row, by_arm, examples, higher_is_better
from components.report.statistics import Difference, Part, differences
from components.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Comparison:
    metric: str
    higher_is_better: bool
    best: str
    """The arm with the best mean over its seeds."""
    value: float
    against: tuple[Difference, ...]
    """The best arm minus every other, the base included, the nearest first."""
    num_pairs: int
    """That p was corrected for."""

    @property
    def num_seeds(self) -> int:
        return max((one.num_seeds for one in self.against), default=1)

    @property
    def undecided(self) -> list[str]:
        """Arms that the best one cannot be told from."""
        return [one.first for one in self.against if not one.is_distinguishable and one.first != BASE]


def compare(plan: Plan, store: Store, found: Sequence[Row], metric: str) -> Comparison | None:
    """None where no arm has the score. Arms that failed with some of their seeds are compared by the others."""
    scored = {
        arm_id: [row for row in rows if metric in row.scores]
        for arm_id, rows in by_arm(row for row in found if not row.stopped).items()
        if any(metric in row.scores for row in rows)
    }
    arms = [arm_id for arm_id in scored if arm_id != BASE]
    if not arms:
        return None
    seeds = sorted({row.arm.seed for arm_id in arms for row in scored[arm_id] if row.arm})
    by_seed: dict[str, dict[int, float]] = {
        arm_id: {row.arm.seed: row.scores[metric]["value"] for row in rows if row.arm}
        for arm_id, rows in scored.items()
        if arm_id != BASE
    }
    if BASE in scored:  # it has no seed: the same beside every one
        by_seed[BASE] = dict.fromkeys(seeds, scored[BASE][0].scores[metric]["value"])
    means = {arm_id: sum(values.values()) / len(values) for arm_id, values in by_seed.items()}
    higher = higher_is_better(metric, found)
    best = (max if higher else min)(arms, key=lambda arm_id: means[arm_id])
    kept = {arm_id: [examples(store, row, plan) for row in scored[arm_id]] for arm_id in by_seed}
    pairs = differences(by_seed, _parts(metric, kept))
    against = [one if one.second == best else _turned(one) for one in pairs if best in (one.first, one.second)]
    against.sort(key=lambda one: abs(one.value))
    return Comparison(
        metric=metric,
        higher_is_better=higher,
        best=best,
        value=means[best],
        against=tuple(against),
        num_pairs=len(pairs),
    )


def _turned(one: Difference) -> Difference:
    return Difference(
        first=one.second, second=one.first, value=-one.value, num_seeds=one.num_seeds, adjusted_p=one.adjusted_p,
        over_seeds=one.over_seeds.turned() if one.over_seeds else None,
        over_examples=one.over_examples.turned() if one.over_examples else None,
    )  # fmt: skip


def weights_of(metric: str, known: Sequence[str]) -> dict[str, float]:
    """Of which scores with examples `metric` is the weighted sum; empty where that is not known."""
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


def _parts(metric: str, kept: Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]) -> list[Part]:
    """The examples of every arm, means over its seeds; none where an arm was asked other ones."""
    first = next(iter(kept.values()))[0]
    found = []
    for name, weight in weights_of(metric, list(first)).items():
        tops, bottoms = [], []
        for of_seeds in kept.values():
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
    """(top, bottom) of every example; shape (E, 2)."""
    return np.array([value if isinstance(value, list) else [value, 1.0] for value in values], dtype=np.float64)
