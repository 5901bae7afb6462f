"""What an arm changes in the recipe, in words: for arms that their blends do not tell apart (pure)."""

from collections.abc import Iterator, Mapping
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.plan import ArmPlan, Plan

SHOWN_AS_BLENDS = ("gb", "qb", "base", "blend")
"""The fields that the column of blends shows."""


def described_difference(plan: Plan, arm: ArmPlan) -> str:
    """Return the overrides, as `optimizer.weight_decay 0.2`; empty where the blends tell the arm from all others."""
    if sum(_blends(other) == _blends(arm) for other in _one_of_each(plan)) < 2:
        return ""
    written = arms_of(plan.recipe)[arm.arm_id][1].model_dump(mode="json", exclude_unset=True)
    return ", ".join(f"{name} {value}" for name, value in _fields(written)) or "as the recipe"


def _one_of_each(plan: Plan) -> list[ArmPlan]:
    return list({arm.arm_id: arm for arm in plan.arms}.values())


def _blends(arm: ArmPlan) -> tuple[str, ...]:
    return (arm.base, *(phase.blend for phase in arm.phases))


def _fields(written: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in written.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{path}{name}.")
        elif name not in SHOWN_AS_BLENDS:
            yield f"{path}{name}", f"{value:,}" if type(value) is int else str(value)
