"""The step at which a phase ends, from the way a recipe gives it (law 4)."""

import math

from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.phase import Switch
from switchpoint.components.recipe.schedule import Schedule


def switch_step(until: Switch, schedule: Schedule, clock: Clock, zero_step: int, field: str) -> int:
    """Return the step at which the phase ends. `schedule` begins at `zero_step` of the run that `clock` counts.

    Raise BadInput if it is never reached.
    """
    zero_tokens = clock.tokens_at(zero_step)
    if until.steps is not None:
        return zero_step + until.steps
    if until.tokens is not None:
        return clock.step_at(zero_tokens + until.tokens)
    if until.progress is not None:
        return clock.step_at(zero_tokens + math.ceil(until.progress * schedule.horizon_tokens))
    assert until.learning_rate_ratio is not None
    try:
        return _ratio_step(schedule, until.learning_rate_ratio, clock, zero_tokens)
    except ValueError as error:
        floor = schedule.min_learning_rate / schedule.max_learning_rate
        raise BadInput(
            f"the switch lies outside the run: {error}", field=f"{field}.learning_rate_ratio",
            given=f"{until.learning_rate_ratio:g}",
            allowed=f"above the floor ratio {floor:g}, at most 1",
        ) from None  # fmt: skip


def _ratio_step(schedule: Schedule, ratio: float, clock: Clock, zero_tokens: int) -> int:
    """Return the first step whose rate is at or below ratio x maximum, once the maximum was reached.

    In closed form; the neighbours are checked because the inverse is rounded. Raise ValueError if the schedule never
    gets there, or only after the last step began.
    """
    bound = ratio * schedule.max_learning_rate
    first = clock.step_at(zero_tokens + schedule.max_tokens)

    def below(step: int) -> bool:
        return schedule.learning_rate(clock.tokens_at(step) - zero_tokens) <= bound

    step = max(first, clock.step_at(zero_tokens + schedule.tokens_at(bound)))
    while step > first and below(step - 1):
        step -= 1
    last = clock.step_at(zero_tokens + schedule.horizon_tokens)
    while step < last and not below(step):
        step += 1
    return step
