"""What a task does around its work: it ends with the command, however its job runs."""

import os
import signal
import subprocess
import sys

import pytest

TASK = """
import signal, sys, time
from switchpoint.components.launch.task import end_with_run
def told(number, frame):
    print("SIGTERM: the job is aborted", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
end_with_run()
print("working", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("site", "last"), [("", ""), ("{trainer_image: image}", "SIGTERM: the job is aborted")])
def test_a_task_ends_with_the_command_and_aborts_a_job_on_a_cluster(site: str, last: str) -> None:
    command = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    environment = os.environ | {"SWITCHPOINT_DRIVER_PID": str(command.pid), "SWITCHPOINT_SITE": site}
    task = subprocess.Popen([sys.executable, "-c", TASK], env=environment, stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    try:
        assert task.stdout.readline() == "working\n"
        command.kill()
        command.wait()
        assert task.stdout.read().strip() == last
        assert task.wait(timeout=30) == (0 if site else -signal.SIGKILL)
    finally:
        command.kill()
        task.kill()
