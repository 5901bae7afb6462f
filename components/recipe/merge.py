"""Merges: models that are weighted averages of others (model soups, arXiv 2203.05482)."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from switchpoint.components.recipe.fields import Config, Fraction01, Name, Weight
from switchpoint.components.recipe.whole import exactly_whole, is_whole, sum_as_written


def _read_at(value: Any) -> Any:
    if value == "switch":
        return value
    try:
        fraction = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        fraction = Fraction(-1)
    if not 0 < fraction <= 1:
        raise ValueError("`at` is `switch`, or a fraction of the arm's horizon such as 0.7")
    return fraction


def _kind(value: Any) -> str:
    return "~checkpoint" if isinstance(value, dict | ArmCheckpoint) else "~arm"


class ArmCheckpoint(Config):
    """An arm's model before its end."""

    arm: Name
    at: Annotated[Literal["switch"] | Fraction01, BeforeValidator(_read_at)]
    """The step of the model: the arm's switch, or the first step at or after a fraction of its horizon."""


Merged = Annotated[Annotated[Name, Tag("~arm")] | Annotated[ArmCheckpoint, Tag("~checkpoint")], Discriminator(_kind)]


class MergeConfig(Config):
    """A weighted average of arms' models, evaluated like an arm."""

    of: Annotated[list[Merged], Field(min_length=2, max_length=1000)]
    """Arms, whose models at their ends are merged, or checkpoints of arms. In a study with several seeds a name such as
    ARM-seed-N is one seed's; the name of an arm makes a merge for every seed.
    """
    weights: Annotated[list[Weight], Field(min_length=2)] | None = None
    """A weight for each, summing to exactly 1. Not given: all the same."""

    @model_validator(mode="after")
    def _whole(self) -> "MergeConfig":
        if self.weights is not None and len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.of)} models are merged with {len(self.weights)} weights: give one for each")
        if self.weights is not None and not is_whole(self.weights):
            raise ValueError(f"the weights must sum to exactly 1: {sum_as_written(self.weights)}")
        return self

    @property
    def exact_weights(self) -> tuple[Fraction, ...]:
        """The weight of each model."""
        return tuple(exactly_whole(self.weights) if self.weights else [Fraction(1, len(self.of))] * len(self.of))
