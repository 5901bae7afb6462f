"""What one training job does: written by the launcher as JSON, read by every rank.

Files of the store are named by their path in it, those of the user by an absolute one: a rank may be on any machine.
"""

from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from switchpoint.components.recipe.clock import Clock, Stretch
from switchpoint.components.recipe.fields import Config, Weight
from switchpoint.components.recipe.phase import StartMode
from switchpoint.components.recipe.schedule import Piece, Schedule
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.training import Training


class JobPhase(Config):
    weights: dict[str, Weight]
    first_sample: int
    order: int
    num_samples: int
    """All samples of the phase, also those beyond the end of the job."""
    settings: StepSettings


class JobSource(Config):
    stream: str
    """The path of the source's stream; token files that it names relatively lie in the store."""


class TrainJob(Config):
    folder: str
    """The run's folder, a path or a URL: checkpoints, models, metrics and status."""
    start: StartMode | Literal["scratch"]
    """How the job begins when its own folder holds no checkpoint; scratch: random weights from `architecture`."""
    start_checkpoint: str = ""
    """The checkpoint from which weights, and unless `fresh` the optimizer's state, are loaded: a path or a URL."""
    start_model: str = ""
    """The Hugging Face folder that weights are loaded from instead."""
    model_config_folder: str = ""
    """The Hugging Face folder whose config.json describes the model (all but scratch)."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    tokenizer: str
    store: str
    """The store's folder or URL."""
    phases: list[JobPhase]
    """All phases up to the job's own, which is the last: the sources continue from their positions."""
    sources: dict[str, JobSource]
    seed: int
    pieces: list[Piece]
    """The pieces of the schedule, over the run's tokens."""
    stretches: list[Stretch]
    """The stretches of the clock."""
    vocab_size: int
    end_of_document: int
    start_step: int
    end_step: int
    keep_steps: list[int]
    """Checkpoints that stay: switch points and ends."""
    export_steps: list[int]
    """The steps at which the model is written as a Hugging Face folder."""
    probes: str = ""
    """The file that the run is evaluated on while it trains, named by its digest's folder. Empty: none."""
    evaluation_steps: list[int] = Field(default_factory=list)
    """The steps at which the run is evaluated while it trains."""
    training: Training = Training()
    flops_per_token: float | None = None
    """Forward and backward, in the convention of MFU; None where the model's shape is not one that we count."""

    @property
    def settings(self) -> StepSettings:
        """What decides the job's training steps: its own phase's settings."""
        return self.phases[-1].settings

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule(tuple(self.pieces))

    @cached_property
    def clock(self) -> Clock:
        return Clock(tuple(self.stretches))
