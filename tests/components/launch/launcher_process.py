"""`launcher.py` as a process that a test follows, stops and starts again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from tests.components.launch.controller import Controller, wait_until
from tests.kube import Kube

NUMBERS = count(1)
Launch = Callable[..., "Launcher"]


def all_running(controller: Controller, launcher: "Launcher") -> list[str]:
    """The pods, once the launcher knows that they run."""
    controller.phase("Running")
    pods = controller.make_pods()
    for pod in pods:
        controller.container(pod, "Running", {"running": {}})
    launcher.wait_for(": Running")
    return pods


class Launcher:
    """A process that runs one job on the cluster."""

    def __init__(self, kube: Kube, controller: Controller, logs: Path, **fields: Any) -> None:
        environment = os.environ | {
            "SWITCHPOINT_SITE": yaml.safe_dump(
                {
                    "namespace": controller.namespace, "trainer_image": "registry/trainer:1",
                    "env_secrets": ["switchpoint-store"],
                }
            ),
            "KUBECONFIG": str(kube.kubeconfig), "AWS_SECRET_ACCESS_KEY": "never-shown",
            "KFP_RUN_ID": fields.pop("kfp_run", ""), **fields.pop("environment", {}),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.components.launch.launcher", controller.name, str(logs)]
        command += [f"{name}={value}" for name, value in fields.items()]
        self.logs = logs
        self.file = logs / f"launcher-{next(NUMBERS)}.out"
        logs.mkdir(parents=True, exist_ok=True)
        with self.file.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return self.file.read_text()

    def wait_for(self, words: str) -> None:
        wait_until(lambda: words in self.said() or self.process.poll() is not None)
        assert words in self.said(), self.said()

    def end(self) -> dict[str, Any]:
        self.process.wait(timeout=60)
        assert self.process.returncode == 0, self.said()
        found: dict[str, Any] = json.loads(self.said().splitlines()[-1])
        return found
