"""Runs the compiled pipeline on this machine: `python -m pipelines.local SPEC ARGUMENTS.json`.

A process of its own, because KFP's local runner replaces `print` and keeps one configuration per process.
"""

import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from components.launch.process import die_with_parent


def main() -> None:
    die_with_parent()
    from kfp import components, local

    warnings.filterwarnings("ignore", category=FutureWarning)
    spec, arguments = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    outputs = tempfile.mkdtemp(prefix="switchpoint-kfp-")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=outputs, raise_on_error=True)
    try:
        components.load_component_from_file(spec)(**arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        shutil.rmtree(outputs, ignore_errors=True)


if __name__ == "__main__":
    main()
