"""`switchpoint cancel` and `switchpoint retry`: end the study's run on Kubeflow Pipelines, or start a new one."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from switchpoint.components.launch.site import SITE_VARIABLE
from switchpoint.components.plan.run import check_runnable
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.kfp_server import URL_VARIABLE, KFPServer, page_of
from switchpoint.pipelines.commands.pods import ask_cluster
from switchpoint.pipelines.commands.rungs import current_rung
from switchpoint.pipelines.commands.study_file import options_given, read_study
from switchpoint.pipelines.commands.submission import (
    Submission,
    needed_submission,
    not_submitted,
    save_submission,
    submissions_of,
)
from switchpoint.pipelines.commands.submit import found_by_name, refuse_if_running, start_run


def cancel_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Cancel the newest run of the study, or its smoke run. Raise BadInput if there is none.

    May be called again: the Jobs of a run that is over already are aborted all the same, and those of the study's
    earlier runs. That they cannot be aborted is a note: the run is cancelled.
    """
    study, _ = read_study(recipe, scale, sources, budget)
    store = store_at(where)
    known = submissions_of(store, study)
    if not known:
        raise not_submitted(store)
    what, submission = known[0]
    server = server_of(submission)
    submission = with_run_id(server, store, study, submission, smoke=what == "smoke")
    state = server.cancel(submission.run_id)
    if not state.is_over:  # the backend will call it FAILED
        save_submission(store, study, replace(submission, cancelled=True), smoke=what == "smoke")
    ended = f"was {state.state.lower()} already" if state.is_over else "cancelled"
    console.print(f"{ended}: {state.url}", highlight=False, soft_wrap=True)
    aborted = _abort_jobs(submission.run_id, [one for _, each in known for one in each.run_ids], console)
    return {"state": state.state.lower() if state.is_over else "cancelled", "run_id": submission.run_id,
            "aborted": aborted}  # fmt: skip


def _abort_jobs(run_id: str, run_ids: list[str], console: Console) -> list[str]:
    """Abort the Jobs that these runs made, in the name of the run that is cancelled; return their names.

    Argo kills pods 30 s after SIGTERM: a launcher may not get to abort its Job. One that was drained left its Job to
    the next run, under the label of the earlier one.
    """
    left = "a Job that its launcher did not abort runs to its end"
    if not os.environ.get(SITE_VARIABLE):
        console.print(
            f"{left}: set {SITE_VARIABLE} and repeat this command, to have such Jobs aborted", style="yellow",
            soft_wrap=True,
        )  # fmt: skip
        return []
    selector = f"switchpoint/kfp-run in ({','.join(dict.fromkeys([*run_ids, run_id]))})"
    found = ask_cluster(lambda api: api.abort_jobs(selector, run_id, "the run was cancelled"), console, left)
    aborted = found or []
    for name in aborted:
        console.print(f"aborted: {name}", highlight=False)
    return aborted


def retry_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Start a new run of the study with the same parameters: what the store has is skipped, and the report is written.

    A budget that was given with the command before counts, unless another one is given now. KFP's own `:retry` keeps
    the tasks that succeeded, the report among them, and needs the Workflow object, which is deleted an hour after the
    run's end. Raise BadInput if the study was not submitted, cannot run, is running, or is done.
    """
    study, recipe_file = read_study(recipe, scale, sources, budget)
    store = store_at(where)
    submission = needed_submission(store, study)
    if budget is None and submission.budget is not None:
        budget = submission.budget
        study, recipe_file = read_study(recipe, scale, sources, budget)
    server = server_of(submission)
    refuse_if_running(server, store, study, recipe_file)
    if submission.run_id and server.state(submission.run_id).state == "SUCCEEDED":
        raise BadInput(
            "the run succeeded: nothing is to be retried", given=page_of(server.given_url, submission.run_id)
        )
    rung = current_rung(study, recipe_file, where)
    check_runnable(rung.plan, recipe_file)
    options = options_given(scale, sources, budget, None)
    run_id = start_run(
        server, store, server.ensure_pipeline(), study, rung.plan, recipe_file, options, where, budget=budget
    )
    url = page_of(server.given_url, run_id)
    console.print(f"retried as a new run: {url}", highlight=False, soft_wrap=True)
    return {"state": "retried", "run_id": run_id, "url": url, "before": submission.run_id}


def server_of(submission: Submission) -> KFPServer:
    """Return the server that the study was submitted to, unless the variable names its address of today."""
    return KFPServer("" if os.environ.get(URL_VARIABLE) else submission.kfp_url)


def with_run_id(
    server: KFPServer, store: Store, study: dict[str, Any], submission: Submission, *, smoke: bool
) -> Submission:
    """Return the submission with its run's id. Raise BadInput if the run was never made."""
    run_id = submission.run_id or found_by_name(server, store, study, submission, smoke=smoke)
    if run_id is None:
        raise not_submitted(store)
    return replace(submission, run_id=run_id)
