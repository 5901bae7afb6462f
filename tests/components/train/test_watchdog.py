"""A hang ends the process with its stacks written, in Python and in code that holds Python's lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from switchpoint.components.train.ending import RESUME_ME
from switchpoint.components.train.watchdog import Watchdog, stacks_path

HANGS = {
    "waiting": ("threading.Event().wait()", RESUME_ME, True),
    # PyEval_SaveThread is never called: no other thread of Python runs.
    "holding the lock": ("ctypes.PyDLL(None).sleep(60)", 1, False),
}


@pytest.mark.parametrize(("stuck", "code", "told"), HANGS.values(), ids=HANGS)
def test_a_hang_is_ended_with_its_stacks(tmp_path: Path, stuck: str, code: int, told: bool) -> None:
    script = f"""
import ctypes, threading
from pathlib import Path
from switchpoint.components.train import watchdog

watchdog.GRACE_SECONDS = 0.5

def a_step_that_never_ends():
    {stuck}

with watchdog.Watchdog(Path({str(tmp_path)!r}), 3, 0.5, lambda: print("told", flush=True)):
    a_step_that_never_ends()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert "a_step_that_never_ends" in stacks_path(tmp_path, 3).read_text()
    assert ("told" in ended.stdout) == told


def test_steps_in_time_leave_nothing(tmp_path: Path) -> None:
    with Watchdog(tmp_path, 0, 0.3, lambda: pytest.fail("a hang that was none")) as watchdog:
        import time

        for _ in range(10):
            time.sleep(0.1)
            watchdog.alive()
    assert not stacks_path(tmp_path, 0).exists()
