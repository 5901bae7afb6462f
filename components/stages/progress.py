"""How far a run is, in one line: in the log of the task that launched it, and on the terminal."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

EVERY_SECONDS = 10.0


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 50 s, 3 min 20 s, 2 h 5 min, 6 d 3 h."""
    for unit, name, below, below_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} {int(seconds % unit // below)} {below_name}"
    return f"{seconds:.0f} s"


def progress_line(row: dict[str, Any], end_step: int) -> str:
    """Return `step a/b | tokens | loss | lr | tok/s | mfu | eta`, from a row of metrics."""
    loss = "none" if row["loss"] is None else f"{row['loss']:.3f}"
    skipped = f" | {row['skipped_steps']} skipped" if row["skipped_steps"] else ""
    mfu = f" | mfu {row['mfu']:.1%}" if row["mfu"] else ""
    return (
        f"step {row['step']}/{end_step} | {row['tokens']:,} tokens | loss {loss} | "
        f"lr {row['learning_rate']:.2e} | {row['tokens_per_second']:,.0f} tok/s{mfu} | "
        f"{row['memory_bytes'] / 2**30:.1f} GiB{skipped} | eta {duration(row['eta_seconds'])}"
    )


class ProgressLog:
    """While it is open, a thread prints the newest row of a run's metrics, when there is a new one."""

    def __init__(self, name: str, end_step: int, newest_row: Callable[[], dict[str, Any] | None]) -> None:
        self._name, self._end_step, self._newest_row = name, end_step, newest_row
        self._shown = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> "ProgressLog":
        self._show(False)  # what was there before is not progress
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=EVERY_SECONDS)
        self._show(True)

    def _work(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self._show(True)

    def _show(self, printed: bool) -> None:
        try:
            row = self._newest_row()
        except OSError as error:
            row = None
            print(f"{self._name}: the metrics cannot be read: {error}", flush=True)
        if row is not None and row["step"] > self._shown:
            self._shown = row["step"]
            if printed:
                print(f"{time.strftime('%H:%M:%S')} {self._name} {progress_line(row, self._end_step)}", flush=True)
