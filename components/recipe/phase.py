"""Phases: ranges of steps with one blend; the end of one is a switch."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.clock import BatchRamp
from switchpoint.components.recipe.fields import (
    BatchSize,
    Config,
    Fraction01,
    Name,
    SequenceLength,
    Tokens,
    TokensOrNone,
    one_of,
)
from switchpoint.components.recipe.gate import GateConfig
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.schedule_config import ScheduleConfig

Packing = Literal["concatenate", "best_fit"]
"""How documents become samples: one stream cut into equal parts, or whole documents, those that fit best together."""

DataOrder = Literal["keyed", "megatron"]
"""How samples are drawn from the sources of a blend."""

StartMode = Literal["continue", "new_data", "new_schedule", "fresh"]
START_MODES: dict[StartMode, str] = {
    "continue": "everything goes on",
    "new_data": "another blend; model, optimizer and schedule go on",
    "new_schedule": "weights and optimizer state; tokens, schedule and data at 0",
    "fresh": "weights only; tokens, schedule and data at 0",
}
"""The state that is kept when a phase starts from a checkpoint."""


class Switch(Config):
    """The end of a phase; given in one of four ways. Tokens and steps count from the start of the schedule."""

    learning_rate_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """The first step, after the schedule first reached its maximum, whose rate is at or below this x maximum."""
    progress: Fraction01 | None = None
    """The first step at or after this fraction of the horizon."""
    tokens: TokensOrNone | None = None
    """The first step that begins after at least so many tokens."""
    steps: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Switch":
        one_of(self, "learning_rate_ratio", "progress", "tokens", "steps")
        return self


SHORT_FORM: Mapping[str, tuple[str, str]] = {"gb": ("gb", "blend"), "qb": ("qb", "blend"), "switch": ("gb", "until")}
"""The recipe's and the arms' short form of two phases: by field, the phase and the field of it that it stands for."""
PAPER_SWITCH = Switch(learning_rate_ratio=0.2)


class PhasePatch(Config):
    """What an arm changes in a phase."""

    blend: Name | None = None
    until: Switch | None = None
    """The end of the phase. The last phase before a new schedule, or the end, has none: it runs to the horizon."""
    start: StartMode | None = None
    """How the phase starts from the checkpoint before it. Not given: `new_data` (for the first phase: the recipe's
    `start`)."""
    schedule: ScheduleConfig | None = None
    """A schedule of the phase's own: required with `new_schedule` and `fresh`, not allowed otherwise."""
    horizon_tokens: Tokens | None = None
    """The length of that schedule."""
    sequence_length: SequenceLength | None = None
    batch_size: BatchSize | BatchRamp | None = None
    """Not given: the recipe's."""
    packing: Packing | None = None
    """Not given: the recipe's."""
    optimizer: Optimizer | None = None
    """Not given: the recipe's."""
    gate: GateConfig | None = None
    """What must hold of the phase's model before the next phase starts. Not given: nothing."""


class PhaseConfig(PhasePatch):
    """A range of steps with one blend."""

    blend: Name


class Arm(Config):
    """What an arm changes in the recipe; what is not given stays. `gb`, `qb` and `switch` are short for the blends of
    the phases called so, and for the end of `gb`.
    """

    gb: Name | None = None
    qb: Name | None = None
    switch: Switch | None = None
    phases: dict[Name, PhasePatch] = Field(default_factory=dict)
    base: Name | None = None
    """The base that it starts from, one of `bases:`. Not given: `base`, which `model:` describes."""
    schedule: ScheduleConfig | None = None
    horizon_tokens: Tokens | None = None
    start: Literal["new_schedule", "fresh"] | None = None
    sequence_length: SequenceLength | None = None
    batch_size: BatchSize | BatchRamp | None = None
    optimizer: Optimizer | None = None
    seed: Annotated[int, Field(ge=0, le=2**53)] | None = None

    @model_validator(mode="after")
    def _no_conflict(self) -> "Arm":
        for short, (phase, field) in SHORT_FORM.items():
            patch = self.phases.get(phase)
            if getattr(self, short) is not None and patch is not None and getattr(patch, field) is not None:
                raise ValueError(f"`{short}:` and `phases.{phase}.{field}:` say the same thing: give one of them")
        return self
