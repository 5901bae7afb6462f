"""The state of an arm, from the store: the phase that it has come to, its step and learning rate."""

from typing import Any

from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.store.store import Store
from switchpoint.components.train.metrics import rows_of
from switchpoint.components.train.outputs import run_is_done


def arm_state(plan: Plan, store: Store, arm: ArmPlan) -> dict[str, Any]:
    """Return the arm's `phase`, `run` (the path of the output that the phase writes), `state`, `step`, `end_step`,
    `learning_rate` and whether halving `stopped` it.
    """
    runs = [plan.run(identity.digest) for identity in arm.runs]
    ends = [*(run.stage.start_step for run in runs[1:]), arm.horizon_steps]
    at: Trained = runs[-1]
    state, step, learning_rate = "done", arm.horizon_steps, None
    for run, end in zip(runs, ends, strict=True):
        rows = list(rows_of(store, run.identity, end))
        if rows:
            learning_rate = rows[-1]["learning_rate"]
        if run_is_done(plan, store, run):
            continue
        failure = store.failure(run.identity)
        step, at = rows[-1]["step"] if rows else run.stage.start_step, run
        state = f"failed: {failure['reason']}" if failure else "training" if rows else "waiting"
        break
    return {
        "arm": arm.run_name, "phase": at.stage.phase.name, "run": at.identity.path,
        "state": (arm.stopped and f"stopped: {arm.stopped}") or state, "step": step, "end_step": arm.horizon_steps,
        "learning_rate": learning_rate, "stopped": bool(arm.stopped),
    }  # fmt: skip
