"""Gates: a score and a bound that must hold before the next phase starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.fields import Config, Fraction01, one_of

MAX_CHECKS = 100
"""The most checks of a phase: each is an evaluation, and a checkpoint that is kept."""

GateScores = Mapping[str, Mapping[int, float]]
"""What gates found: by the digest of the output and the training step, the score of its model there."""


class GateConfig(Config):
    """What must hold of a phase's model before the next phase starts. An arm whose gate does not hold ends there."""

    score: str
    """A score of the evaluation, by the names that `evaluation.metric` takes."""
    at_most: float | None = None
    """The gate holds where the score is at most this."""
    at_least: float | None = None
    """The gate holds where the score is at least this."""
    check_at: Annotated[list[Fraction01], Field(min_length=1, max_length=MAX_CHECKS)] = Field(
        default_factory=lambda: [Fraction(1)]
    )
    """Where the model is evaluated: fractions of the phase's tokens, rising; the last one is 1, the phase's budget. The
    phase ends at the first point where the gate holds."""

    @field_validator("check_at")
    @classmethod
    def _rising_to_the_end(cls, points: list[Fraction]) -> list[Fraction]:
        if sorted(set(points)) != points or points[0] == 0 or points[-1] != 1:
            raise ValueError("points are fractions of the phase's tokens above 0, rising, and the last one is 1")
        return points

    @model_validator(mode="after")
    def _one_bound(self) -> "GateConfig":
        one_of(self, "at_most", "at_least")
        return self


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate with the training steps at which it is checked, and what decides the score."""

    score: str
    at_most: float | None
    at_least: float | None
    steps: tuple[int, ...]
    """Rising; the last one is the end of the phase's budget."""
    measured: Mapping[str, Any]
    """The settings of the evaluation that decide the score."""
    measured_on: Mapping[str, Identity]
    """The outputs that decide it, beside the model."""

    def holds(self, value: float) -> bool:
        """Return whether a score is within the bound. What is not a number is not."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    @property
    def limit(self) -> dict[str, float | None]:
        """The bound as plain data, by the name of its field."""
        return {"at_most": self.at_most} if self.at_most is not None else {"at_least": self.at_least}

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides where the phase ends, as plain data."""
        return {"score": self.score, **self.limit, "steps": list(self.steps), "measured": dict(self.measured)}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a gate: the evaluation of the model at a training step, and its score once it is known."""

    gate: Gate
    step: int
    evaluation: Identity
    value: float | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the score is known."""
        return self.value is not None

    @property
    def holds(self) -> bool:
        """Whether the score is known and within the bound."""
        return self.value is not None and self.gate.holds(self.value)


@dataclass(frozen=True, kw_only=True)
class GatedPhase:
    """How the gate of an arm's phase stands."""

    phase: str
    gate: Gate
    budget_tokens: int
    """Tokens of the phase, if the gate holds at the last check only."""
    trained_tokens: int
    """Tokens that the phase is trained on, as far as the gate has decided it."""
    checks: tuple[Check, ...] = field(default=())
    """Those up to the one at which the gate held."""

    @property
    def is_decided(self) -> bool:
        """Whether it held, or did not at the last check."""
        return self.checks[-1].is_decided

    @property
    def failure(self) -> str:
        """Why the arm ends here; empty where the gate held or is not decided."""
        last = self.checks[-1]
        if not last.is_decided or last.holds:
            return ""
        return f"{self._measured}, at step {last.step:,}"

    @property
    def _measured(self) -> str:
        """The last check's score beside its bound."""
        return f"gate of {self.phase}: {self.gate.score} {self.checks[-1].value:.4g}, allowed {self.gate.bound}"

    @property
    def described(self) -> str:
        """How it stands, in a sentence without an end."""
        last = self.checks[-1]
        if self.failure:
            return f"{self.failure}: the arm ended there"
        if not last.is_decided:
            steps = ", ".join(f"{step:,}" for step in self.gate.steps)
            return f"gate of {self.phase}: {self.gate.score} {self.gate.bound}, checked at step {steps}"
        held = f"{self._measured}, held at step {last.step:,}"
        skipped = self.budget_tokens - self.trained_tokens
        return f"{held}; {skipped:,} of the phase's {self.budget_tokens:,} tokens were not trained" if skipped else held
