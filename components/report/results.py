"""What came out of a study, read from the store once: the table, MLflow and the report all use this (law 8)."""

from dataclasses import dataclass
from typing import Any

from components.recipe.digest import Identity
from components.recipe.plan import ArmPlan, Plan
from components.store.store import Store
from components.train.metrics import read_metrics


@dataclass(frozen=True, kw_only=True)
class Row:
    """The base, or an arm: its scores, or why it has none."""

    name: str
    arm: ArmPlan | None
    scores: dict[str, dict[str, float]]
    failure: str
    log: str


def rows(plan: Plan, store: Store) -> list[Row]:
    """The base first, then the arms in the recipe's order."""
    chains: list[tuple[str, ArmPlan | None, Identity, list[Identity]]] = [
        ("base", None, plan.base_evaluation, _before_base(plan))
    ]
    for arm in plan.arms:
        chains.append((arm.run_name, arm, arm.evaluation, [*_before_base(plan), *arm.runs]))
    return [_row(store, *chain) for chain in chains]


def _before_base(plan: Plan) -> list[Identity]:
    data = [plan.tokens[key] for key in plan.drawn_sources()]
    data += [phase.blend_identity for phase in plan.blends.values()]
    return [*plan.texts.values(), plan.tokenizer, *data, plan.base]


def _row(store: Store, name: str, arm: ArmPlan | None, evaluation: Identity, before: list[Identity]) -> Row:
    record = store.record(evaluation)
    if record is not None:
        return Row(name=name, arm=arm, scores=record["outputs"]["scores"], failure="", log="")
    for identity in [*before, evaluation]:
        failure = store.failure(identity)
        if failure:
            reason = f"{identity.step} failed: {failure['reason']}"
            return Row(name=name, arm=arm, scores={}, failure=reason, log=failure["log"])
    return Row(name=name, arm=arm, scores={}, failure="not run", log="")


def curve(plan: Plan, store: Store, arm: ArmPlan) -> list[dict[str, Any]]:
    """The arm's rows of metrics over all its steps, the shared GB part included, as far as it was trained."""
    ends = [plan.run(run.digest).start_step for run in arm.runs[1:]] + [arm.horizon_steps]
    return [row for run, end in zip(arm.runs, ends, strict=True) for row in read_metrics(store.path(run), end)]


def score_names(plan: Plan, found: list[Row]) -> list[str]:
    """Scores in the order in which they are shown: accuracy, then bits per byte by source."""
    known = {name for row in found for name in row.scores}
    wanted = [
        "accuracy",
        "accuracy_normalised",
        *(f"bits_per_byte.{source}" for source in plan.recipe.sources),
    ]
    return [name for name in wanted if name in known]


HIGHER_IS_BETTER = ("accuracy", "accuracy_normalised")
