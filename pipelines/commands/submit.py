"""`switchpoint submit`: the study as a run of Kubeflow Pipelines, once its price is known and allowed."""

import os
import secrets
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_delay, wait_fixed

from switchpoint.components.launch.site import SITE_VARIABLE
from switchpoint.components.plan.run import check_runnable
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.run import report_is_written
from switchpoint.components.store.opening import open_store, store_at
from switchpoint.components.store.plan_file import forget_plan_failure, plan_reference
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.store import Store
from switchpoint.components.store.study_file import hand_over, handed_over
from switchpoint.pipelines.commands.amounts import size
from switchpoint.pipelines.commands.kfp_server import KFPServer, NoAnswer, RunState, page_of
from switchpoint.pipelines.commands.outcome import planned_or_given, why_failed, write_missing_report
from switchpoint.pipelines.commands.plan_view import print_plan
from switchpoint.pipelines.commands.rungs import current_rung
from switchpoint.pipelines.commands.smoke import smoke_study
from switchpoint.pipelines.commands.submission import (
    Submission,
    forget_submission,
    now,
    save_submission,
    submission_of,
    submissions_of,
)
from switchpoint.pipelines.commands.workflow_size import check_workflow_size
from switchpoint.pipelines.compile import version_name

POLL_SECONDS = 10.0
AWAY_SECONDS = 3600.0
"""While a smoke run waits for its pods, a server that does not answer is polled for so long."""


def parameters_of(study: dict[str, Any], recipe_file: str, options: str, where: str) -> dict[str, Any]:
    """Return the pipeline's parameters, as they are typed into KFP's page for a run that is started by hand."""
    return {"study": study, "store": where, "recipe_file": recipe_file, "options": options, "stops": {}}


def submit_study(
    study: dict[str, Any], recipe_file: str, options: str, where: str, console: Console, *, smoke: bool = False,
    budget: str | None = None,
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    """Print the plan's price and store need, then submit; with `smoke` after a run of a few steps that succeeded.

    `budget`: what the command was given, which the study has already; kept for `retry`.

    Raise BadInput, before anything is sent, for a study over its budget, beyond the store's free space or too large for
    a Workflow object, or one that is running.
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
    check_workflow_size(rung.plan, handed_over(parameters_of(study, recipe_file, options, where)), recipe_file)
    store = open_store(where)
    # Where pods reach MLflow is not where this machine does: a report that is logged there is done.
    logged = {rung.plan.report.path} if report_is_written(rung.plan, store) else set()
    if not {one["output"] for one in planned["missing"]} - logged:
        console.print("nothing is left to do")
        return 0, {"state": "succeeded", "run_id": ""}
    server = KFPServer()
    refuse_if_running(server, store, study, recipe_file)
    version = server.ensure_pipeline()
    if smoke:
        state, failed = _run_smoke(server, version, study, rung.plan, recipe_file, where, console)
        if state.state != "SUCCEEDED":
            console.print(f"smoke run {state.state.lower()}: {state.url}", style="bold red", highlight=False)
            for line in failed:
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
            return 1, {"state": "smoke failed", "run_id": state.run_id, "url": state.url, "failures": failed}
    run_id = start_run(server, store, version, study, rung.plan, recipe_file, options, where, budget=budget)
    url = page_of(server.given_url, run_id)
    console.print(f"submitted: {url}", highlight=False, soft_wrap=True)
    return 0, {"state": "submitted", "run_id": run_id, "url": url, "plan": planned}


def start_run(
    server: KFPServer, store: Store, version: str, study: dict[str, Any], plan: Plan, recipe_file: str, options: str,
    where: str, *, budget: str | None = None, known_as: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """Start the run and save it as the newest submission of the study; return its id.

    It is saved before the server is asked: of a run whose answer is lost, the next command finds it by its name.
    `known_as`: the study whose smoke run this is.
    """
    name = f"{plan.recipe.name} {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} {secrets.token_hex(2)}"
    is_smoke, of_study = known_as is not None, known_as or study
    before = submission_of(store, of_study, smoke=is_smoke)
    saved = Submission(
        run_id="", name=name, experiment=plan.recipe.name, kfp_url=server.given_url, version=version_name(),
        plan=plan_reference(study, store), submitted=now(), budget=budget,
        earlier=before.run_ids if before else (),
    )  # fmt: skip
    save_submission(store, of_study, saved, smoke=is_smoke)
    forget_plan_failure(saved.plan)
    try:
        parameters = hand_over(parameters_of(study, recipe_file, options, where), store)
        run_id = server.submit(plan.recipe.name, name, version, parameters)
    except NoAnswer as error:
        raise NoAnswer(
            f"{error.problem}; whether the run was made is not known", field=error.field, given=error.given,
            allowed=f"look for the run {name!r} on its page; the next `switchpoint submit` looks for it first",
        ) from None  # fmt: skip
    except BadInput:
        forget_submission(store, of_study, before, smoke=is_smoke)
        raise
    save_submission(store, of_study, replace(saved, run_id=run_id), smoke=is_smoke)
    return run_id


def check_space(needed_bytes: int | None, where: str) -> None:
    """Raise BadInput if checkpoints and models do not fit.

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


def refuse_if_running(server: KFPServer, store: Store, study: dict[str, Any], recipe_file: str) -> None:
    """Raise BadInput if a run of the study is running: two at once do nothing twice, but wait for each other.

    The same holds if the server does not tell. The server of today is asked, whatever address the run was submitted to:
    one server has many. A run that was cancelled does not count: where its Workflow is gone it stays CANCELING for
    ever, and where it is not, a new run finds the Jobs that end and makes them again. One that was deleted does not,
    either.
    """
    for what, before in submissions_of(store, study):
        run_id = before.run_id or found_by_name(server, store, study, before, smoke=what == "smoke")
        state = server.state(run_id) if run_id else None
        if state and not state.is_over and not state.is_ending:
            raise BadInput(
                "this study is running", file=recipe_file, given=state.url, allowed="`switchpoint cancel` first"
            )


def found_by_name(
    server: KFPServer, store: Store, study: dict[str, Any], before: Submission, *, smoke: bool
) -> str | None:
    """Return the id of a run whose making was not answered for, and save it; None where it was never made."""
    run_id = server.find(before.experiment, before.name)
    if run_id is not None:
        save_submission(store, study, replace(before, run_id=run_id), smoke=smoke)
    return run_id


def _ended(server: KFPServer, run_id: str) -> RunState:
    """Poll a run to its end, or until it was cancelled: it stays CANCELING for ever where its Workflow is gone."""
    polled = retry(
        retry=retry_if_exception_type(NoAnswer), stop=stop_after_delay(AWAY_SECONDS), wait=wait_fixed(POLL_SECONDS),
        before_sleep=_say_once, reraise=True,
    )(server.state)  # fmt: skip
    while True:
        state = polled(run_id)
        if state.is_over or state.is_ending:
            return state
        time.sleep(POLL_SECONDS)


def _say_once(attempt: RetryCallState) -> None:
    if attempt.attempt_number == 1 and attempt.outcome:
        said = f"{attempt.outcome.exception()}: polled for {AWAY_SECONDS / 60:g} minutes"
        print(said, file=sys.stderr, flush=True)


def _run_smoke(
    server: KFPServer, version: str, study: dict[str, Any], plan: Plan, recipe_file: str, where: str, console: Console
) -> tuple[RunState, list[str]]:
    """Run a few steps of the study to their end; return how the run ended, and why it failed."""
    small = smoke_study(study, plan, os.environ.get(SITE_VARIABLE, ""), version_name())
    check = current_rung(small, recipe_file, where)
    store = store_at(where)
    # Known as the study's smoke run: `cancel` ends it, and `retry` is about the study's own.
    run_id = start_run(server, store, version, small, check.plan, recipe_file, "", where, known_as=study)
    console.print(f"smoke run: {page_of(server.given_url, run_id)}", highlight=False, soft_wrap=True)
    try:
        state = _ended(server, run_id)
    except BadInput as error:
        raise BadInput(
            f"{error.problem}; the smoke run may go on", field=error.field, given=error.given,
            allowed="`switchpoint cancel` ends the smoke run; then the same command again",
        ) from None  # fmt: skip
    if state.state == "SUCCEEDED":
        return state, []
    plan, store = planned_or_given(small, check.plan, store)
    failed = why_failed(plan, store, plan_reference(small, store), state)
    write_missing_report(plan, store, recipe_file, "--smoke")
    return state, [*failed, f"its report: {store.output_location(plan.report)}/report.html"]
