"""How each row of a report is made again, and what shows that it is the same."""

import shlex
from pathlib import Path

from components.recipe.plan import ArmPlan, Plan
from components.report.results import Row
from components.store.store import Store


def command(recipe_file: str, options: str, store: Store) -> str:
    """What runs the whole study; what is done is not done again."""
    return " ".join(
        filter(None, ["switchpoint run", shlex.quote(recipe_file), options, f"--store {store.url or store.root}"])
    )


def alone(recipe_file: str, options: str, row: Row) -> str:
    """What makes one row again, in a store of its own."""
    arm = "" if row.arm is None or "--arm" in options else f"--arm {row.name}"
    return " ".join(filter(None, ["switchpoint run", shlex.quote(recipe_file), options, arm, "--store NEW"]))


def reproduce_table(plan: Plan, store: Store, rows: list[Row]) -> list[list[str]]:
    """By row: the runs that it is made of, its weights' digest, its model. The first line is the header."""
    lines = [["row", "made by", "weights (SHA-256)", "model"]]
    for row in rows:
        runs, folder = [plan.base.path], ""
        if row.arm is not None:
            runs = [run.path for run in row.arm.runs]
            folder = str(Path(runs[-1]) / "models" / f"step-{row.arm.horizon_steps:08d}")
        lines.append([row.name, ", ".join(runs), _weights(plan, store, row.arm)[:16], folder])
    return lines


def _weights(plan: Plan, store: Store, arm: ArmPlan | None) -> str:
    record = store.record(plan.base if arm is None else arm.runs[-1])
    found = (record or {"outputs": {}})["outputs"].get("weights_sha256", "")
    return found if isinstance(found, str) else found.get(str(arm.horizon_steps if arm else ""), "")
