"""What every command does before its work."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner

from switchpoint.components.recipe.errors import BadInput
from switchpoint.pipelines.commands import command as commands
from switchpoint.pipelines.commands.cli import app

COMMANDS = ("run", "plan", "status", "report", "prune", "submit", "cancel", "retry")


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of a store that never answers."""
    answered = threading.Event()

    class Silent(fsspec.AbstractFileSystem):
        protocol = "silent"

        def info(self, path: str, **_: Any) -> Any:
            answered.wait(120)
            raise FileNotFoundError(path)

        ls = cat_file = info

    fsspec.register_implementation("silent", Silent, clobber=True)
    yield "silent://bucket/prefix"
    answered.set()


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_store_that_does_not_answer_is_named_soon(
    silent: str, study: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path], name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(commands, "STORE_SECONDS", 0.4)
    monkeypatch.setattr(commands, "SAY_SECONDS", 0.2)
    result = CliRunner().invoke(app, [name, str(write_recipe(study)), "--store", silent])
    assert isinstance(result.exception, BadInput)
    assert str(result.exception).startswith("--store: the store does not answer within 0.4 s")
    assert silent in str(result.exception)
    assert f"the store {silent} has not answered yet" in result.stderr


def test_a_store_that_answers_with_an_error_says_it(
    study: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    result = CliRunner().invoke(app, ["status", str(write_recipe(study)), "--store", "s3://key:secret@bucket/prefix"])
    assert isinstance(result.exception, BadInput)
    assert "credentials do not belong into an address" in str(result.exception)
    assert "secret" not in str(result.exception)
