"""A few steps of a study at its true geometry: does it fit, does it save, does it load (pure)."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.blend import Weights
from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.recipe.phase import SHORT_FORM
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.recipe import OF_SEVERAL_ARMS
from switchpoint.components.recipe.source import split_key
from switchpoint.components.recipe.stage import Phase

STEPS = 5
"""The steps of each phase."""
LEFT_OUT = (*OF_SEVERAL_ARMS, "seed", "budget", "evaluation", *SHORT_FORM)
LONGEST, PARTS = 10**20, 10**18
"""What a recipe takes as a denominator; into how many parts weights are rounded that would have a longer one."""


def smoke_study(study: dict[str, Any], plan: Plan, site: str = "", version: str = "") -> dict[str, Any]:
    """Return a study of the phases of the arm that has most, and those of other arms whose geometry it has not, cut to
    five steps each.

    Every phase after the first begins its own schedule from the checkpoint before it: that makes it exactly five steps
    long at any geometry, and a save and a load between phases that are alike. A single phase is run twice for that.
    Model, processes and pods are the study's, weights are those that its phases come to, a growing batch is as large as
    it gets; the learning rate is what the phase starts with. Nothing that it trains is of use to the study, what it
    prepares of text and tokens is.

    Whether it fits depends on what is in no digest: processes, pods, the site (its image), the version of the pipeline.
    So the seed is made of those, and where one has changed nothing of an earlier smoke run is found done, but the base.
    """
    found = list(_phases(plan))
    first, _ = found[0]
    blends: dict[str, Any] = {}
    phases: dict[str, dict[str, Any]] = {}
    for number, (arm, phase) in enumerate(found if len(found) > 1 else found * 2):
        blends |= _blends(f"smoke-{number}", phase.weights)
        length, batch = phase.sequence_length, _batch_size(arm, phase)
        start_rate = arm.schedule.learning_rate(arm.clock.tokens_at(phase.start_step + STEPS))
        phases[f"phase-{number}"] = {
            "blend": f"smoke-{number}", "sequence_length": length, "batch_size": batch,
            "packing": phase.settings.packing, "schedule": {"max_learning_rate": start_rate or 1e-6},
            "horizon_tokens": STEPS * batch * length,
        } | ({"start": "new_schedule"} if number else {})  # fmt: skip
    left = {name: value for name, value in study.items() if name not in LEFT_OUT}
    return left | {
        "name": f"{plan.recipe.name[:56]}-smoke", "seed": _seed(first.seed, plan, site, version),
        "start": first.phases[0].start,
        "blends": study.get("blends", {}) | blends, "phases": [{name: phase} for name, phase in phases.items()],
        "arms": [{"smoke": {} if first.base == BASE else {"base": first.base}}],
    }  # fmt: skip


def _seed(seed: int, plan: Plan, site: str, version: str) -> int:
    """Return a seed of 32 bits, as the order of Megatron takes them."""
    recipe = plan.recipe
    settings = [recipe.training.model_dump(mode="json"), recipe.cluster.model_dump(mode="json")]
    return int(digest_of([seed, settings, site, version])[:8], 16)


def _phases(plan: Plan) -> Iterator[tuple[ArmPlan, Phase]]:
    most = max(plan.arms, key=lambda one: len(one.phases))
    yield from ((most, phase) for phase in most.phases)
    seen = {_geometry(most, phase) for phase in most.phases}
    for arm in plan.arms:
        for phase in arm.phases:
            if _geometry(arm, phase) not in seen:
                seen.add(_geometry(arm, phase))
                yield arm, phase


def _geometry(arm: ArmPlan, phase: Phase) -> tuple[int, int, str]:
    return phase.sequence_length, _batch_size(arm, phase), phase.settings.packing


def _batch_size(arm: ArmPlan, phase: Phase) -> int:
    """Return the largest batch size of the phase: batches only grow."""
    return arm.clock.batch_size(phase.end_step - 1)


def _blends(name: str, weights: Weights) -> dict[str, Any]:
    """Return the weights as a recipe writes them. A source that is drawn by several tiers takes a blend for each."""
    weights = _short(weights)
    own: dict[str, tuple[str | None, Fraction]] = {}
    others: Weights = {}
    for key, weight in weights.items():
        source, tier = split_key(key)
        if source in own:
            others[key] = weight
        else:
            own[source] = tier, weight
    share = sum(others.values(), Fraction(0))
    explicit = {
        source: {"weight": str(weight / (1 - share)), "tier": tier} if tier else str(weight / (1 - share))
        for source, (tier, weight) in own.items()
    }
    if not others:
        return {name: explicit}
    rest, of = f"{name}-rest", f"{name}-tiers"
    both = {"by": "share", "share": str(share), "of": of, "rest": rest}
    return {name: both, rest: explicit} | _blends(of, {key: weight / share for key, weight in others.items()})


def _short(weights: Weights) -> Weights:
    """Return the weights: unchanged if a recipe can say them, else in whole parts; they sum to exactly 1 either way."""
    if math.lcm(*(weight.denominator for weight in weights.values())) < LONGEST:
        return weights
    parts = {key: max(1, int(weight * PARTS)) for key, weight in weights.items()}
    largest = max(parts, key=lambda key: parts[key])
    parts[largest] += PARTS - sum(parts.values())
    return {key: Fraction(number, PARTS) for key, number in parts.items()}
