"""From rows of a metrics file to MLflow's points. Steps are tokens, times those of the file (pure)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

EVERY_STEP = {"learning_rate": "train.learning_rate", "grad_norm": "train.grad_norm"}
"""From a row's fields to MLflow's names; these, and the loss, for every step."""
SOME_STEPS = {
    "tokens_per_second": "train.tokens_per_second", "mfu": "train.mfu", "memory_bytes": "train.memory_bytes",
    "eta_seconds": "train.eta_seconds", "skipped_steps": "train.skipped_steps",
}  # fmt: skip
LAST_OF_A_ROW = "train.loss"
"""Comes last, so that a step that has it has the others too, wherever a delivery was cut off."""
POINTS_PER_DOUBLING = 32
"""MLflow's charts show at most 320 points of a curve, and it takes 0.1 to 0.2 ms to store one."""


@dataclass(frozen=True)
class Point:
    """A value of a metric; `step` are tokens."""

    key: str
    value: float
    time_ms: int
    step: int


def metric_name(name: str) -> str:
    """A source's tier is written with an @, which MLflow's names cannot have."""
    return name.replace("@", ".")


def is_drawn(step: int) -> bool:
    """Whether the many curves (losses by source, speed) have this step: all up to 63, then ever fewer.

    A function of the step alone, so that every delivery, live or later, sends the same points: about 160 of 400
    steps, 320 of 20,000.
    """
    stride = 1 << max(0, (step // POINTS_PER_DOUBLING).bit_length() - 1)
    return step % stride == 0


def curve_points(row: dict[str, Any]) -> Iterator[Point]:
    """What MLflow gets of one step."""
    values = {key: row.get(name) for name, key in EVERY_STEP.items()}
    if is_drawn(row["step"]):
        values |= {key: row.get(name) for name, key in SOME_STEPS.items()}
        values |= {f"train.loss.{metric_name(source)}": loss for source, loss in row.get("losses", {}).items()}
    values[LAST_OF_A_ROW] = row["loss"]
    at = int(row["time"] * 1000), row["tokens"]
    yield from (Point(key, value, *at) for key, value in values.items() if value is not None)


def series_points(rows: Iterable[dict[str, Any]]) -> Iterator[Point]:
    """Of the evaluations that were made while a run trained: `eval.<name>`."""
    for row in rows:
        for name, value in row["scores"].items():
            if value is not None:
                yield Point(f"eval.{metric_name(name)}", float(value), int(row["time"] * 1000), row["tokens"])


def score_points(scores: dict[str, dict[str, float]], time_ms: int, tokens: int) -> Iterator[Point]:
    """Of the final scores: `score.<name>` and its standard error."""
    for name, score in scores.items():
        yield Point(f"score.{metric_name(name)}", score["value"], time_ms, tokens)
        yield Point(f"score.{metric_name(name)}.stderr", score["stderr"], time_ms, tokens)
