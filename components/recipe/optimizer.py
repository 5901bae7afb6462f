"""The optimizer's settings, with the paper's values as defaults. All of them decide the weights."""

from typing import Annotated

from pydantic import Field

from switchpoint.components.recipe.fields import Config

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Config):
    """AdamW (arXiv 1711.05101). Defaults: arXiv 2407.07263, section 3, and its base model's report."""

    beta1: Decay = 0.9
    """Decay of the mean of gradients, per step."""
    beta2: Decay = 0.95
    """Decay of the mean of squared gradients, per step."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the root of that mean. PyTorch's default; the paper names none."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Times the learning rate, per step, on matrices only: norms and biases do not decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of a larger norm are scaled down to it. The field's default; the paper names none."""
