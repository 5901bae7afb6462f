"""`switchpoint status`: where every arm stands, on this machine or on a cluster, and where to look."""

import os
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.recipe.errors import BadInput
from components.recipe.plan import ArmPlan, Plan, TrainingRun
from components.report import results
from components.report.table import title
from components.store.store import Store
from components.tracking.link import experiment_url
from components.train.metrics import rows_of
from components.train.run import run_is_done
from pipelines.kfp_server import URL_VARIABLE, KFPServer, page_of
from pipelines.pods import pods_with
from pipelines.submission import Submission, submissions_of


def print_arms(study: dict[str, Any], plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """The arms as a table, the study's run in Kubeflow Pipelines, its runs in MLflow; the same as data."""
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
        cells = [
            escape(arm.run_name), one["phase"], escape(one["state"]), f"{one['step']:,} / {one['end_step']:,}",
            "" if one["learning_rate"] is None else f"{one['learning_rate']:.2e}",
            "" if one["score"] is None else f"{one['score']:.3f}",
        ]  # fmt: skip
        table.add_row(*cells, *([] if pods is None else [escape(", ".join(one["pods"]))]))
    console.print(table, highlight=False)
    return {"arms": listed} | _print_links(study, plan, store, console)


def arm_state(plan: Plan, store: Store, arm: ArmPlan) -> dict[str, Any]:
    """The phase that the arm has come to, its step and learning rate."""
    runs = [plan.run(identity.digest) for identity in arm.runs]
    ends = [*(run.start_step for run in runs[1:]), arm.horizon_steps]
    at: TrainingRun = runs[-1]
    state, step, learning_rate = "done", arm.horizon_steps, None
    for run, end in zip(runs, ends, strict=True):
        rows = list(rows_of(store, run.identity, end))
        if rows:
            learning_rate = rows[-1]["learning_rate"]
        if run_is_done(plan, store, run):
            continue
        failure = store.failure(run.identity)
        step, at = rows[-1]["step"] if rows else run.start_step, run
        state = f"failed: {failure['reason']}" if failure else "training" if rows else "waiting"
        break
    return {
        "arm": arm.run_name, "phase": at.phases[-1].name, "state": (arm.stopped and f"stopped: {arm.stopped}") or state,
        "step": step, "end_step": arm.horizon_steps, "learning_rate": learning_rate,
    }  # fmt: skip


def pods_of(plan: Plan, console: Console) -> dict[str, list[str]] | None:
    """Pods of the study's jobs and their phases, by the digest of the output; None where they are not known."""
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


def _print_links(study: dict[str, Any], plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """Of the newest run: its state, what it says of an error, the tasks that go on or failed; MLflow's experiment."""
    data: dict[str, Any] = {"kfp": None, "mlflow": experiment_url(store, plan.recipe.name)}
    for what, submission in submissions_of(store, study)[:1]:
        data["kfp"] = found = _kfp_run(what, submission, console)
        data["mlflow"] = data["mlflow"] or found.pop("mlflow_url", "")
        label = "KFP:   " if what == "study" else "smoke: "
        console.print(f"{label}  {found['state']}  {found['url']}", highlight=False, soft_wrap=True, markup=False)
        if found["error"]:
            console.print(f"         {found['error']}", highlight=False, soft_wrap=True, markup=False)
        going = [f"{name} {state.lower()}" for name, state in found["tasks"] if state not in ("SUCCEEDED", "SKIPPED")]
        if going:
            console.print(f"         {', '.join(going)}", highlight=False, soft_wrap=True, markup=False)
    if data["mlflow"]:
        console.print(f"MLflow:  {data['mlflow']}", highlight=False, soft_wrap=True, markup=False)
    return data


def _kfp_run(what: str, submission: Submission, console: Console) -> dict[str, Any]:
    url = page_of(os.environ.get(URL_VARIABLE) or submission.kfp_url, submission.run_id)
    found = {"what": what, "run_id": submission.run_id, "url": url, "state": "unknown", "error": "", "tasks": []}
    try:
        state = KFPServer("" if os.environ.get(URL_VARIABLE) else submission.kfp_url).state(submission.run_id)
    except BadInput as error:
        console.print(f"note: {error.problem}", style="yellow", highlight=False)
        return found
    tasks = [list(task) for task in state.tasks]
    return found | {"state": state.state, "error": state.error, "tasks": tasks, "mlflow_url": state.mlflow_url}
