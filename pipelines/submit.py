"""`switchpoint submit`: the study as a run of Kubeflow Pipelines, once its price is known and allowed."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from components.plan.run import check_runnable
from components.recipe.errors import BadInput
from components.recipe.plan import Plan
from components.store.opening import open_store, store_at
from components.store.store import Store
from pipelines.amounts import size
from pipelines.compile import version_name
from pipelines.kfp_server import URL_VARIABLE, KFPServer, RunState
from pipelines.plan_view import print_plan
from pipelines.rungs import current_rung
from pipelines.smoke import smoke_study
from pipelines.study_file import read_study
from pipelines.submission import Submission, needed_submission, save_submission, submission_of

POLL_SECONDS = 10.0


def parameters_of(study: dict[str, Any], recipe_file: str, options: str, where: str) -> dict[str, Any]:
    """The pipeline's parameters, as they are typed into KFP's page for a run that is started by hand."""
    return {"study": study, "store": where, "recipe_file": recipe_file, "options": options, "stops": {}}


def submit_study(
    study: dict[str, Any], recipe_file: str, options: str, where: str, console: Console, *, smoke: bool = False
) -> tuple[int, dict[str, Any]]:
    """Prints the plan's price and store need, then submits; with `smoke` after a run of a few steps that succeeded.

    Raises BadInput, before anything is sent, for a study over its budget or beyond the store's free space, or one that
    is running.
    """
    rung = current_rung(study, recipe_file, where)
    if rung.plan.recipe.halving is not None:
        raise BadInput(
            "which arms stop is decided by the command, from one run of the pipeline to the next", file=recipe_file,
            field="halving", allowed="`switchpoint run`; or no `halving:`",
        )  # fmt: skip
    check_runnable(rung.plan, recipe_file)
    store = open_store(where)
    planned = print_plan(rung.plan, store, console)
    check_space(planned["checkpoint_bytes"], store)
    if not planned["missing"]:
        console.print("nothing is left to do")
        return 0, {"state": "succeeded", "run_id": ""}
    server = KFPServer()
    _refuse_if_running(server, store, study, recipe_file)
    version = server.ensure_pipeline()
    if smoke:
        state = _run_smoke(server, version, study, rung.plan, recipe_file, where, console)
        if state.state != "SUCCEEDED":
            console.print(f"smoke run {state.state.lower()}: {state.error or state.url}", style="bold red")
            return 1, {"state": "smoke failed", "run_id": state.run_id, "url": state.url}
    run_id = server.submit(
        rung.plan.recipe.name, _run_name(rung.plan), version, parameters_of(study, recipe_file, options, where)
    )
    save_submission(store, study, run_id, server.url, version_name())
    url = f"{server.url}/#/runs/details/{run_id}"
    console.print(f"submitted: {url}", highlight=False, soft_wrap=True)
    return 0, {"state": "submitted", "run_id": run_id, "url": url, "plan": planned}


def check_space(needed_bytes: int | None, store: Store) -> None:
    """Raises BadInput where checkpoints and models do not fit. An object store tells no free space."""
    if needed_bytes is None or store.url:
        return
    free = shutil.disk_usage(store.root).free
    if needed_bytes > free:
        raise BadInput(
            "checkpoints and models do not fit into the store", file=str(store.root), field="--store",
            given=f"{size(needed_bytes)} are needed", allowed=f"{size(free)} are free; `switchpoint prune` makes room",
        )  # fmt: skip


def _refuse_if_running(server: KFPServer, store: Store, study: dict[str, Any], recipe_file: str) -> None:
    """Twice at once would do nothing twice, but wait for itself."""
    before = submission_of(store, study)
    if before is None or before.kfp_url != server.url:
        return
    try:
        state = server.state(before.run_id)
    except BadInput:  # it was deleted
        return
    if not state.is_over:
        raise BadInput("this study is running", file=recipe_file, given=state.url, allowed="`switchpoint cancel` first")


def _run_name(plan: Plan) -> str:
    return f"{plan.recipe.name} {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}"


def _run_smoke(
    server: KFPServer, version: str, study: dict[str, Any], plan: Plan, recipe_file: str, where: str, console: Console
) -> RunState:
    """Runs it to its end."""
    small = smoke_study(study, plan)
    check = current_rung(small, recipe_file, where)
    run_id = server.submit(
        check.plan.recipe.name, _run_name(check.plan), version, parameters_of(small, recipe_file, "", where)
    )
    console.print(f"smoke run: {server.url}/#/runs/details/{run_id}", highlight=False, soft_wrap=True)
    while not (state := server.state(run_id)).is_over:
        time.sleep(POLL_SECONDS)
    return state


def end_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Ends the newest run of the study. Raises BadInput where there is none."""
    server, submission = _submitted(recipe, scale, sources, where, budget)
    server.cancel(submission.run_id)
    console.print(f"cancelled: {server.url}/#/runs/details/{submission.run_id}", highlight=False, soft_wrap=True)
    return {"state": "cancelled", "run_id": submission.run_id}


def retry_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Lets the newest run of the study go on. Raises BadInput where there is none, or it has not failed."""
    server, submission = _submitted(recipe, scale, sources, where, budget)
    state = server.state(submission.run_id)
    if state.state not in ("FAILED", "CANCELED"):
        raise BadInput("only a run that failed or was cancelled is tried again", given=f"{state.state} {state.url}")
    server.retry(submission.run_id)
    console.print(f"goes on: {state.url}", highlight=False, soft_wrap=True)
    return {"state": "retried", "run_id": submission.run_id}


def _submitted(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None
) -> tuple[KFPServer, Submission]:
    study, _ = read_study(recipe, scale, sources, budget)
    submission = needed_submission(store_at(where), study)
    return KFPServer("" if os.environ.get(URL_VARIABLE) else submission.kfp_url), submission
