"""What pods write: the first one's lines as they come, in the task's own log; those of failed ones at the end."""

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from torchx.runner import Runner

if TYPE_CHECKING:
    from switchpoint.components.launch.cluster_api import ClusterAPI

AGAIN_SECONDS = 5.0
TAIL_LINES = 2000


class PodLog:
    """While it is open, a thread prints what the first pod writes, and keeps it in `file`.

    A log that cannot be read (the pod is not there yet, its node is gone) is requested again: no job fails for that.
    """

    def __init__(self, runner: Runner, handle: str, role: str, file: Path) -> None:
        self.file = file
        self._runner, self._handle, self._role = runner, handle, role
        self._over = threading.Event()
        self._last = ""
        """The time of the last line that was shown: a log that is opened again begins with its first line."""
        self._thread = threading.Thread(target=self._follow, name="pod-log", daemon=True)

    def __enter__(self) -> "PodLog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=AGAIN_SECONDS)

    def _follow(self) -> None:
        while True:
            ending = self._over.is_set()
            try:
                for line in self._runner.log_lines(self._handle, self._role, 0, should_tail=not ending):
                    self._take(line.rstrip("\n"))
            except Exception:  # whatever the error: the job continues
                pass
            if ending:
                return
            self._over.wait(AGAIN_SECONDS)

    def _take(self, line: str) -> None:
        """Lines begin with their time, which orders as text."""
        time, _, text = line.partition(" ")
        if time <= self._last:
            return
        self._last = time
        print(text, flush=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def write_logs(cluster: "ClusterAPI", pods: list[str], folder: Path) -> Path | None:
    """Write the last lines of each pod's log to a file; return the first file, or None if no pod has left any lines."""
    first = None
    for pod in pods:
        text = cluster.pod_log(pod, TAIL_LINES)
        if text:
            file = folder / f"{pod}.log"
            file.write_text(text, encoding="utf-8")
            first = first or file
    return first
