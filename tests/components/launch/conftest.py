"""A Job of its own for each test, and launchers that follow it."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.components.launch.controller import Controller
from tests.components.launch.launcher_process import Launch, Launcher
from tests.kube import Kube

NUMBERS = count(1)


@pytest.fixture
def controller(kube: Kube) -> Controller:
    number = next(NUMBERS)
    return Controller(kube.client, kube.namespace(f"launch-{number}"), f"gb-{number:016x}")


@pytest.fixture
def launch(kube: Kube, controller: Controller, tmp_path: Path) -> Iterator[Launch]:
    started: list[Launcher] = []

    def start(**fields: Any) -> Launcher:
        started.append(Launcher(kube, controller, tmp_path / "logs", **fields))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
