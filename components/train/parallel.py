"""How a model lies on the processes: FSDP2 in one or two dimensions (HSDP), tensor parallel by the model's own plan."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel

from switchpoint.components.recipe.training import Training, check_processes
from switchpoint.components.train.allocator import keep_freed_memory

SMALL_MODEL_PARAMETERS = 50_000_000


@dataclass(frozen=True)
class Ranks:
    """This process among those of the job. Tensor parallel processes are neighbours and read the same samples."""

    rank: int
    world_size: int
    training: Training

    def __post_init__(self) -> None:
        check_processes(self.world_size, self.training)

    @property
    def data_rank(self) -> int:
        return self.rank // self.training.tensor_parallel

    @property
    def data_size(self) -> int:
        return self.training.data_processes(self.world_size)

    @cached_property
    def device(self) -> torch.device:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank % torch.cuda.device_count())))

    @property
    def is_sharded(self) -> bool:
        """Whether parameters are sharded. On a GPU also for one process: sharding is what computes in bf16 and keeps
        fp32.
        """
        return self.world_size > 1 or self.device.type == "cuda"

    @cached_property
    def mesh(self) -> DeviceMesh:
        """The device mesh: (replicas, shards, tensor parallel)."""
        training = self.training
        shards = self.world_size // training.replicas // training.tensor_parallel
        shape = (training.replicas, shards, training.tensor_parallel)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=("replica", "shard", "tensor"))

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes that read different samples, the same on every one; a CPU tensor."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.training.tensor_parallel
        return values

    def agree(self, value: Any) -> Any:
        """Return the first process's value, on every process."""
        values = [value]
        if dist.is_initialized():
            dist.broadcast_object_list(values)
        return values[0]


def join_processes(ranks: Ranks, meeting: str, timeout_seconds: float) -> None:
    """Start communication between processes, if there are several. Fix what would make a GPU's results vary, and a
    CPU's memory slow.
    """
    if ranks.device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(ranks.device)
        torch.use_deterministic_algorithms(True)
    else:
        keep_freed_memory()
    if ranks.is_sharded:
        backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=meeting, rank=ranks.rank, world_size=ranks.world_size,
            timeout=timedelta(seconds=timeout_seconds),
        )  # fmt: skip


def parallelise(model: PreTrainedModel, ranks: Ranks) -> None:
    """Shard the model, whose parameters may be on the meta device, in place."""
    training = ranks.training
    if training.tensor_parallel > 1:
        _split_matrices(model, ranks.mesh["tensor"])
    on_gpu = ranks.device.type == "cuda"
    if on_gpu and training.activation_checkpointing:
        checkpoint_activations(model)
    if on_gpu:
        for block in blocks_of(model):
            block.compile()
    if on_gpu or ranks.data_size > 1:
        dimensions = ("replica", "shard") if training.replicas > 1 else ("shard",)
        shard(model, ranks.mesh[dimensions], on_gpu)


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """Return the decoder blocks."""
    return next(module for module in model.modules() if isinstance(module, nn.ModuleList))


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Keep the input of every block only; the rest is computed again in the backward pass."""
    model.gradient_checkpointing_enable({"use_reentrant": False})


def shard(model: PreTrainedModel, mesh: DeviceMesh, on_gpu: bool) -> None:
    """Shard with FSDP2: one unit per decoder block, the rest (embeddings, head, final norm) in the root's.

    Parameters and optimizer state are fp32 everywhere; a GPU computes in bf16 and adds up in fp32. A small model is
    a single unit that stays gathered: there, messages cost more than memory (2.4 M parameters on two processes of a
    CPU: 4,950 tokens/s against 3,830).
    """
    precision = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    policy = precision if on_gpu else MixedPrecisionPolicy()
    if sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL_PARAMETERS:
        fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        return
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _split_matrices(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Split matrices by transformers' plan for the family."""
    from transformers.distributed.tensor_parallel import apply_tensor_parallelism

    plan = model._expand_parallel_plan(dict(model.tp_plan))
    if not plan:
        raise ValueError(f"tensor_parallel: {type(model).__name__} has no plan for it")
    apply_tensor_parallelism(model, mesh, plan)
    model.tie_weights()
