"""What every command does before and after its work."""

import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


STORE_SECONDS, SAY_SECONDS = 15.0, 3.0
"""How long somebody at a terminal waits for a store; and after how long they are told what the command waits for."""


def check_answers(where: str) -> None:
    """Raise BadInput if an object store does not answer soon, or cannot be used.

    Its library tries every request for minutes, which is right for a task and wrong for somebody who waits. It cannot
    be interrupted, so it continues in a thread that ends with the command.
    """
    from switchpoint.components.store.opening import check_writable
    from switchpoint.components.store.remote import is_remote

    if not is_remote(where):
        return
    found: list[BaseException] = []

    def look() -> None:
        try:
            check_writable(where)
        except BaseException as error:
            found.append(error)

    looking = threading.Thread(target=look, name="store", daemon=True)
    looking.start()
    looking.join(SAY_SECONDS)
    if looking.is_alive():
        print(f"the store {where} has not answered yet", file=sys.stderr, flush=True)
        looking.join(STORE_SECONDS - SAY_SECONDS)
    if looking.is_alive():
        from switchpoint.components.recipe.errors import BadInput

        raise BadInput(
            f"the store does not answer within {STORE_SECONDS:g} s", field="--store", given=where,
            allowed="an object store that is reached from here; AWS_ENDPOINT_URL names its address",
        )  # fmt: skip
    if found:
        raise found[0]


def checked(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None = None, arm: str | None = None
) -> Any:
    """Return the study as far as it has come, with every input checked, and the store as it is (nothing is written)."""
    from switchpoint.components.store.opening import store_at
    from switchpoint.pipelines.commands.rungs import current_rung
    from switchpoint.pipelines.commands.study_file import read_study

    study, file = read_study(recipe, scale, sources, budget, arm)
    check_answers(where)
    return current_rung(study, file, where), store_at(where)


def followed(recipe: str, scale: str | None, sources: Path | None, where: str) -> Any:
    """Return the same for a study that may have been submitted: then by the plan of its pods, whose text may differ.

    Text of the Python environment, and folders that only pods have, differ from what this machine would plan with.
    """
    from switchpoint.components.store.opening import store_at
    from switchpoint.pipelines.commands.rungs import Rung
    from switchpoint.pipelines.commands.study_file import read_study
    from switchpoint.pipelines.commands.submission import submission_of

    study, _ = read_study(recipe, scale, sources)
    check_answers(where)
    submission = submission_of(store_at(where), study)
    planned = submission.planned() if submission is not None else None
    if planned is None:
        return checked(recipe, scale, sources, where)
    plan = planned.plan
    return Rung(study=study, plan=plan, stops={}, is_last=True, whole=plan, most_tokens=None), store_at(where)


def console_for(as_json: bool) -> "Console":
    """Return the console for tables and progress; beside JSON they go to standard error."""
    from rich.console import Console

    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=160)


def finish(code: int, outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome, indent=1))
    raise typer.Exit(code)
