"""Transforms: what makes a model of another one without training it, as a recipe writes it."""

from typing import Literal

from switchpoint.components.recipe.fields import Config, Name


class Copy(Config):
    """A copy of a base, with the same weights: what an arm that starts from it must not be able to tell."""

    kind: Literal["copy"]
    of: Name = "base"
    """The base that is copied."""


TransformConfig = Copy
"""The closed union of transforms. Once it has a second member, `kind` tells them apart: `Annotated[Copy | Other,
Field(discriminator="kind")]`."""
