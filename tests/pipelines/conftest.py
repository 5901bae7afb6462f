"""The small study, run once through the compiled spec; tests that change the store work on a copy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands import submit
from switchpoint.pipelines.commands.cli import app
from switchpoint.pipelines.compile import SPEC
from tests.conftest import tiny_study
from tests.kfp_stub import TOKEN, KFPStub, running_stub


@dataclass(frozen=True)
class Finished:
    """A study that ran to its end."""

    recipe: Path
    root: Path
    tasks: list[dict[str, Any]]

    @property
    def store(self) -> Store:
        return Store(self.root)

    @property
    def plan(self) -> Plan:
        return check_study(load_study(self.recipe), str(self.recipe), self.root)[0]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    recipe, root, record = folder / "recipe.yaml", folder / "store", folder / "tasks.jsonl"
    recipe.write_text(yaml.safe_dump(tiny_study(folder), sort_keys=False))
    arguments = {"study": load_study(recipe), "store": str(root), "recipe_file": str(recipe)}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    command = ["tests.pipelines.recorded_run", SPEC, folder / "arguments.json", folder / "kfp", record]
    ended = subprocess.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-6000:]
    return Finished(recipe, root, [json.loads(line) for line in record.read_text().splitlines()])


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Callable[[], Finished]:
    """A copy of the finished store, to be spoiled."""

    def copy() -> Finished:
        shutil.copytree(finished.root, tmp_path / "store")
        return Finished(finished.recipe, tmp_path / "store", [])

    return copy


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KFPStub]:
    with running_stub() as stub:
        monkeypatch.setenv("SWITCHPOINT_KFP_URL", stub.url)
        monkeypatch.setenv("SWITCHPOINT_KFP_TOKEN", TOKEN)
        monkeypatch.setattr(submit, "POLL_SECONDS", 0.1)
        yield stub


def command(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """The exit code, and what `--json` prints."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)
