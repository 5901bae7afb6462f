"""Evaluation while a run trains: at which steps, and on how much (arXiv 2205.13452)."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.fields import Config, Count

MAX_POINTS = 20_000
"""The largest number of points of an arm: each is an evaluation, and a point of every curve."""


class Continual(Config):
    """Held-out loss of every source, and some questions, every few steps of every run. In no digest of training: it
    changes no weight, and a run that was trained without it is not trained again for it."""

    every_steps: Count
    dense_steps: Annotated[int, Field(ge=0)] = 0
    """Steps after the start and after every switch that are evaluated more often: the stability gap is short."""
    dense_every_steps: Count = 1
    """The interval of those evaluations, in steps."""
    bytes_per_source: Count = 8_000
    """Held-out bytes of each source: the beginnings of whole documents, as long as a sample."""
    questions: Annotated[int, Field(ge=0)] = 64
    """The number of multiple-choice questions, and about as many of every multiple-choice benchmark of the suites."""

    def steps(self, switches: Iterable[int], end_step: int) -> tuple[int, ...]:
        """Return the steps at which an arm is evaluated: the start (step 0), its switches and its end included.

        Raise BadInput for more than MAX_POINTS.
        """
        switches = list(switches)
        dense = min(self.dense_steps, end_step) // self.dense_every_steps + 2
        number = end_step // self.every_steps + (1 + len(switches)) * dense
        if number > MAX_POINTS:
            raise BadInput(
                f"a run of {end_step:,} steps would be evaluated {number:,} times", field="evaluation.continual",
                given=f"every {self.every_steps:,} steps, and {self.dense_steps:,} every {self.dense_every_steps:,}",
                allowed=f"at most {MAX_POINTS:,} times",
            )  # fmt: skip
        found = {*range(0, end_step, self.every_steps), end_step}
        for switch in (0, *switches):
            found |= set(range(switch, min(end_step, switch + self.dense_steps) + 1, self.dense_every_steps))
            found.add(switch)
        return tuple(sorted(found))
