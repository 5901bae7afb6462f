"""A watchdog that ends a process that hangs: no step within a stated time. The stacks of all threads are written."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from switchpoint.components.train.ending import RESUME_ME

GRACE_SECONDS = 5.0
"""How long a process waits after it wrote its stacks, so that all have written theirs before the first one ends and
takes the others with it."""


def stacks_path(folder: Path, rank: int) -> Path:
    return folder / f"stacks-{rank}.txt"


class Watchdog:
    """While it is open: `alive` must be called more often than every `seconds`.

    A thread of Python writes the stacks, calls `on_hang` and ends the process. Where a step holds Python's lock, no
    thread runs, and the interpreter's own timer does the same without `on_hang`.
    """

    def __init__(self, folder: Path, rank: int, seconds: float, on_hang: Callable[[], None]) -> None:
        self._path, self._seconds, self._on_hang = stacks_path(folder, rank), seconds, on_hang
        self._seen = self._armed = time.monotonic()
        self._over = threading.Event()

    def __enter__(self) -> "Watchdog":
        self._path.unlink(missing_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        self._arm()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()
        self._thread.join()
        self._file.close()
        if not self._path.stat().st_size:
            self._path.unlink()

    def alive(self) -> None:
        self._seen = time.monotonic()
        if self._seen - self._armed > self._seconds / 10:
            self._arm()

    def _arm(self) -> None:
        self._armed = time.monotonic()
        late = self._seconds * 1.2 + 2 * GRACE_SECONDS
        faulthandler.dump_traceback_later(late, exit=True, file=self._file)

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._seconds / 10)):
            if time.monotonic() - self._seen > self._seconds:
                faulthandler.dump_traceback(self._file, all_threads=True)
                self._file.flush()
                self._on_hang()
                time.sleep(GRACE_SECONDS)
                os._exit(RESUME_ME)
