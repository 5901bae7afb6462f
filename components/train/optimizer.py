"""AdamW with the recipe's settings; weight decay on matrices only (arXiv 2407.07263)."""

import torch
from torch import nn

from switchpoint.components.recipe.optimizer import Optimizer


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Return an optimizer whose learning rate is set at every step (`set_learning_rate`)."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": others}], lr=0.0, fused=True)
    apply_settings(optimizer, settings)
    return optimizer


def apply_settings(optimizer: torch.optim.Optimizer, settings: Optimizer) -> None:
    """Set all but the learning rate. The first group holds the matrices."""
    for number, group in enumerate(optimizer.param_groups):
        group["betas"], group["eps"] = (settings.beta1, settings.beta2), settings.epsilon
        group["weight_decay"] = settings.weight_decay if number == 0 else 0.0


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
