"""What a process of a run in an object store writes is taken there while it works. Of a run in a folder: nothing."""

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
"""Of the time, at most, that files are on their way: a long run's metrics are sent less often."""
LAST_SECONDS = 60.0
"""For the reason of a failure, on its way from a process that ends."""


class Upload:
    """While it is open, a thread takes away what is new. When it closes in good order, all of it is there."""

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
        """Takes away what is new. Raises OSError, or what else the store's library raises, where it cannot."""
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
        """Its configuration last: without it there is no model. Here it is not needed any more."""
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
            except Exception as error:  # whatever it is: training goes on, and the end waits
                if not is_away:
                    print(f"the store does not answer ({error}): metrics are kept, and sent later", file=sys.stderr)
                is_away = True
            pause = max(EVERY_SECONDS, (time.monotonic() - began) / MAX_SHARE)


def send_ending(job: TrainJob, rank: int, *others: str) -> None:
    """What a process that ends by itself says of it, and these of its other files; not longer than it may wait."""
    folder = work_folder(job, rank)

    def send() -> None:
        for file in folder.iterdir():
            if (is_of_ending(file.name) or file.name in others) and file.stat().st_size:
                remote.write_bytes(f"{job.folder}/{file.name}", file.read_bytes())

    if is_remote(job.folder):
        send_in_time(send)


def send_in_time(send: Callable[[], None]) -> None:
    """Tries for some seconds: who calls it ends for a reason that is worse."""

    def try_it() -> None:
        try:
            send()
        except Exception as error:
            print(f"the store does not answer: {error}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=try_it, name="last-upload", daemon=True)
    thread.start()
    thread.join(LAST_SECONDS)
