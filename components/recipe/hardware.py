"""The hardware of a study and its price: for the plan only, in no digest."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from switchpoint.components.recipe.fields import Config, Count, Tokens

GPUName = Literal["A100-80GB", "H100-SXM", "H200-SXM", "B200", "L40S", "MI300X"]


@dataclass(frozen=True)
class GPU:
    """A vendor's figures: dense BF16 operations per second (no sparsity), and bytes of memory."""

    flops_per_second: float
    memory_bytes: float


GPUS: dict[GPUName, GPU] = {
    "A100-80GB": GPU(312e12, 80e9),
    "H100-SXM": GPU(989e12, 80e9),
    "H200-SXM": GPU(989e12, 141e9),
    "B200": GPU(2250e12, 180e9),
    "L40S": GPU(362e12, 48e9),
    "MI300X": GPU(1307e12, 192e9),
}


class Hardware(Config):
    """A cluster, as far as the plan's price depends on it."""

    gpu: GPUName
    num_gpus: Count
    """The number of GPUs over which weights, gradients and optimizer state are sharded."""
    mfu: Annotated[float, Field(gt=0, le=1)]
    """Model FLOPs utilisation: the share of the GPU's dense BF16 peak that the model's own operations reach."""
    usd_per_gpu_hour: Annotated[float, Field(ge=0)]


class Budget(Config):
    """What a study may cost at most: a plan beyond it is not run."""

    max_tokens: Tokens | None = None
    max_gpu_hours: Annotated[float, Field(gt=0)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
