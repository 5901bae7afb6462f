"""Successive halving (arXiv 1502.07943): at stated points the better part of the arms continues, the others stop."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import Field, field_validator

from switchpoint.components.recipe.fields import Config, Fraction01


class Halving(Config):
    """All arms run to the first point, are evaluated there, and so on."""

    at: Annotated[list[Fraction01], Field(min_length=1, max_length=20)]
    """Fractions of each arm's horizon, ascending."""
    keep: Fraction01 = Fraction(1, 2)
    """The part of the arms that continues at a point, rounded up."""
    metric: str | None = None
    """The score that decides, a mean over seeds. Not given: the evaluation's `metric`."""

    @field_validator("at")
    @classmethod
    def _ascending(cls, points: list[Fraction]) -> list[Fraction]:
        if sorted(set(points)) != points or not 0 < points[0] <= points[-1] < 1:
            raise ValueError("points are fractions between 0 and 1, ascending")
        return points

    @field_validator("keep")
    @classmethod
    def _some(cls, keep: Fraction) -> Fraction:
        if not 0 < keep < 1:
            raise ValueError("`keep:` lies between 0 and 1")
        return keep

    def num_kept(self, num_arms: int) -> int:
        return max(1, math.ceil(num_arms * self.keep))


class Stop(Config):
    """The step at which an arm ends before its horizon."""

    step: int
    reason: str = ""
    """Why the arm does not continue; empty if it still may."""


Stops = dict[str, Stop]
"""Stops by run name."""


Models = tuple[str, ...]
"""The evaluated models of an arm at a point: the digest of each seed's evaluation. Arms that have not parted yet have
the same."""


def decide(
    halving: Halving, point: Fraction, metric: str, values: Mapping[str, float | None], models: Mapping[str, Models]
) -> dict[str, str]:
    """Return why each arm that stops at `point` does, by arm. `values`: the score of every arm that came so far, better
    is higher; None where it failed.

    Arms with the same models continue together, also where only some of them are among the better part: nothing is
    known yet of what they will differ by. Different models with the same score, as discrete scores have, are ranked in
    the recipe's order: if all continued, the study's cost would have no upper bound.
    """
    ranked = sorted(
        (arm_id for arm_id, value in values.items() if value is not None), key=lambda arm_id: -(values[arm_id] or 0.0)
    )
    better = {models[arm_id] for arm_id in ranked[: halving.num_kept(len(values))]}
    kept = [arm_id for arm_id in ranked if models[arm_id] in better]
    reasons = {}
    for arm_id, value in values.items():
        if value is None:
            reasons[arm_id] = f"it had no {metric} at {float(point):.0%} of its horizon"
        elif arm_id not in kept:
            place = ranked.index(arm_id) + 1
            reasons[arm_id] = (
                f"{metric} {abs(value):.4f} at {float(point):.0%} of its horizon: place {place} of {len(values)}, and "
                f"{len(kept)} went on"
            )
    return reasons
