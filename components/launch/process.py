"""Processes that never outlive the one that started them, however it dies."""

import ctypes
import os
import signal
import sys

DRIVER_VARIABLE = "SWITCHPOINT_DRIVER_PID"
PR_SET_PDEATHSIG = 1


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> None:
    """Asks the kernel (Linux) to send `sent` to this process as soon as its parent ends.

    The parent may have ended already: then the process that started it all, if named in the environment, is gone
    too, and this one ends here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent)
    driver = os.environ.get(DRIVER_VARIABLE)
    if driver and not is_alive(int(driver)):
        os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
