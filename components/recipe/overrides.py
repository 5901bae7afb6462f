"""What arms change in the recipe, in words: for arms that their blends do not tell apart (pure)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.plan import ArmPlan, Plan

SHOWN_AS_BLENDS = ("gb", "qb", "base", "blend")
"""The fields that the column of blends shows."""


def described_differences(plan: Plan) -> dict[str, str]:
    """Return the overrides of each arm, as `optimizer.weight_decay 0.2`, by its name; without the arms that their
    blends tell from all others.
    """
    blends = {arm.arm_id: _blends(arm) for arm in plan.arms}
    arms_with = Counter(blends.values())
    alike = [arm_id for arm_id, own in blends.items() if arms_with[own] > 1]
    written = arms_of(plan.recipe) if alike else {}
    found = {}
    for arm_id in alike:
        overrides = written[arm_id][1].model_dump(mode="json", exclude_unset=True)
        found[arm_id] = ", ".join(f"{name} {value}" for name, value in _fields(overrides)) or "as the recipe"
    return found


def _blends(arm: ArmPlan) -> tuple[str, ...]:
    return (arm.base, *(phase.blend for phase in arm.phases))


def _fields(written: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in written.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{path}{name}.")
        elif name not in SHOWN_AS_BLENDS:
            yield f"{path}{name}", f"{value:,}" if type(value) is int else str(value)
