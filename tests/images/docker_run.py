"""Runs a compiled spec by KFP's DockerRunner: every task a container that can write to FOLDER and /tmp only.

`python -m tests.images.docker_run SPEC ARGUMENTS.json FOLDER UID:GID`

FOLDER, with the recipe's text and the store in it, has the same name inside. That the runner reports success proves
nothing (kubeflow/pipelines#13332): look into the store.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from docker.types import Mount
from kfp import components, local


def confined(folder: Path, user: str) -> dict[str, Any]:
    """How a container is run: no root, no capabilities, no network, nothing to write to but the folder and /tmp."""
    return {
        "user": user, "read_only": True, "tmpfs": {"/tmp": "rw,mode=1777"}, "network_mode": "none",
        "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
        "mounts": [Mount(str(folder), str(folder), type="bind")],
    }  # fmt: skip


def main() -> None:
    spec, arguments, folder, user = sys.argv[1:]
    warnings.filterwarnings("ignore", category=FutureWarning)
    runner = local.DockerRunner(**confined(Path(folder), user), environment={"HF_HUB_OFFLINE": "1"})
    local.init(runner, pipeline_root=f"{folder}/kfp", raise_on_error=True)
    components.load_component_from_file(spec)(**json.loads(Path(arguments).read_text()))


if __name__ == "__main__":
    main()
