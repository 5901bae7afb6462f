"""Scores with standard errors, and the numbers of the single examples that they come from."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Score = dict[str, float]
"""value, stderr (its standard error), n (number of examples); lower_is_better (1) if lower values are better."""
NUM_RESAMPLES = 200
"""The resamples of a bootstrap, for a score that is neither a mean nor a ratio: the standard error is known to a
twentieth."""
RESAMPLING_SEED = 20240707


@dataclass
class Results:
    """The results of one model."""

    scores: dict[str, Score] = field(default_factory=dict)
    examples: dict[str, list[Any]] = field(default_factory=dict)
    """The values that a score is made of, by score, in the order of the documents: arms are compared example by
    example."""

    prompts_cut: dict[str, int] = field(default_factory=dict)
    """The number of prompts that were longer than the model's window, and lost their beginning, by score."""

    def add_mean(self, name: str, values: list[float]) -> Score:
        self.examples[name] = values
        self.scores[name] = mean_score(values)
        return self.scores[name]

    def add_ratio(self, name: str, pairs: list[list[float]]) -> Score:
        """Add the score of (numerator, denominator) pairs."""
        self.examples[name] = pairs
        self.scores[name] = ratio_score([top for top, _ in pairs], [bottom for _, bottom in pairs])
        return self.scores[name]

    def update(self, other: "Results") -> None:
        self.scores |= other.scores
        self.examples |= other.examples
        self.prompts_cut |= other.prompts_cut


def mean_score(values: Sequence[float]) -> Score:
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, n - 1)
    return {"value": mean, "stderr": math.sqrt(variance / n), "n": n}


def ratio_score(numerators: Sequence[float], denominators: Sequence[float]) -> Score:
    """Return sum over sum, with the standard error of a ratio over documents (delta method)."""
    n, total = len(numerators), math.fsum(denominators)
    ratio = math.fsum(numerators) / total
    residuals = [top - ratio * bottom for top, bottom in zip(numerators, denominators, strict=True)]
    spread = math.sqrt(n / max(1, n - 1) * math.fsum(residual**2 for residual in residuals))
    return {"value": ratio, "stderr": spread / total, "n": n}


def mean_of_scores(scores: Sequence[Score]) -> Score:
    """Return the plain mean of scores on different examples; `n` is of all of them."""
    n = len(scores)
    return {
        "value": math.fsum(score["value"] for score in scores) / n,
        "stderr": math.sqrt(math.fsum(score["stderr"] ** 2 for score in scores)) / n,
        "n": sum(score["n"] for score in scores),
    }


def means_of_pairs(parts: Sequence[Sequence[float]]) -> list[float]:
    """Return for each example the mean over parts that ask the same in different ways, such as translations.

    Raise ValueError if the parts differ in length.
    """
    if len({len(part) for part in parts}) != 1:
        raise ValueError(f"not the same examples: {' and '.join(str(len(part)) for part in parts)}")
    return [math.fsum(values) / len(values) for values in zip(*parts, strict=True)]


def resampled_score(values: Sequence[Any], aggregate: Callable[[Sequence[Any]], float]) -> Score:
    """Return the score of any function of the examples, with the standard error from a bootstrap."""
    rng = random.Random(RESAMPLING_SEED)
    resamples = [float(aggregate(rng.choices(values, k=len(values)))) for _ in range(NUM_RESAMPLES)]
    mean = math.fsum(resamples) / NUM_RESAMPLES
    variance = math.fsum((value - mean) ** 2 for value in resamples) / (NUM_RESAMPLES - 1)
    return {"value": float(aggregate(values)), "stderr": math.sqrt(variance), "n": len(values)}
