"""Slots: how many processes of jobs run at a time on this machine, over all studies on it."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from switchpoint.components.launch.slot_owners import SAY_SECONDS, own_mark, tell, told
from switchpoint.components.store.lock import Locked, locked

SLOTS_VARIABLE = "SWITCHPOINT_SLOTS"
"""The folder of the slots, for the tasks of a run, which have a folder of their own for temporary files."""
WAIT_SECONDS = 30 * 24 * 3600.0
"""How long a job waits for another one: to its end."""


def num_slots() -> int:
    """Return one slot for each GPU, or for each core that this process may use."""
    return len(_named_gpus()) or _num_gpus() or len(os.sched_getaffinity(0))


def has_gpus() -> bool:
    return bool(_named_gpus() or _num_gpus())


def _named_gpus() -> list[str]:
    """Return the GPUs that this process was given."""
    return [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]


def _num_gpus() -> int:
    """Return the number of the machine's GPUs; 0 if this process was given none."""
    return 0 if "CUDA_VISIBLE_DEVICES" in os.environ else len(list(Path("/dev").glob("nvidia[0-9]*")))


def slots_folder() -> Path:
    """Return the folder of slots, the same for all processes of a user; the kernel frees locks in it when their owner
    dies.
    """
    given = os.environ.get(SLOTS_VARIABLE)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"switchpoint-slots-{os.getuid()}"


@contextmanager
def slots(number: int) -> Iterator[list[int]]:
    """Wait for `number` slots (all, if there are fewer), and hold them; yield their numbers. First come, first
    served.
    """
    total, folder = num_slots(), slots_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as held:
        with told(folder) as file:
            waits = partial(tell, file, folder, total, "GPUs" if has_gpus() else "cores")
            # Only the holder of the gate takes slots: two large jobs never wait for each other's.
            with _gate(folder / "gate", waits):
                taken = [held.enter_context(_one(folder, total, waits)) for _ in range(min(number, total))]
        yield taken


@contextmanager
def _gate(file: Path, waits: Callable[[], None]) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(file, SAY_SECONDS))
        except Locked:
            waits()
            held.enter_context(locked(file, WAIT_SECONDS))
        yield


def visible_gpus(taken: list[int]) -> dict[str, str]:
    """Return the variable that gives a job the GPUs of its slots; nothing if slots are cores."""
    if not has_gpus():
        return {}
    named = _named_gpus()
    return {"CUDA_VISIBLE_DEVICES": ",".join(named[slot] if named else str(slot) for slot in taken)}


@contextmanager
def _one(folder: Path, total: int, waits: Callable[[], None]) -> Iterator[int]:
    """Hold any free slot; call `waits` after a while without one."""
    number, descriptor = _take(folder, total, waits)
    try:
        yield number
    finally:
        os.close(descriptor)


def _take(folder: Path, total: int, waits: Callable[[], None]) -> tuple[int, int]:
    say_at = time.monotonic() + SAY_SECONDS
    while True:
        for number in range(total):
            descriptor = os.open(folder / f"slot-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, own_mark(), 0)
                return number, descriptor
            except BlockingIOError:
                os.close(descriptor)
        if time.monotonic() >= say_at:
            waits()
            say_at = float("inf")
        time.sleep(0.1)
