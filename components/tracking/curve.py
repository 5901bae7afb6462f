"""From rows of a metrics file to MLflow's points. Steps are tokens, times those of the file (pure)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from switchpoint.components.tracking.names import taken_name

EVERY_STEP = {"learning_rate": "train.learning_rate", "grad_norm": "train.grad_norm"}
"""MLflow's names by a row's fields; these, and the loss, are sent for every step."""
SOME_STEPS = {
    "tokens_per_second": "train.tokens_per_second", "mfu": "train.mfu", "memory_bytes": "train.memory_bytes",
    "eta_seconds": "train.eta_seconds", "skipped_steps": "train.skipped_steps",
}  # fmt: skip
CATEGORY = ".category."
"""What stands before a category in the name of a score."""
LAST_OF_A_ROW = "train.loss"
"""The metric that comes last, so that a step that has it has the others too, wherever a delivery was interrupted."""
POINTS_PER_DOUBLING, MAX_STRIDE = 20, 16
"""MLflow takes 0.15 ms to store a point, and its charts draw 320 of a curve."""


@dataclass(frozen=True)
class Point:
    """A value of a metric; `step` is a number of tokens."""

    key: str
    value: float
    time_ms: int
    step: int


def metric_name(name: str) -> str:
    """Return MLflow's name for a metric: with a dot before a source's tier, and without what MLflow does not take.

    A category may have any character, also an @, which then stands before no tier.
    """
    tiers, of_category, category = name.partition(CATEGORY)
    return taken_name(tiers.replace("@", ".") + of_category + category)


def is_drawn(step: int) -> bool:
    """Return whether the many curves (losses by source, speed) have this step: all up to 39, then fewer, down to every
    16th.

    A function of the step alone, so that every delivery, live or later, sends the same points.
    """
    stride = 1 << max(0, (step // POINTS_PER_DOUBLING).bit_length() - 1)
    return step % min(stride, MAX_STRIDE) == 0


def curve_points(row: dict[str, Any]) -> Iterator[Point]:
    """Yield what MLflow gets of one step."""
    values = {key: row.get(name) for name, key in EVERY_STEP.items()}
    if is_drawn(row["step"]):
        values |= {key: row.get(name) for name, key in SOME_STEPS.items()}
        values |= {f"train.loss.{metric_name(source)}": loss for source, loss in row.get("losses", {}).items()}
    values[LAST_OF_A_ROW] = row["loss"]
    at = int(row["time"] * 1000), row["tokens"]
    yield from (Point(key, value, *at) for key, value in values.items() if value is not None)


def series_points(rows: Iterable[dict[str, Any]]) -> Iterator[Point]:
    """Yield points of the evaluations that were made while a run trained: `eval.<name>`."""
    for row in rows:
        for name, value in row["scores"].items():
            if value is not None:
                yield Point(f"eval.{metric_name(name)}", float(value), int(row["time"] * 1000), row["tokens"])


def checkpoint_points(
    checkpoints: Mapping[int, dict[str, dict[str, float]]], steps: Iterable[dict[str, Any]]
) -> Iterator[Point]:
    """Yield points of the scores before the end, by step: a series over tokens of its own, `checkpoint.score.<name>`,
    so that `score.<name>` stays one value. `steps`: the metrics' rows, whose times and tokens they get.
    """
    for row in steps:
        for name, score in checkpoints.get(row["step"], {}).items():
            yield Point(f"checkpoint.score.{metric_name(name)}", score["value"], int(row["time"] * 1000), row["tokens"])


def score_points(scores: dict[str, dict[str, float]], time_ms: int) -> Iterator[Point]:
    """Yield points of the final scores: `score.<name>` and its standard error.

    At step 0: MLflow draws bars of a metric that has no other step, and otherwise a curve, here of one point.
    """
    for name, score in scores.items():
        yield Point(f"score.{metric_name(name)}", score["value"], time_ms, 0)
        yield Point(f"score.{metric_name(name)}.stderr", score["stderr"], time_ms, 0)
