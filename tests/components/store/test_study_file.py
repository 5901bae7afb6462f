"""A study is a parameter of the pipeline, which reaches a task as one argument: a large one is a file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.plan.run import write_plan
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.opening import open_store
from switchpoint.components.store.plan_file import load_plan, plan_reference
from switchpoint.components.store.study_file import check_size, hand_over, handed_over

MAX_ARGUMENT = 128 * 1024
"""Linux's bound of one argument, with the zero byte at its end (execve(2), MAX_ARG_STRLEN)."""


def parameters(study: dict[str, Any], store: Path, stops: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"study": study, "store": str(store), "recipe_file": "recipe.yaml", "options": "", "stops": stops or {}}


def with_arms(study: dict[str, Any], number: int) -> dict[str, Any]:
    arms = {f"arm-{index}": {"schedule": {"max_learning_rate": 1e-3 + index * 1e-7}} for index in range(number)}
    return study | {"arms": arms}


def test_a_small_study_is_handed_over_as_it_is(study: dict[str, Any], tmp_path: Path) -> None:
    given = parameters(study, tmp_path / "store")
    assert hand_over(given, open_store(tmp_path / "store")) == given
    assert not (tmp_path / "store" / "studies").exists()


def test_a_large_study_and_its_stops_reach_the_task_by_reference(study: dict[str, Any], tmp_path: Path) -> None:
    large = with_arms(study, 3_000)
    stops = {"arms": {"arm-7": {"step": 2, "reason": "of this test"}}, "is_last": False}
    given = parameters(large, tmp_path / "store", stops)
    assert len(json.dumps(given)) > MAX_ARGUMENT
    store = open_store(tmp_path / "store")
    with pytest.raises(BadInput, match=r"--study: the study is too large.*\n.*bytes\n.*65,536 bytes"):
        check_size(given)
    passed = hand_over(given, store)
    assert passed == handed_over(given)
    command = [sys.executable, "-c", "import sys; print(len(sys.argv[1]))", json.dumps(passed)]
    assert int(subprocess.run(command, check=True, capture_output=True).stdout) < 1_000
    saved = json.loads(Path(passed["study"]["study_file"]).read_text())
    assert saved == {"study": large, "stops": stops}


def test_the_task_plan_takes_a_study_from_its_file(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchpoint.components.store.study_file.MAX_BYTES", 4_000)
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    large = with_arms(study, 60)
    store = open_store(tmp_path / "store")
    passed = hand_over(parameters(large, tmp_path / "store"), store)
    assert list(passed["study"]) == ["study_file"]
    reference = write_plan(passed["study"], passed["store"], "recipe.yaml", stops=passed["stops"])
    assert reference == plan_reference(large, store)
    assert len(load_plan(reference).plan.arms) == 60
    Path(passed["study"]["study_file"]).unlink()
    with pytest.raises(RuntimeError, match="the study's file is missing"):
        write_plan(passed["study"], passed["store"], "recipe.yaml", stops={})
