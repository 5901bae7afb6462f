"""Who holds the slots of this machine, and what a job that waits for another study's says: in its log, and to the
command that it belongs to.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from switchpoint.components.launch.process import DRIVER_VARIABLE
from switchpoint.components.launch.task import RUN_LOG_VARIABLE

SAY_SECONDS = 2.0
"""How long a job waits before it says so: most waits for another study are long, those for its own are no news."""
MAX_OWNER_BYTES = 4096


def own_mark() -> bytes:
    """Return what a job writes into the slots that it holds: its command's process, and the log of the run."""
    return f"{os.environ.get(DRIVER_VARIABLE, os.getpid())} {os.environ.get(RUN_LOG_VARIABLE, '')}".encode()


def holders(folder: Path, total: int) -> list[tuple[str, str]]:
    """Return (process of the command, log of the run) of each slot that another command's job holds."""
    found = []
    for number in range(total):
        try:
            descriptor = os.open(folder / f"slot-{number}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            mark = os.pread(descriptor, MAX_OWNER_BYTES, 0).decode("utf-8", "replace")
            if mark != own_mark().decode():
                process, _, log = mark.partition(" ")
                found.append((process, log))
        finally:
            os.close(descriptor)
    return found


@contextmanager
def told(folder: Path) -> Iterator[Path]:
    """Yield the file in which this job says what it waits for; it is removed when the job has its slots."""
    file = folder / f"waits-{os.environ.get(DRIVER_VARIABLE, os.getpid())}-{os.getpid()}"
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def tell(file: Path, folder: Path, total: int, what: str) -> None:
    """Say once that slots are held by other studies, if they are. `what`: cores or GPUs."""
    others = holders(folder, total)
    if not others or file.exists():
        return
    names = ", ".join(
        f"process {process or 'unknown'}" + (f", log {log}" if log else "") for process, log in dict.fromkeys(others)
    )
    line = f"waits for {what}: another study holds {len(others)} of {total} ({names})"
    file.write_text(line, encoding="utf-8")
    print(line, flush=True)


def waits_of(folder: Path, driver: int) -> set[str]:
    """Return what the jobs of a command wait for."""
    found = set()
    for file in folder.glob(f"waits-{driver}-*"):
        try:
            found.add(file.read_text(encoding="utf-8"))
        except OSError:  # it waits no longer
            continue
    return found - {""}
