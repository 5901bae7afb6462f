"""What a paper found for the arms of a study: shown beside what came out here, and used for nothing else."""

from pydantic import Field

from switchpoint.components.recipe.fields import Config, Name


class Published(Config):
    """Scores as they were printed."""

    source: str
    """The origin: paper and table."""
    score: str
    """What was measured, and on which model."""
    base: float | None = None
    arms: dict[Name, float] = Field(min_length=1)
