"""Cancel and retry through the command: runs that are elsewhere, deleted or over, and what is left of earlier ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.cli import app
from switchpoint.pipelines.commands.study_file import read_study
from switchpoint.pipelines.commands.submission import submission_of
from tests.kfp_stub import KFPStub
from tests.pipelines.conftest import command

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def submitted(kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path) -> list[str]:
    """The recipe and the store of a study that was submitted, as arguments."""
    arguments = [str(write_recipe(study)), "--store", str(tmp_path / "store")]
    assert command("submit", *arguments)[1]["run_id"] == "run-0"
    kfp.states = ["RUNNING"]
    return arguments


@pytest.mark.parametrize("name", ["submit", "retry"])
def test_a_running_study_is_not_started_again_by_another_address_of_its_server(
    kfp: KFPStub, submitted: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for address in (f"{kfp.url}/", kfp.url.replace("127.0.0.1", "localhost")):
        monkeypatch.setenv("SWITCHPOINT_KFP_URL", address)
        with pytest.raises(BadInput, match="this study is running"):
            command(name, *submitted)
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("name", ["submit", "retry"])
@pytest.mark.parametrize("status", [403, 500])
def test_a_server_that_does_not_tell_where_the_run_stands_starts_no_other(
    kfp: KFPStub, submitted: list[str], monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr(kfp, "_run", lambda *_: (status, {"message": "database is locked"}))
    with pytest.raises(BadInput, match=f"{status} database is locked"):
        command(name, *submitted)
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("name", ["submit", "retry"])
def test_a_run_that_was_deleted_is_over(kfp: KFPStub, submitted: list[str], name: str) -> None:
    kfp.runs["another"] = kfp.runs.pop("run-0")
    assert command("status", *submitted)[1]["kfp"]["state"] == "DELETED"
    assert command("cancel", *submitted)[1] == {"state": "deleted", "run_id": "run-0", "aborted": []}
    assert command(name, *submitted)[1]["run_id"] == "run-1"


def test_a_run_that_ends_while_it_is_cancelled_is_no_error(
    kfp: KFPStub, submitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.states = ["RUNNING", "SUCCEEDED"]
    assert command("cancel", *submitted)[1]["state"] == "succeeded"
    kfp.states = ["RUNNING"]
    monkeypatch.setattr(kfp, "_terminate", lambda: (403, {"message": "not yours"}))
    with pytest.raises(BadInput, match="403 not yours"):
        command("cancel", *submitted)


@pytest.mark.parametrize("site", ["trainer_image: image", "{trainer_image: image, namespace: jobs}"])
def test_a_run_is_cancelled_although_its_jobs_cannot_be_aborted(
    kfp: KFPStub, submitted: list[str], monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    """The site names no namespace, or there is no kubeconfig."""
    monkeypatch.setenv("SWITCHPOINT_SITE", site)
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    result = CliRunner().invoke(app, ["cancel", *submitted, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["state"] == "cancelled"
    assert "note: a Job that its launcher did not abort runs to its end: " in result.stderr
    assert kfp.calls[-1] == "POST runs/run-0:terminate"


def test_what_decides_no_output_makes_no_other_study(
    kfp: KFPStub, submitted: list[str], study: dict[str, Any], write_recipe: Write
) -> None:
    pretrain = study["model"]["pretrain"] | {"num_processes": 2}
    changed = {
        "cluster": {"device": "none", "memory_gib_per_node": 8}, "question": "Does it still walk?",
        "hardware": {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 3},
        "budget": {"max_tokens": 10**9},
        "training": {"num_processes": 2, "micro_batch_size": 1, "hang_seconds": 60},
        "model": study["model"] | {"pretrain": pretrain},
    }  # fmt: skip
    for one in changed:
        write_recipe(study | {one: changed[one]})
        assert command("status", *submitted)[1]["kfp"]["run_id"] == "run-0", one
    write_recipe(study | changed)
    with pytest.raises(BadInput, match="this study is running"):
        command("submit", *submitted)
    write_recipe(study | {"training": {"bad_batch": "skip"}})
    assert command("status", *submitted)[1]["kfp"] is None
    write_recipe(study | changed)
    assert command("cancel", *submitted)[1]["state"] == "cancelled"
    assert command("retry", *submitted)[1]["run_id"] == "run-1"
    assert kfp.runs["run-1"]["runtime_config"]["parameters"]["study"]["cluster"] == changed["cluster"]


def test_retry_has_the_budget_of_the_run_before(
    kfp: KFPStub, study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    arguments = [str(write_recipe(study | {"budget": {"max_tokens": 1000}})), "--store", str(tmp_path / "store")]
    with pytest.raises(BadInput, match="exceeds its budget"):
        command("submit", *arguments)
    command("submit", *arguments, "--budget", "1B")
    kfp.states = ["FAILED"]
    command("retry", *arguments)
    command("retry", *arguments)
    first, *others = [run["runtime_config"]["parameters"] for run in kfp.runs.values()]
    assert first["study"]["budget"] == {"max_tokens": 10**9}
    assert first["options"] == "--budget 1B"
    assert others == [first, first]
    with pytest.raises(BadInput, match="exceeds its budget"):
        command("retry", *arguments, "--budget", "1000")
    assert len(kfp.runs) == 3


def test_the_runs_before_are_known(kfp: KFPStub, submitted: list[str]) -> None:
    """Jobs of theirs may still run."""
    kfp.states = ["FAILED"]
    for _ in range(2):
        command("retry", *submitted)
    kept = submission_of(Store(Path(submitted[2])), read_study(submitted[0])[0])
    assert kept is not None
    assert kept.run_ids == ["run-0", "run-1", "run-2"]
