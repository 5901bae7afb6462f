"""Processes that never outlive the one that started them, however it dies."""

import ctypes
import os
import signal
import sys
import threading
import time

DRIVER_VARIABLE = "SWITCHPOINT_DRIVER_PID"
PR_SET_PDEATHSIG = 1
WATCHER = "switchpoint-driver"


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel (Linux) to send `sent` to this process as soon as its parent ends.

    KFP's local runner puts a shell between itself and a task, which outlives it: so the process that started it all,
    named in the environment, is polled too, once a second.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent)
    driver = os.environ.get(DRIVER_VARIABLE)
    if driver and WATCHER not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=_end_after, args=(int(driver), sent), name=WATCHER, daemon=True).start()


def _end_after(driver: int, sent: signal.Signals) -> None:
    while is_alive(driver):
        time.sleep(1)
    os.kill(os.getpid(), sent)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
