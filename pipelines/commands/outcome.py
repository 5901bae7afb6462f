"""How a run of the pipeline ended, from the store: why it failed, and the report where the run ended before writing it.

Neither Kubeflow Pipelines nor its local runner tells a reason; an arm's launcher writes it into the store.
"""

import os
from typing import Any

from switchpoint.components.evaluate.results import NOT_RUN
from switchpoint.components.launch.task import WAIT_SECONDS, task_lock_file
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.outcome import failures_of, one_line
from switchpoint.components.report.run import report_is_written, write_report
from switchpoint.components.store.lock import locked
from switchpoint.components.store.plan_file import load_plan, plan_failure, plan_reference
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.arm_state import arm_state
from switchpoint.pipelines.commands.kfp_server import RunState

FAILED_STATES = ("FAILED", "ERROR", "SYSTEM_ERROR", "OMITTED")
"""Argo's and KFP's words for a task that did not end well."""


def planned_or_given(study: dict[str, Any], plan: Plan, store: Store) -> tuple[Plan, Store]:
    """Return the plan that the run's own first task wrote, whose text may be another; `plan` where it wrote none."""
    try:
        planned = load_plan(plan_reference(study, store))
    except RuntimeError:
        return plan, store
    return planned.plan, planned.store


def why_failed(plan: Plan | None, store: Store, reference: str, state: RunState | None = None) -> list[str]:
    """Return a line for each cause, with the arms that it kept from their scores; tasks that left no cause at the end.

    Where the task `plan` failed it is the only cause: the others in the store are those of earlier runs. `plan`: None
    where there is none. `reference`: that of the plan that the run was to write. `state`: the run on Kubeflow
    Pipelines, whose tasks can be named.
    """
    tasks = state.our_tasks() if state is not None else {}
    lost = [name for name, states in tasks.items() if set(states) & set(FAILED_STATES) and name != "check-outcome"]
    not_planned = plan_failure(reference)
    lines = []
    if not_planned:
        lines = [f"plan: {one_line(not_planned)}"]
    elif plan is not None and "plan" not in lost:
        causes: dict[str, list[str]] = {}
        for failure in failures_of(plan, store):
            if failure.reason != NOT_RUN:
                causes.setdefault(failure.line, []).append(failure.name)
        lines = [f"{', '.join(names)}: {reason}" for reason, names in causes.items()]
        lines += _unfinished(plan, store)
    if lost:
        lines.append(f"tasks that failed on Kubeflow Pipelines: {', '.join(lost)}")
    return lines


def _unfinished(plan: Plan, store: Store) -> list[str]:
    """Return what began and left neither its output nor a reason: the process that followed it was killed, or its pod
    lost.
    """
    found: dict[str, list[str]] = {}
    for arm in plan.arms:
        one = arm_state(plan, store, arm)
        if one["stopped"]:
            continue
        if one["state"] == "training":
            where = f"{one['phase']} stopped at step {one['step']:,} of {one['end_step']:,}"
        elif one["state"] == "waiting" and store.is_begun(one["run"]):
            where = f"{one['phase']} stopped before its first step"
        else:
            continue
        found.setdefault(where, []).append(arm.run_name)
    return [
        f"{', '.join(names)}: {where} without a reason: the process or pod that followed it was ended from outside, "
        "for want of memory or by a drain; what it trained is kept, and its Job may still run"
        for where, names in found.items()
    ]


def is_begun(plan: Plan, store: Store) -> bool:
    """Return whether anything of the study was made, or failed."""
    return any(store.is_done(identity) or store.failure(identity) is not None for identity in plan.identities())


def write_missing_report(
    plan: Plan, store: Store, recipe_file: str, options: str, *, is_finished: bool = True, may_run: bool = False
) -> None:
    """Write the report, as the task `report` does, unless a complete one is there.

    `may_run`: whether a run of the study may be going; MLflow then waits for arms that are unfinished. Without the
    address of an MLflow server, a study whose store is remote is not logged either: a database on this machine would
    be another one than the study's.
    """
    with locked(task_lock_file(store, plan.report), WAIT_SECONDS):
        if not report_is_written(plan, store):
            is_tracked = not store.url or bool(os.environ.get("MLFLOW_TRACKING_URI"))
            is_tracked &= not (may_run and _unfinished(plan, store))
            write_report(plan, store, recipe_file, options, is_finished=is_finished, is_tracked=is_tracked)
