"""Runs the compiled pipeline on this machine: `python -m pipelines.local SPEC ARGUMENTS.json FOLDER`.

A process of its own, because KFP's local runner replaces `print` and keeps one configuration per process.
"""

import json
import sys
import warnings
from pathlib import Path

from components.launch.process import die_with_parent


def main() -> None:
    die_with_parent()
    from kfp import components, local

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
