"""Run the compiled pipeline on this machine: `python -m switchpoint.pipelines.local SPEC ARGUMENTS.json FOLDER`.

A process of its own, because KFP's local runner replaces `print` and keeps one configuration per process.
"""

import json
import os
import secrets
import sys
import warnings
from pathlib import Path

from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.launch.slots import num_slots
from switchpoint.components.store.store import KFP_RUN_VARIABLE

MAX_TASKS = 32
"""The largest number of tasks at a time: each is a process of Python, most of which wait for their jobs."""


def _allow_as_many_as_fit() -> None:
    """Raise a limit: KFP's local runner has two iterations of a loop at a time, whatever the machine; jobs wait for
    slots anyway.
    """
    from kfp.local.orchestrator.enhanced_dag_orchestrator import ParallelExecutor

    original = ParallelExecutor.__init__

    def with_slots(self: ParallelExecutor, max_workers: int | None = None) -> None:
        original(self, max_workers)
        self.max_workers = max(2, min(MAX_TASKS, num_slots()))

    ParallelExecutor.__init__ = with_slots


def main() -> None:
    die_with_parent()
    from kfp import components, local

    _allow_as_many_as_fit()
    os.environ.setdefault(KFP_RUN_VARIABLE, f"local-{secrets.token_hex(8)}")  # Jobs and failures name it
    warnings.filterwarnings("ignore", category=FutureWarning)
    spec, arguments = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[3], raise_on_error=True)
    try:
        components.load_component_from_file(spec)(**arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
