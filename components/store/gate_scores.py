"""What gates have decided, from the records in the store: the plan goes by it, and no digest does."""

from collections.abc import Mapping
from typing import Any

from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.gate import Check, GateScores
from switchpoint.components.recipe.halving import Stops
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.store.store import Store

GATE, ENDED_STEP = "gate", "ended_step"
"""In the record of a gated output: its checks, and the step at which the phase ended, once that is decided."""


def expand_as_decided(recipe: Recipe, input_digests: Mapping[str, str], file: str, stops: Stops, store: Store) -> Plan:
    """Return the plan, with phases and arms ended where their gates have ended them. Raises BadInput."""
    plan = expand(recipe, input_digests, file, stops)
    scores = _gate_scores(plan, store)
    return expand(recipe, input_digests, file, stops, scores) if scores else plan


def _gate_scores(plan: Plan, store: Store) -> GateScores:
    found = {}
    for run in plan.runs:
        record = store.record(run.identity) if run.checks else None
        if record is not None:
            found[run.identity.digest] = {check["step"]: check["value"] for check in record["outputs"].get(GATE, [])}
    return found


def record_check(store: Store, run: Trained, check: Check) -> None:
    """Add a decided check to the record of its output, and where the phase ended if the check decides that."""
    record = store.record(run.identity)
    assert record is not None, run.identity.path
    outputs = record["outputs"]
    others = [one for one in outputs.get(GATE, []) if one["step"] != check.step]
    outputs[GATE] = sorted([*others, _as_data(check)], key=lambda one: one["step"])
    if check.holds or check.step == check.gate.steps[-1]:
        outputs[ENDED_STEP] = check.step
    store.rewrite_record(run.identity, record)


def _as_data(check: Check) -> dict[str, Any]:
    return {
        "step": check.step, "score": check.gate.score, "value": check.value, **check.gate.limit, "holds": check.holds,
        "evaluation": check.evaluation.path,
    }  # fmt: skip
