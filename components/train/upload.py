"""Uploads of what a process of a run in an object store writes, while it works. A run in a folder uploads nothing."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from switchpoint.components.store import remote
from switchpoint.components.store.remote import is_remote
from switchpoint.components.train.checkpoint import MODEL_LAST
from switchpoint.components.train.ending import is_of_ending
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.job_files import work_folder

EVERY_SECONDS = 5.0
MAX_SHARE = 0.05
"""The largest share of the time that files are on their way: a long run's metrics are sent less often."""
LAST_SECONDS = 60.0
"""How long a process that ends may take to send the reason of its failure."""


class Upload:
    """While it is open, a thread uploads what is new. When it closes without an error, all files are in the object
    store.
    """

    def __init__(self, job: TrainJob, rank: int) -> None:
        self._place, self._folder, self._rank = job.folder, work_folder(job, rank), rank
        self._is_needed = is_remote(job.folder)
        self._sent: dict[Path, tuple[int, int]] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="upload", daemon=True)
        self.alive: Callable[[], None] = lambda: None
        """Called with every part that is sent after the work is over: before, a hang must not be hidden by it."""

    def __enter__(self) -> "Upload":
        if self._is_needed:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if not self._is_needed:
            return
        if error is None:
            self._thread.join()
            self.now()
        else:
            send_in_time(self.now)

    def now(self) -> None:
        """Upload what is new. Raise OSError, or another error of the store's library, if it cannot."""
        if not self._is_needed:
            return
        with self._lock:
            for file in sorted(self._folder.iterdir()):
                if file.is_file() and not file.name.startswith(".") and (self._rank == 0 or is_of_ending(file.name)):
                    self._send(file)
            for model in sorted((self._folder / "models").glob("step-*")):
                self._send_model(model)

    def _sent_part(self) -> None:
        if self._over.is_set():
            self.alive()

    def _send(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            stat = file.stat()
            if stat.st_size and self._sent.get(file) != (stat.st_size, stat.st_mtime_ns):
                # Read at once: a file that grows is sent as it was.
                remote.write_bytes(f"{self._place}/{file.name}", file.read_bytes())
                self._sent[file] = stat.st_size, stat.st_mtime_ns
                self._sent_part()

    def _send_model(self, model: Path) -> None:
        """Send a model, its configuration last: without it there is no model. The local copy is not needed any more."""
        files = sorted((path for path in model.rglob("*") if path.is_file()), key=lambda path: path.name == MODEL_LAST)
        pairs = [(path, f"{self._place}/models/{model.name}/{path.relative_to(model).as_posix()}") for path in files]
        remote.upload_all(pairs[:-1], self._sent_part)
        remote.upload(*pairs[-1], self._sent_part)
        shutil.rmtree(model)

    def _work(self) -> None:
        pause, is_away = EVERY_SECONDS, False
        while not self._over.wait(pause):
            began = time.monotonic()
            try:
                self.now()
                is_away = False
            except Exception as error:  # whatever the error: training continues, and the end waits
                if not is_away:
                    print(f"the store does not answer ({error}): metrics are kept, and sent later", file=sys.stderr)
                is_away = True
            pause = max(EVERY_SECONDS, (time.monotonic() - began) / MAX_SHARE)


def send_ending(job: TrainJob, rank: int, *others: str) -> None:
    """Send what a process that ends by itself says about it, and its `others` files; take no longer than it may
    wait.
    """
    folder = work_folder(job, rank)

    def send() -> None:
        for file in folder.iterdir():
            if (is_of_ending(file.name) or file.name in others) and file.stat().st_size:
                remote.write_bytes(f"{job.folder}/{file.name}", file.read_bytes())

    if is_remote(job.folder):
        send_in_time(send)


def send_in_time(send: Callable[[], None]) -> None:
    """Try for some seconds to send: the caller ends for a more important reason."""

    def try_it() -> None:
        try:
            send()
        except Exception as error:
            print(f"the store does not answer: {error}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=try_it, name="last-upload", daemon=True)
    thread.start()
    thread.join(LAST_SECONDS)
