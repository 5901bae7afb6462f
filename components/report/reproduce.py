"""How each row of a report is made again, and what shows that it is the same."""

import shlex
from pathlib import Path

from components.recipe.plan import ArmPlan, Plan
from components.report.results import Row
from components.store.store import Store


def command(recipe_file: str, options: str, store: Store) -> str:
    """What runs the whole study; what is done is not done again."""
    return " ".join(filter(None, ["switchpoint run", shlex.quote(recipe_file), options, f"--store {store.root}"]))


def reproduce_table(plan: Plan, store: Store, rows: list[Row]) -> list[list[str]]:
    """By row: its seed, the runs that it is made of, and its weights' digest. The first line is the header."""
    lines = [["row", "seed", "made by", "weights (SHA-256)", "model"]]
    for row in rows:
        if row.arm is None:
            runs, seed, folder = [plan.base.path], "", ""
        else:
            runs, seed = [run.path for run in row.arm.runs], str(row.arm.seed)
            last = row.arm.runs[-1]
            folder = str(Path(last.path) / "models" / f"step-{row.arm.horizon_steps:08d}")
        lines.append([row.name, seed, ", ".join(runs), _weights(plan, store, row.arm)[:16], folder])
    return lines


def _weights(plan: Plan, store: Store, arm: ArmPlan | None) -> str:
    record = store.record(plan.base if arm is None else arm.runs[-1])
    found = (record or {"outputs": {}})["outputs"].get("weights_sha256", "")
    return found if isinstance(found, str) else found.get(str(arm.horizon_steps if arm else ""), "")
