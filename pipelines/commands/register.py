"""`switchpoint register`: the model of the best arm, or of one that is named, in MLflow's model registry."""

from typing import Any

from rich.console import Console

from switchpoint.components.evaluate import results
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.registry import register_best
from switchpoint.pipelines.commands.rungs import Rung


def print_registered(rung: Rung, store: Store, name: str, arm: str | None, console: Console) -> dict[str, Any]:
    """Register a model and print its version. Raise BadInput if there is nothing to register."""
    if not rung.is_last:
        raise BadInput("there is nothing to register: the study's arms are not at their ends", allowed="run it first")
    plan = rung.plan
    row_name = _row_name(plan, store, arm)
    version = register_best(plan, store, name, row_name)
    console.print(f"{row_name} is version {version} of {name}: models:/{name}/{version}", highlight=False)
    return {"name": name, "version": version, "arm": row_name, "uri": f"models:/{name}/{version}"}


def _row_name(plan: Plan, store: Store, arm: str | None) -> str:
    """Return the name of a row: of an arm with several seeds, the best one's."""
    known = [*(one.run_name for one in plan.arms), *(one.run_name for one in plan.derived)]
    if arm is not None and arm in known:
        return arm
    rows = [row for row in results.rows(plan, store) if row.made and arm in (None, row.arm_id)]
    if not rows:
        raise BadInput("no such arm", field="--arm", given=arm, allowed=", ".join(known))
    best = results.best_row(plan, rows)
    if best is None:
        raise BadInput(
            "there is nothing to register: no arm has scores", field="--arm" if arm else "", given=arm or "",
            allowed="a study that `switchpoint run` has finished",
        )  # fmt: skip
    return best.name
