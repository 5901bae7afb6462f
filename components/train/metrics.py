"""The metrics file: one JSON line per step, the truth that MLflow, the report and the terminal read from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

METRICS = "metrics.jsonl"


def read_metrics(folder: Path, last_step: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows up to `last_step`, in order. A line that a crash cut short ends the reading."""
    path = folder / METRICS
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            row = json.loads(line)
            if last_step is None or row["step"] <= last_step:
                yield row


def open_metrics(folder: Path, step: int) -> TextIO:
    """The file, holding the rows up to `step` only: what lies beyond is trained, and written, again."""
    rows = list(read_metrics(folder, step))
    path = folder / METRICS
    beside = path.with_name(f".{METRICS}")
    with beside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    beside.replace(path)
    return path.open("a", encoding="utf-8", buffering=1)
