"""The ends of arms at the points of successive halving, and what a study then takes at most."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from switchpoint.components.recipe.halving import Halving, Models, Stop, Stops
from switchpoint.components.recipe.plan import Plan


def stops_at(plan: Plan, point: Fraction, stopped: Mapping[str, Stop]) -> Stops:
    """Return the end of every arm of the whole plan at `point`; those that were stopped before keep theirs."""
    found = {}
    for arm in plan.arms:
        step = max(1, arm.clock.step_at(math.ceil(point * arm.horizon_tokens)))
        found[arm.run_name] = stopped.get(arm.run_name, Stop(step=step))
    return found


def models_at(plan: Plan) -> dict[str, Models]:
    """Return the models that every arm is evaluated as at its end in `plan`, by arm."""
    found: dict[str, Models] = {}
    for arm in plan.arms:
        found[arm.arm_id] = (*found.get(arm.arm_id, ()), arm.evaluation.digest)
    return found


def most_tokens(halving: Halving, plans: Sequence[Plan]) -> int:
    """Return the tokens that the study takes at most. `plans`: with all arms up to each point, then the whole one.

    If k arms continue, so do the arms that have not parted yet from the last of them: at most k - 1 arms and one such
    group. So the part up to the next point is bounded by the dearest group with the k - 1 dearest arms beside it, each
    trained alone, and by what all arms share.
    """
    total, before = plans[0].tokens_shared, plans[0]
    left = len({arm.arm_id for arm in plans[0].arms})
    for plan in plans[1:]:
        by_arm: dict[str, int] = {}
        for earlier, arm in zip(before.arms, plan.arms, strict=True):
            by_arm[arm.arm_id] = by_arm.get(arm.arm_id, 0) + arm.horizon_tokens - earlier.horizon_tokens
        groups: dict[Models, list[str]] = {}
        for arm_id, models in models_at(before).items():
            groups.setdefault(models, []).append(arm_id)
        beside = halving.num_kept(left) - 1
        alone = max(_dearest(by_arm, group, beside) for group in groups.values())
        left = min(left, beside + max(map(len, groups.values())))
        total += min(alone, plan.tokens_shared - before.tokens_shared)
        before = plan
    return total


def _dearest(by_arm: Mapping[str, int], group: Sequence[str], beside: int) -> int:
    """Return the tokens of the group and of the dearest arms that are not in it, `beside` in number."""
    others = sorted((tokens for arm_id, tokens in by_arm.items() if arm_id not in group), reverse=True)
    return sum(by_arm[arm_id] for arm_id in group) + sum(others[:beside])
