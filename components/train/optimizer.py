"""AdamW as in the paper: betas 0.9 and 0.95, decay 0.1 on matrices only (arXiv 2407.07263)."""

import torch
from torch import nn

BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0


def build_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """Return the optimizer. Its learning rate is set at every step (`set_learning_rate`)."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
