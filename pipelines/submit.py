"""`switchpoint submit`: the study as a run of Kubeflow Pipelines, once its price is known and allowed."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from components.launch.site import SITE_VARIABLE, read_site
from components.plan.run import check_runnable
from components.recipe.errors import BadInput
from components.recipe.plan import Plan
from components.store.opening import open_store, store_at
from components.store.plan_file import plan_reference
from components.store.remote import is_remote
from components.store.store import Store
from pipelines.amounts import size
from pipelines.compile import version_name
from pipelines.kfp_server import URL_VARIABLE, KFPServer, RunState, page_of
from pipelines.plan_view import print_plan
from pipelines.rungs import current_rung
from pipelines.smoke import smoke_study
from pipelines.study_file import read_study
from pipelines.submission import needed_submission, not_submitted, save_submission, submissions_of

POLL_SECONDS = 10.0
AWAY_SECONDS = 3600.0
"""A server that does not answer while a smoke run waits for its pods is asked again."""


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
    if not is_remote(where) and not Path(where).is_absolute():
        raise BadInput(
            "no pod has this folder", field="--store", given=where,
            allowed="an object store, such as s3://bucket/prefix, or the full path of a volume that pods mount",
        )  # fmt: skip
    planned = print_plan(rung.plan, store_at(where), console)
    check_runnable(rung.plan, recipe_file)
    check_space(planned["checkpoint_bytes_left"], where)
    store = open_store(where)
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
    save_submission(store, study, run_id, server.given_url, version_name(), plan_reference(study, store))
    url = page_of(server.given_url, run_id)
    console.print(f"submitted: {url}", highlight=False, soft_wrap=True)
    return 0, {"state": "submitted", "run_id": run_id, "url": url, "plan": planned}


def check_space(needed_bytes: int | None, where: str) -> None:
    """Raises BadInput where checkpoints and models do not fit.

    An object store tells no free space, nor does a volume of pods that is not mounted here.
    """
    if needed_bytes is None or is_remote(where):
        return
    there = next(folder for folder in (Path(where), *Path(where).parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes > free:
        raise BadInput(
            "checkpoints and models do not fit into the store", file=where, field="--store",
            given=f"{size(needed_bytes)} are needed", allowed=f"{size(free)} are free; `switchpoint prune` makes room",
        )  # fmt: skip


def _refuse_if_running(server: KFPServer, store: Store, study: dict[str, Any], recipe_file: str) -> None:
    """Twice at once would do nothing twice, but wait for itself."""
    for _, before in submissions_of(store, study):
        if before.kfp_url != server.given_url:
            continue
        try:
            state = server.state(before.run_id)
        except BadInput:  # it was deleted
            continue
        if not state.is_over:
            raise BadInput(
                "this study is running", file=recipe_file, given=state.url, allowed="`switchpoint cancel` first"
            )


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
    store = store_at(where)
    # So that `cancel` ends it; the study's own run, which `retry` is about, stays known.
    save_submission(
        store, study, run_id, server.given_url, version_name(), plan_reference(small, store), smoke=True
    )  # fmt: skip
    console.print(f"smoke run: {page_of(server.given_url, run_id)}", highlight=False, soft_wrap=True)
    asked = retry(
        retry=retry_if_exception_type(BadInput), stop=stop_after_delay(AWAY_SECONDS), wait=wait_fixed(POLL_SECONDS),
        reraise=True,
    )(server.state)  # fmt: skip
    while not (state := asked(run_id)).is_over:
        time.sleep(POLL_SECONDS)
    return state


def end_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Ends the newest run of the study, or its smoke run. Raises BadInput where there is none.

    May be called again: the Jobs of a run that is cancelled already are aborted all the same.
    """
    study, _ = read_study(recipe, scale, sources, budget)
    store = store_at(where)
    known = submissions_of(store, study)
    if not known:
        raise not_submitted(store)
    _, submission = known[0]
    server = _server(submission.kfp_url)
    state = server.state(submission.run_id)
    if not state.is_over and state.state != "CANCELING":
        server.cancel(submission.run_id)
    # KFP ends its pods without a word to what runs in them: a launcher may not get to abort its Job.
    aborted = []
    if os.environ.get(SITE_VARIABLE):
        from components.launch.cluster_api import ABORTED, COMMAND_AWAY_SECONDS, ClusterAPI

        api = ClusterAPI(read_site().namespace, COMMAND_AWAY_SECONDS)
        aborted = api.abort_jobs(f"switchpoint/kfp-run={submission.run_id}", f"{ABORTED}the run was cancelled")
        for name in aborted:
            console.print(f"aborted: {name}", highlight=False)
    else:
        console.print(
            f"its Jobs run to their end: set {SITE_VARIABLE}, and do this again, to have them aborted", style="yellow"
        )
    ended = f"was {state.state.lower()} already" if state.is_over else "cancelled"
    console.print(f"{ended}: {state.url}", highlight=False, soft_wrap=True)
    return {"state": state.state.lower() if state.is_over else "cancelled", "run_id": submission.run_id,
            "aborted": aborted}  # fmt: skip


def retry_run(
    recipe: str, scale: str | None, sources: Path | None, where: str, budget: str | None, console: Console
) -> dict[str, Any]:
    """Lets the newest run of the study go on. Raises BadInput where there is none, or it has not failed."""
    study, _ = read_study(recipe, scale, sources, budget)
    submission = needed_submission(store_at(where), study)
    server = _server(submission.kfp_url)
    state = server.state(submission.run_id)
    if state.state not in ("FAILED", "CANCELED"):
        raise BadInput("only a run that failed or was cancelled is tried again", given=f"{state.state} {state.url}")
    server.retry(submission.run_id)
    console.print(f"goes on: {state.url}", highlight=False, soft_wrap=True)
    return {"state": "retried", "run_id": submission.run_id}


def _server(submitted_to: str) -> KFPServer:
    """Where the study was submitted, unless the variable names its address of today."""
    return KFPServer("" if os.environ.get(URL_VARIABLE) else submitted_to)
