"""Slots: how many processes of jobs run at a time on this machine, over all studies on it."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from components.store.lock import locked

WAIT_SECONDS = 30 * 24 * 3600.0
"""Another job is waited for to its end."""


def num_slots() -> int:
    """One for each GPU, or for each core that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip():
        return len(visible.split(","))
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return gpus or len(os.sched_getaffinity(0))


def slots_folder() -> Path:
    """The same for all processes of a user; locks in it are freed by the kernel when their owner dies."""
    return Path(tempfile.gettempdir()) / f"switchpoint-slots-{os.getuid()}"


@contextmanager
def slots(number: int) -> Iterator[None]:
    """Holds `number` slots (all, where there are fewer), waiting for them. Who waits first is served first."""
    total, folder = num_slots(), slots_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as held:
        # Only who holds the gate takes slots: two large jobs never wait for each other's.
        with locked(folder / "gate", WAIT_SECONDS):
            for _ in range(min(number, total)):
                held.enter_context(_one(folder, total))
        yield


@contextmanager
def _one(folder: Path, total: int) -> Iterator[None]:
    """Any free slot."""
    descriptor = _take(folder, total)
    try:
        yield
    finally:
        os.close(descriptor)


def _take(folder: Path, total: int) -> int:
    while True:
        for number in range(total):
            descriptor = os.open(folder / f"slot-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                os.close(descriptor)
        time.sleep(0.1)
