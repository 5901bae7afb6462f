"""How each row of a report is made again, and what shows that it is the same."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from switchpoint.components.evaluate.results import Row
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Import
from switchpoint.components.store.store import MODEL_FOLDER, Store
from switchpoint.components.train.outputs import model_in_store


@dataclass(frozen=True, kw_only=True)
class Again:
    """How a row is reproduced: the weights' digest says whether it is the same."""

    name: str
    command: str
    """What makes the row alone; for a base, a merge and an arm that halving stopped, the study's own command."""
    stopped: str
    """Why the arm was stopped: alone, one that halving stopped would be trained to its end."""
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
        if row.made is None:
            base = plan.bases[row.name]
            made = {one.output.identity.digest: one.output.identity for one in plan.lineage(base)}
            runs = list(made.values())
            model = "" if isinstance(base.output.stage, Import) else model_in_store(plan, store, base.model)
        elif row.arm is not None:
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
    """What makes one arm again, in a store of its own; empty where only the study does."""
    if row.arm is None or (row.stopped and not row.arm.ended_at_gate):
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
    model = row.model(plan)
    record = store.record(model.inputs.get("run", model))
    found = (record or {"outputs": {}})["outputs"].get("weights_sha256", "")
    return found if isinstance(found, str) else found.get(str(model.config["step"]), "")
