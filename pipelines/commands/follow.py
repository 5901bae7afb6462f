"""`switchpoint status`: the state of every arm, on this machine or on a cluster, and the pages with more."""

import os
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from switchpoint.components.evaluate import results
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.report.table import title
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.link import experiment_url
from switchpoint.pipelines.commands.arm_state import arm_state
from switchpoint.pipelines.commands.kfp_server import DELETED, URL_VARIABLE, page_of
from switchpoint.pipelines.commands.outcome import why_failed
from switchpoint.pipelines.commands.pods import pods_with
from switchpoint.pipelines.commands.run_control import server_of
from switchpoint.pipelines.commands.submission import Submission, submissions_of


def print_arms(study: dict[str, Any], plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """Print the arms as a table, the study's run in Kubeflow Pipelines, its runs in MLflow; return the same as data."""
    pods = pods_of(plan, console)
    metric = plan.recipe.evaluation.ranked_by
    scores = {row.name: row.scores.get(metric) for row in results.rows(plan, store)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("arm", "phase", "state", "step", "learning rate", title(metric)):
        table.add_column(column, justify="right" if column in ("step", "learning rate") else "left")
    if pods is not None:
        table.add_column("pods", overflow="fold")
    listed = []
    for arm in plan.arms:
        one = arm_state(plan, store, arm)
        score = scores.get(arm.run_name)
        one |= {"score": score["value"] if score else None, "pods": _pods_of_arm(arm, pods)}
        listed.append(one)
        state = one["state"].split("\n")[0]
        cells = [
            escape(arm.run_name), one["phase"], escape(state), f"{one['step']:,} / {one['end_step']:,}",
            "" if one["learning_rate"] is None else f"{one['learning_rate']:.2e}",
            "" if one["score"] is None else f"{one['score']:.3f}",
        ]  # fmt: skip
        table.add_row(*cells, *([] if pods is None else [escape(", ".join(one["pods"]))]))
    console.print(table, highlight=False)
    return {"arms": listed} | _print_links(study, plan, store, console, listed)


def pods_of(plan: Plan, console: Console) -> dict[str, list[str]] | None:
    """Return pods of the study's jobs and their phases, by the digest of the output; None if they are not known."""
    looked = pods_with(f"switchpoint/study={plan.recipe.name}", console)
    if looked is None:
        return None
    found: dict[str, list[str]] = {}
    for pod in looked[1]:
        digest = pod["metadata"]["labels"].get("switchpoint/output", "")
        found.setdefault(digest, []).append(f"{pod['metadata']['name']} {pod.get('status', {}).get('phase', '')}")
    return found


def _pods_of_arm(arm: ArmPlan, pods: dict[str, list[str]] | None) -> list[str]:
    return [name for identity in arm.runs for name in (pods or {}).get(identity.digest, [])]


def _print_links(
    study: dict[str, Any], plan: Plan, store: Store, console: Console, arms: list[dict[str, Any]]
) -> dict[str, Any]:
    """Show the newest run, why it failed, its tasks that are going or failed, and MLflow's experiment.

    `arms`: the state of each.
    """
    data: dict[str, Any] = {"kfp": None, "mlflow": experiment_url(store, plan.recipe.name)}
    for what, submission in submissions_of(store, study)[:1]:
        of_run: Plan | None = plan
        if what == "smoke":  # which has a plan of its own
            planned = submission.planned()
            of_run = planned.plan if planned else None
            arms = [arm_state(of_run, store, arm) for arm in of_run.arms] if of_run else []
        data["kfp"] = found = _kfp_run(what, submission, of_run, store, console)
        data["mlflow"] = data["mlflow"] or found.pop("mlflow_url", "")
        label = "KFP:   " if what == "study" else "smoke: "
        console.print(f"{label}  {found['state']}  {found['url']}", highlight=False, soft_wrap=True, markup=False)
        for line in (*found["failures"], *_tasks(found["tasks"], of_run, arms)):
            console.print(f"         {line}", highlight=False, soft_wrap=True, markup=False)
    if data["mlflow"]:
        console.print(f"MLflow:  {data['mlflow']}", highlight=False, soft_wrap=True, markup=False)
    return data


def _tasks(tasks: dict[str, dict[str, int]], plan: Plan | None, arms: list[dict[str, Any]]) -> list[str]:
    """Return a line for each task of ours that is going or failed, with the arms that it is at."""
    lines = []
    for name, states in tasks.items():
        left = {state: number for state, number in states.items() if state not in ("SUCCEEDED", "SKIPPED")}
        if left:
            at = _arms_at(name, plan, arms) if plan and "RUNNING" in left else []
            shown = ", ".join(
                f"{number} {state.lower()}" if number > 1 else state.lower() for state, number in left.items()
            )
            lines.append(f"{name}: {shown}" + (f" ({', '.join(at)})" if at else ""))
    return lines


def _arms_at(task: str, plan: Plan, arms: list[dict[str, Any]]) -> list[str]:
    """Return the names of the arms that are in the phases that the task trains."""
    shared = {run.identity.path for run in plan.gb_runs}
    at = {"train-gb": shared, "train-qb": {run.identity.path for run in plan.runs} - shared}.get(task, set())
    return [one["arm"] for one in arms if one["state"] in ("training", "waiting") and one["run"] in at]


def _kfp_run(what: str, submission: Submission, plan: Plan | None, store: Store, console: Console) -> dict[str, Any]:
    url = page_of(os.environ.get(URL_VARIABLE) or submission.kfp_url, submission.run_id)
    found: dict[str, Any] = {"what": what, "run_id": submission.run_id, "url": url, "state": "unknown", "failures": [],
                             "tasks": {}}  # fmt: skip
    if not submission.run_id:
        console.print("note: whether the last run was made is not known: submit again, or retry", style="yellow")
        return found
    try:
        state = server_of(submission).state(submission.run_id)
    except BadInput as error:
        console.print(f"note: {error.problem}", style="yellow", highlight=False)
        return found
    shown = "CANCELED" if state.state == "FAILED" and submission.cancelled else state.state
    failures = why_failed(plan, store, submission.plan, state) if shown in ("FAILED", DELETED) else []
    tasks = {} if state.state == "SUCCEEDED" else state.our_tasks()
    return found | {"state": shown, "failures": failures, "tasks": tasks, "mlflow_url": state.mlflow_url}
