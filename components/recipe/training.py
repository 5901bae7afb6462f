"""How training runs: processes, memory, checkpoints, and what ends it. Only a skipped batch changes what is learned."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.fields import Config, Count

Processes = Annotated[int, Field(ge=1, le=65_536)]
Seconds = Annotated[float, Field(gt=0)]


class Training(Config):
    """Only `bad_batch: skip` and its `spike_sigmas` decide weights: the rest changes rounding, speed or safety."""

    num_processes: Processes = 1
    """Training processes of the continued runs, one GPU (or CPU thread) each; the base has its own number."""
    replicas: Count = 1
    """Copies of the sharded model (HSDP): each is sharded over num_processes / replicas. 1: sharded over all."""
    tensor_parallel: Count = 1
    """Processes that share every layer's matrices, by the model's own plan. 1: none."""
    micro_batch_size: Count | None = None
    """Samples of a process at a time; gradients add up to the batch. Not given: all of its samples at once."""
    activation_checkpointing: bool = True
    """On GPUs: keep the input of every block only, and compute the rest again in the backward pass."""
    bad_batch: Literal["stop", "skip"] = "stop"
    """What happens at a loss or gradient that is not finite, or a spike: the run stops, or continues without the
    step."""
    spike_sigmas: Annotated[float, Field(ge=3)] | None = None
    """A spike: a loss or gradient norm this many standard deviations above the mean of the last 128 steps. Not given:
    nothing is one."""
    checkpoint_every_seconds: Seconds = 120.0
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """The number of newest checkpoints that stay, beside every switch point: the one before is used if the newest is
    damaged."""
    hang_seconds: Seconds = 1800.0
    """The longest time without a step, in seconds. After it, the stacks of all processes are written, and they are
    started again."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """Restarts without progress, after which the run has failed."""

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        check_processes(self.num_processes, self)
        return self

    @property
    def deciding_sigmas(self) -> float | None:
        """`spike_sigmas`, if it decides the weights: if a bad batch is skipped."""
        return self.spike_sigmas if self.bad_batch == "skip" else None

    def data_processes(self, num_processes: int) -> int:
        """Return the number of processes that read different samples."""
        return num_processes // self.tensor_parallel


def check_processes(num_processes: int, training: Training) -> None:
    """Raise ValueError if the processes cannot be arranged as requested."""
    if num_processes % (training.replicas * training.tensor_parallel):
        raise ValueError(
            f"num_processes {num_processes} cannot be divided into replicas {training.replicas} x tensor_parallel "
            f"{training.tensor_parallel}"
        )


def check_batch(batch_size: int, num_processes: int, training: Training) -> None:
    """Raise ValueError if a batch cannot be divided over processes and micro-batches."""
    readers = training.data_processes(num_processes)
    if batch_size % readers:
        shared = f" (of {training.tensor_parallel} tensor_parallel)" if training.tensor_parallel > 1 else ""
        raise ValueError(f"batch_size {batch_size} cannot be divided over {readers} num_processes{shared}")
    if training.micro_batch_size and batch_size // readers % training.micro_batch_size:
        raise ValueError(
            f"micro_batch_size {training.micro_batch_size} does not divide the {batch_size // readers} samples of a "
            "process"
        )
