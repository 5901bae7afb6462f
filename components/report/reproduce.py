"""How each row of a report is made again, and what shows that it is the same."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.results import Row
from switchpoint.components.store.store import MODEL_FOLDER, Store


@dataclass(frozen=True, kw_only=True)
class Again:
    """How a row is reproduced: the weights' digest says whether it is the same."""

    name: str
    command: str
    """The command for the row alone; for the base, a merge and an arm that was stopped, the study's own command."""
    stopped: str
    """Why the arm was stopped: alone, it would continue."""
    runs: tuple[str, ...]
    """The outputs that the row is made by, in order: paths in the store."""
    weights_sha256: str
    model: str


def command(recipe_file: str, options: str, store: Store) -> str:
    """Return the command that runs the whole study; what is done is not done again."""
    return " ".join(
        filter(None, ["switchpoint run", shlex.quote(recipe_file), options, f"--store {store.url or store.root}"])
    )


def again(plan: Plan, store: Store, rows: Sequence[Row], recipe_file: str, options: str) -> list[Again]:
    """Return how each row is reproduced."""
    found = []
    for row in rows:
        runs, model = [plan.base], "" if plan.pretraining is None else _model_at(plan.base, plan.pretraining.end_step)
        if row.arm is not None:
            runs = list(row.arm.runs)
            model = _model_at(runs[-1], row.arm.horizon_steps)
        elif row.derived is not None:
            runs = [*(one.inputs["run"] for one in row.derived.output.stage.models), row.derived.model]
            model = f"{row.derived.model.path}/{MODEL_FOLDER}"
        alone = _alone(recipe_file, options, row)
        found.append(
            Again(
                name=row.name, command=alone or command(recipe_file, options, store), stopped=row.stopped,
                runs=tuple(run.path for run in runs), weights_sha256=_weights(plan, store, row), model=model,
            )
        )  # fmt: skip
    return found


def _alone(recipe_file: str, options: str, row: Row) -> str:
    """Return the command that reproduces one arm, in a store of its own; empty if only the study does."""
    if row.arm is None or row.stopped:
        return ""
    arm = "" if "--arm" in options else f"--arm {row.name}"
    return " ".join(filter(None, ["switchpoint run", shlex.quote(recipe_file), options, arm, "--store NEW"]))


def reproduce_table(rows: Sequence[Again]) -> list[list[str]]:
    """Return the table. The first line is the header."""
    lines = [["row", "again", "made by", "weights (SHA-256)", "model"]]
    for one in rows:
        stopped = f" (it was stopped: {one.stopped})" if one.stopped else ""
        lines.append([one.name, f"{one.command}{stopped}", ", ".join(one.runs), one.weights_sha256[:16], one.model])
    return lines


def _model_at(run: Identity, step: int) -> str:
    return f"{run.path}/models/step-{step:08d}"


def _weights(plan: Plan, store: Store, row: Row) -> str:
    """Return the digest of the row's weights; empty where they are not made, or the user's own."""
    model = row.made.model if row.made else plan.base_model
    record = store.record(model.inputs.get("run", model))
    found = (record or {"outputs": {}})["outputs"].get("weights_sha256", "")
    return found if isinstance(found, str) else found.get(str(model.config["step"]), "")
