"""Runs a compiled spec by KFP's DockerRunner: every task a container that may write to FOLDER and /tmp only.

`python -m tests.images.docker_run SPEC ARGUMENTS.json FOLDER UID:GID`

FOLDER, the store and the text in it, has the same name inside. That the runner reports success proves nothing
(kubeflow/pipelines#13332): look into the store.
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
        "user": user, "read_only": True, "tmpfs": {"/tmp": "rw,exec,mode=1777"}, "network_mode": "none",
        "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "environment": {"HF_HUB_OFFLINE": "1"},
        "mounts": [Mount(str(folder), str(folder), type="bind")],
    }  # fmt: skip


def main() -> None:
    spec, arguments, folder, user = (
        sys.argv[1],
        json.loads(Path(sys.argv[2]).read_text()),
        Path(sys.argv[3]),
        sys.argv[4],
    )
    warnings.filterwarnings("ignore", category=FutureWarning)
    local.init(local.DockerRunner(**confined(folder, user)), pipeline_root=str(folder / "kfp"), raise_on_error=True)
    components.load_component_from_file(spec)(**arguments)


if __name__ == "__main__":
    main()
