"""Learning-rate schedules: pure functions of the tokens consumed (law 4)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then a half cosine from the maximum to the minimum at the horizon.

    For continued pretraining (arXiv 2407.07263): the maximum is the pretraining's minimum, no warm-up, and the
    minimum a hundredth of the maximum.
    """

    max_learning_rate: float
    min_learning_rate: float
    horizon_tokens: int
    warmup_tokens: int = 0

    def learning_rate(self, tokens: int) -> float:
        """The learning rate of the step that begins after `tokens` (0 <= tokens <= horizon_tokens)."""
        if tokens < self.warmup_tokens:
            return self.max_learning_rate * tokens / self.warmup_tokens
        progress = (tokens - self.warmup_tokens) / (self.horizon_tokens - self.warmup_tokens)
        span = self.max_learning_rate - self.min_learning_rate
        return self.min_learning_rate + span * 0.5 * (1.0 + math.cos(math.pi * progress))

    def tokens_at(self, learning_rate: float) -> float:
        """Where the decay reaches `learning_rate`: the inverse, in closed form.

        Raises ValueError if it never does.
        """
        if not self.min_learning_rate <= learning_rate <= self.max_learning_rate:
            raise ValueError(
                f"the schedule runs from {self.max_learning_rate:g} to {self.min_learning_rate:g} "
                f"and never reaches {learning_rate:g}"
            )
        span = self.max_learning_rate - self.min_learning_rate
        share = 2.0 * (learning_rate - self.min_learning_rate) / span - 1.0 if span else 1.0
        progress = math.acos(max(-1.0, min(1.0, share))) / math.pi
        return self.warmup_tokens + progress * (self.horizon_tokens - self.warmup_tokens)


def switch_step(schedule: Cosine, ratio: float, tokens_per_step: int) -> int:
    """The first step whose learning rate is at or below ratio x maximum, once the maximum was reached.

    In closed form; the neighbours are looked at because the inverse is rounded. Raises ValueError where the
    schedule never gets there.
    """
    bound = ratio * schedule.max_learning_rate
    step = max(0, math.ceil(schedule.tokens_at(bound) / tokens_per_step) - 1)
    first = -(-schedule.warmup_tokens // tokens_per_step)
    step = max(step, first)
    while schedule.learning_rate(step * tokens_per_step) > bound:
        step += 1
    return step


def whole_steps(tokens: int, tokens_per_step: int) -> int:
    """Steps that hold `tokens`: a horizon is rounded up to whole steps."""
    return -(-tokens // tokens_per_step)
