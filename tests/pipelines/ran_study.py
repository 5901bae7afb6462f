"""A study that ran to its end: its recipe, its store, and what the command printed."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from tests.conftest import switchpoint


@dataclass(frozen=True)
class Ran:
    recipe: Path
    store: Store
    outcome: dict[str, Any]

    @property
    def plan(self) -> Plan:
        return check_study(load_study(self.recipe), str(self.recipe), self.store.root)[0]

    def run_again(self) -> "subprocess.CompletedProcess[str]":
        return switchpoint("run", self.recipe, "--store", self.store.root)


def run_to_the_end(study: dict[str, Any], folder: Path) -> Ran:
    """Run a study whose files lie in `folder`, with a store there."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(study, sort_keys=False))
    ended = switchpoint("run", recipe, "--store", folder / "store", "--json")
    assert ended.returncode == 0, ended.stderr[-6000:]
    return Ran(recipe, Store(folder / "store"), json.loads(ended.stdout))
