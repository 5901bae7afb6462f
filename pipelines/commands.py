"""What every command does before and after its work."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def checked(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None = None, arm: str | None = None
) -> Any:
    """The study as far as it has come, with every input checked, and the store as it is (nothing is written)."""
    from components.store.opening import store_at
    from pipelines.rungs import current_rung
    from pipelines.study_file import read_study

    study, file = read_study(recipe, scale, sources, budget, arm)
    return current_rung(study, file, where), store_at(where)


def followed(recipe: str, scale: str | None, sources: Path | None, where: str) -> Any:
    """The same for a study that may have been submitted: then by the plan of its pods, whose text may be another.

    Text of the Python environment, and folders that only pods have, differ from what this machine would plan with.
    """
    from components.store.opening import store_at
    from components.store.plan_file import load_plan
    from pipelines.rungs import Rung
    from pipelines.study_file import read_study
    from pipelines.submission import submission_of

    study, _ = read_study(recipe, scale, sources)
    submission = submission_of(store_at(where), study)
    try:
        planned = load_plan(submission.plan) if submission is not None else None
    except RuntimeError:  # its first task has not run yet
        planned = None
    if planned is None:
        return checked(recipe, scale, sources, where)
    plan = planned.plan
    return Rung(study=study, plan=plan, stops={}, is_last=True, whole=plan, most_tokens=None), store_at(where)


def console_for(as_json: bool) -> "Console":
    """Tables and progress; beside JSON they go to standard error."""
    from rich.console import Console

    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=160)


def finish(code: int, outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome, indent=1))
    raise typer.Exit(code)
