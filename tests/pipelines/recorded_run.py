"""Runs a compiled spec as `switchpoint.pipelines.local` does, and writes down which tasks ran with which values.

`python -m tests.pipelines.recorded_run SPEC ARGUMENTS.json FOLDER RECORD.jsonl`
"""

import json
import sys
from pathlib import Path
from typing import Any

from kfp.local.subprocess_task_handler import SubprocessTaskHandler

from switchpoint.pipelines import local

record = Path(sys.argv.pop(4))
whole_run = SubprocessTaskHandler.run


def run_and_record(handler: SubprocessTaskHandler) -> Any:
    command = handler.full_command
    task = command[command.index("--function_to_execute") + 1]
    values = json.loads(command[command.index("--executor_input") + 1])["inputs"]["parameterValues"]
    with record.open("a") as file:
        file.write(json.dumps({"task": task, "values": values}) + "\n")
    return whole_run(handler)


SubprocessTaskHandler.run = run_and_record
local.main()
