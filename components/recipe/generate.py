"""Text that a base of the study generates, as a recipe writes it: a source beside those that are read."""

from typing import Annotated

from pydantic import Field

from switchpoint.components.recipe.fields import Config, Name, Seed, Tokens


class GenerateConfig(Config):
    """Documents that a base samples with nothing to begin from, until they hold so many tokens."""

    from_: Annotated[Name, Field(alias="from")]
    """The base that generates: `base`, or a name under `bases:`."""
    tokens: Tokens
    """The tokens that are sampled, end-of-document tokens included; what is trained on is their text, tokenised like
    any other."""
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """What the logits are divided by: 1 samples from the model as it is, less makes likely tokens likelier."""
    seed: Seed = 0
    """Decides the documents; another one gives others."""
