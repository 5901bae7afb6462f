"""Runs a compiled spec as `switchpoint.pipelines.local` does, each task with an empty cache of its own, as a pod has.

`python -m tests.pipelines.pod_run SPEC ARGUMENTS.json FOLDER CACHES`
"""

import os
import sys
import tempfile
from typing import Any

from kfp.local.subprocess_task_handler import SubprocessTaskHandler

from switchpoint.components.launch.process import DRIVER_VARIABLE
from switchpoint.components.store.opening import CACHE_VARIABLE
from switchpoint.pipelines import local

caches = sys.argv.pop(4)
os.environ[DRIVER_VARIABLE] = str(os.getpid())  # what runs ends with this process
whole_run = SubprocessTaskHandler.run


def run_in_pod(handler: SubprocessTaskHandler) -> Any:
    cache = tempfile.mkdtemp(dir=caches)
    handler.full_command = ["env", f"{CACHE_VARIABLE}={cache}", *handler.full_command]
    return whole_run(handler)


SubprocessTaskHandler.run = run_in_pod
local.main()
