"""What one training job does: written by the launcher as JSON, read by every rank."""

from typing import Any, Literal

from pydantic import Field

from components.recipe.recipe import Config, Weights
from components.recipe.schedule import Cosine

StartMode = Literal["scratch", "fresh", "new_schedule", "new_data"]
"""How a job begins when its own folder holds no checkpoint:

scratch       random weights from `architecture`
fresh         weights only: all that a Hugging Face folder has
new_schedule  weights and optimizer state of a checkpoint; tokens, schedule and data at 0
new_data      everything goes on (GB to QB: model, optimizer, schedule, data position)
"""


class JobPhase(Config):
    weights: Weights
    start_step: int


class JobSource(Config):
    prefix: str
    """Of the token file: PREFIX.bin and PREFIX.idx."""
    samples_per_epoch: int


class TrainJob(Config):
    folder: str
    """The run's own: checkpoints, models, metrics and status."""
    start: StartMode
    start_from: str = ""
    """A checkpoint (new_schedule, new_data) or a Hugging Face folder (fresh)."""
    model_config_folder: str = ""
    """The Hugging Face folder whose config.json describes the model (all but scratch)."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    tokenizer: str
    phases: list[JobPhase]
    sources: dict[str, JobSource]
    seed: int
    max_learning_rate: float
    min_learning_rate: float
    horizon_tokens: int
    warmup_tokens: int = 0
    sequence_length: int
    batch_size: int
    start_step: int
    end_step: int
    keep_steps: list[int]
    """Checkpoints that stay: switch points and ends."""
    export_steps: list[int]
    """Where the model is written as a Hugging Face folder."""
    checkpoint_every_seconds: float = 20.0

    @property
    def schedule(self) -> Cosine:
        return Cosine(
            max_learning_rate=self.max_learning_rate, min_learning_rate=self.min_learning_rate,
            horizon_tokens=self.horizon_tokens, warmup_tokens=self.warmup_tokens,
        )  # fmt: skip

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length
