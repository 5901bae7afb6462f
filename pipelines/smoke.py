"""A few steps of a study at its true geometry: does it fit, does it save, does it load (pure)."""

from typing import Any

from components.recipe.plan import Plan

STEPS = 5
"""Of each phase."""
LEFT_OUT = (
    "grid", "halving", "published", "seeds", "seed", "budget", "phases", "schedule", "evaluation", "arms", "switch",
)  # fmt: skip


def smoke_study(study: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """An arm with most phases, cut to five steps of its first blend, and of its last from a checkpoint between them.

    Model, sources, sequence length, batch, processes and pods are the study's; the learning rate is what the arm starts
    with. Nothing that it trains is of use to the study, what it prepares of text and tokens is.
    """
    arm = max(plan.arms, key=lambda one: len(one.phases))
    left = {name: value for name, value in study.items() if name not in LEFT_OUT}
    return left | {
        "name": f"{plan.recipe.name[:56]}-smoke", "seed": arm.seed,
        "gb": arm.phases[0].blend, "qb": arm.phases[-1].blend,
        "switch": {"steps": STEPS}, "horizon_tokens": arm.clock.tokens_at(2 * STEPS),
        "schedule": {"max_learning_rate": arm.schedule.learning_rate(arm.clock.tokens_at(STEPS)) or 1e-6},
        "arms": [{"smoke": {}}],
    }  # fmt: skip
