"""What decides a training step, beside its model, its data and its learning rate."""

from typing import Literal

from switchpoint.components.recipe.clock import BatchRamp
from switchpoint.components.recipe.fields import BatchSize, Config, SequenceLength
from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.phase import DataOrder, Packing


class StepSettings(Config):
    """The settings of a phase's training steps. Every field is in the digest of what the phase trains (law 6), tells
    phases of an arm apart, and reaches the trainer: a field that is added here needs no other change.
    """

    sequence_length: SequenceLength
    batch_size: BatchSize | BatchRamp
    """Samples per step, over all processes."""
    packing: Packing
    document_mask: bool
    data_order: DataOrder
    optimizer: Optimizer
    dtype: Literal["float32"] = "float32"
    """The type of weights, gradients and the optimizer's state."""
    bad_batch: Literal["stop", "skip"]
    spike_sigmas: float | None
    """The spike bound in standard deviations; None if a bad batch stops the run: its definition then decides no
    weight."""
