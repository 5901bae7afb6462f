"""Where arms end at the points of successive halving, and what a study then takes at most."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from components.recipe.halving import Halving, Stop, Stops
from components.recipe.plan import Plan


def stops_at(plan: Plan, point: Fraction, stopped: Mapping[str, Stop]) -> Stops:
    """Every arm of the whole plan up to `point`; those that were stopped before stay where they are."""
    found = {}
    for arm in plan.arms:
        step = max(1, arm.clock.step_at(math.ceil(point * arm.horizon_tokens)))
        found[arm.run_name] = stopped.get(arm.run_name, Stop(step=step))
    return found


def most_tokens(halving: Halving, plans: Sequence[Plan]) -> int:
    """Tokens that the study takes at most. `plans`: with all arms up to each point, then the whole one."""
    total, before = plans[0].tokens_shared, plans[0]
    left = len({arm.arm_id for arm in plans[0].arms})
    for plan in plans[1:]:
        left = halving.num_kept(left)
        by_arm: dict[str, int] = {}
        for earlier, arm in zip(before.arms, plan.arms, strict=True):
            by_arm[arm.arm_id] = by_arm.get(arm.arm_id, 0) + arm.horizon_tokens - earlier.horizon_tokens
        alone = sum(sorted(by_arm.values(), reverse=True)[:left])
        total += min(alone, plan.tokens_shared - before.tokens_shared)
        before = plan
    return total
