"""A smoke run through the command: polled to its end, and shown by a plan of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from switchpoint.components.plan.run import write_plan
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.plan_file import load_plan
from switchpoint.pipelines.commands.cli import app
from tests.kfp_stub import KFPStub
from tests.pipelines.conftest import command

pytestmark = pytest.mark.timeout(300)
Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def arguments(study: dict[str, Any], write_recipe: Write, tmp_path: Path) -> list[str]:
    return [str(write_recipe(study)), "--store", str(tmp_path / "store")]


def answers(kfp: KFPStub, monkeypatch: pytest.MonkeyPatch, *statuses: int) -> None:
    """What the server says of a run with these statuses, one after the other; 200: where it stands."""
    left, whole = list(statuses), kfp._run

    def run(run_id: str, action: str | None) -> Any:
        status = left.pop(0) if left else 200
        return whole(run_id, action) if status == 200 else (status, {"message": "told by this test"})

    monkeypatch.setattr(kfp, "_run", run)


@pytest.mark.parametrize("last", ["CANCELING", "CANCELED"])
def test_a_smoke_run_that_is_cancelled_is_over(kfp: KFPStub, arguments: list[str], last: str) -> None:
    """Where its Workflow is gone it stays CANCELING for ever."""
    kfp.states = ["RUNNING", last]
    code, outcome = command("submit", *arguments, "--smoke")
    assert (code, outcome["state"]) == (1, "smoke failed")
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_to_tell_of_the_smoke_run_ends_the_command(
    kfp: KFPStub, arguments: list[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    kfp.states = ["RUNNING"]
    answers(kfp, monkeypatch, 200, *[status] * 50)
    with pytest.raises(BadInput, match=f"{status} told by this test; the smoke run may go on") as refused:
        command("submit", *arguments, "--smoke")
    assert "`switchpoint cancel` ends the smoke run" in str(refused.value)


def test_a_smoke_run_that_was_deleted_is_over(
    kfp: KFPStub, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.states = ["RUNNING"]
    answers(kfp, monkeypatch, 200, *[404] * 50)
    assert command("submit", *arguments, "--smoke")[1]["state"] == "smoke failed"


def test_a_server_that_is_away_is_polled_on_and_told_of_once(
    kfp: KFPStub, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.states = ["RUNNING", "SUCCEEDED"]
    answers(kfp, monkeypatch, 503, 500, 504)
    result = CliRunner().invoke(app, ["submit", *arguments, "--smoke", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["state"] == "submitted"
    assert result.stderr.count("told by this test") == 1
    assert "polled for 60 minutes" in result.stderr


def test_status_shows_a_smoke_run_by_its_own_plan(kfp: KFPStub, arguments: list[str]) -> None:
    kfp.states = ["FAILED"]
    assert command("submit", *arguments, "--smoke")[0] == 1
    # Before its task `plan` has run there is no plan.
    assert command("status", *arguments)[1]["kfp"]["what"] == "smoke"
    sent = kfp.runs["run-0"]["runtime_config"]["parameters"]
    planned = load_plan(write_plan(sent["study"], sent["store"], sent["recipe_file"]))
    (arm,) = planned.plan.arms
    kfp.states, kfp.tasks = ["RUNNING"], {"train-gb": "RUNNING"}
    shown = CliRunner().invoke(app, ["status", *arguments], catch_exceptions=False).output
    assert "train-gb: running (smoke)\n" in shown
    planned.store.write_failure(arm.runs[0], "out of memory", "log")
    kfp.states, kfp.tasks = ["FAILED"], {"train-gb": "SUCCEEDED"}
    assert command("status", *arguments)[1]["kfp"]["failures"] == ["smoke: phase-0 failed: out of memory"]
