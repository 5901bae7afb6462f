"""Bases beside `model:`, as a recipe writes them: models that arms start from."""

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from switchpoint.components.recipe.fields import Config, Fraction01, Name
from switchpoint.components.recipe.model import Model
from switchpoint.components.recipe.transform import TransformConfig

BASE = "base"
"""The name of the base that `model:` describes."""


def _read_checkpoint(value: Any) -> Any:
    try:
        fraction = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        fraction = Fraction(0)
    if not 0 < fraction < 1:
        raise ValueError("`checkpoint` is a fraction of the pretraining's tokens above 0 and below 1, such as 0.5")
    return value


class CheckpointBase(Config):
    """The model of a pretraining before its end. Nothing is trained twice: the pretraining keeps it on its way."""

    checkpoint: Annotated[Fraction01, BeforeValidator(_read_checkpoint)]
    """A fraction of the pretraining's tokens: the first step at or after it."""
    of: Name = BASE
    """The base whose pretraining it is."""


class TransformBase(Config):
    """A model that is made of another base, without training."""

    transform: TransformConfig


def _kind(value: Any) -> str:
    if isinstance(value, CheckpointBase) or (isinstance(value, dict) and "checkpoint" in value):
        return "~checkpoint_base"
    if isinstance(value, TransformBase) or (isinstance(value, dict) and "transform" in value):
        return "~transform_base"
    return "~model"


BaseConfig = Annotated[
    Annotated[CheckpointBase, Tag("~checkpoint_base")]
    | Annotated[TransformBase, Tag("~transform_base")]
    | Annotated[Model, Tag("~model")],
    Discriminator(_kind),
]
