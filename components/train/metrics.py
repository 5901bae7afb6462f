"""The metrics file: one JSON line per step, the truth that MLflow, the report and the terminal read from.

Beside it the series of evaluations while the run trained: one line per evaluated step.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import Store

METRICS = "metrics.jsonl"
SERIES = "evaluation.jsonl"
TAIL_BYTES = 1 << 20
"""More than any row has."""


def read_metrics(folder: Path, last_step: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows up to `last_step`, in order. A line that a crash cut short ends the reading."""
    yield from _rows(folder / METRICS, last_step)


def read_series(folder: Path, probes: str) -> dict[int, dict[str, Any]]:
    """Return the rows of the run's evaluations on `probes` (a digest), by step, ascending: step, tokens, scores,
    time.
    """
    rows = {row["step"]: row for row in _rows(folder / SERIES) if row["probes"] == probes}
    return dict(sorted(rows.items()))


def rows_of(store: Store, run: Identity, last_step: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield a run's rows as they are in the store now."""
    return read_metrics(store.fetch_current(run, METRICS), last_step)


def newest_row_of(store: Store, run: Identity) -> dict[str, Any] | None:
    """Return a run's last whole row, without reading the others: there may be millions."""
    path = store.fetch_current(run, METRICS) / METRICS
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().rpartition(b"\n")[0].splitlines()
    except FileNotFoundError:
        return None
    return dict(json.loads(lines[-1])) if lines else None


def series_of(store: Store, run: Identity, probes: str) -> dict[int, dict[str, Any]]:
    """Return a run's evaluations as they are in the store now."""
    return read_series(store.fetch_current(run, SERIES), probes)


def _rows(path: Path, last_step: int | None = None) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            row = json.loads(line)
            if last_step is None or row["step"] <= last_step:
                yield row


def last_step(folder: Path, start_step: int) -> int:
    """Return how far the run has come, whether a checkpoint holds it or not."""
    return max((row["step"] for row in read_metrics(folder)), default=start_step)


def append_to_series(folder: Path, row: dict[str, Any]) -> None:
    """Append a row. A line that a crash cut short is removed first: what came after it would be lost."""
    path = folder / SERIES
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        kept = list(_rows(path))
        beside = path.with_name(f".{SERIES}")
        beside.write_text("".join(json.dumps(one) + "\n" for one in kept), encoding="utf-8")
        beside.replace(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


class MetricsFile:
    """A file of metrics, to which rows after `step` are appended: steps beyond it are trained, and written, again."""

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / METRICS
        beside = path.with_name(f".{METRICS}")
        with beside.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in read_metrics(folder, step))
        beside.replace(path)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, row: dict[str, Any]) -> None:
        """Write a row. Raise ValueError for a number that is not finite: JSON has none."""
        self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def flush_to_disk(self) -> None:
        """Flush the file: before a checkpoint is complete, the rows up to its step are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
