"""The norm of all gradients of a model, and clipping by it, also where they are sharded in different ways."""

import math
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor


def total_norm(model: nn.Module) -> float:
    """Return the norm of all gradients together. Waits for a GPU to have computed them."""
    norms = [torch.nn.utils.get_total_norm(grads) for grads in _grads_by_mesh(model)]
    whole = [float(norm.full_tensor() if isinstance(norm, DTensor) else norm) for norm in norms]
    return whole[0] if len(whole) == 1 else math.sqrt(math.fsum(norm**2 for norm in whole))


def clip(model: nn.Module, grad_norm: float, max_grad_norm: float) -> None:
    """Scale all gradients, whose norm is `grad_norm`, so that it is at most `max_grad_norm`."""
    factor = max_grad_norm / (grad_norm + 1e-6)
    if factor < 1:
        for grads in _grads_by_mesh(model):
            torch._foreach_mul_(grads, factor)


def _grads_by_mesh(model: nn.Module) -> list[list[torch.Tensor]]:
    """Group the gradients by device mesh: one operation on many tensors takes those of one mesh only."""
    found: dict[Any, list[torch.Tensor]] = {}
    for parameter in model.parameters():
        if (grad := parameter.grad) is not None:
            found.setdefault(grad.device_mesh if isinstance(grad, DTensor) else None, []).append(grad)
    return list(found.values())
