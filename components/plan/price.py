"""The plan's price: operations, GPU-hours, money and bytes, from the model's shape; no weights are needed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from switchpoint.components.recipe.cost import (
    checkpoint_bytes,
    gpu_hours,
    memory_bytes_per_gpu,
    model_bytes,
    train_flops,
)
from switchpoint.components.recipe.hardware import GPUS
from switchpoint.components.recipe.model import KINDS, Architecture
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.stage import Trained


@dataclass(frozen=True)
class Shape:
    """What the price depends on."""

    model: Architecture
    vocab_size: int


def model_shape(recipe: Recipe) -> Shape | None:
    """Return the shape from the recipe, or the base folder's config.json; None if that describes no model that we can
    count.
    """
    if recipe.model.architecture is not None:
        return Shape(recipe.model.architecture, recipe.tokenizer.vocab_size or 0)
    try:
        config = json.loads((Path(str(recipe.model.folder)) / "config.json").read_text(encoding="utf-8"))
        if any("expert" in key for key in config):
            return None
        num_heads = config["num_attention_heads"]
        model = Architecture(
            kind=config.get("model_type") if config.get("model_type") in KINDS else "llama",
            num_layers=config["num_hidden_layers"], hidden_size=config["hidden_size"], num_heads=num_heads,
            num_kv_heads=config.get("num_key_value_heads") or num_heads, head_size=config.get("head_dim"),
            ffn_size=config["intermediate_size"], tied_embeddings=config.get("tie_word_embeddings", False),
        )  # fmt: skip
        return Shape(model, int(config["vocab_size"]))
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


class Price:
    """The price of parts of a plan. Figures that the recipe gives no ground for are None."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.hardware = plan, plan.recipe.hardware
        self.shape = model_shape(plan.recipe)

    def _of(self, flops: int | None) -> dict[str, Any]:
        hours = gpu_hours(flops, self.hardware) if flops is not None and self.hardware else None
        cost = hours * self.hardware.usd_per_gpu_hour if hours is not None and self.hardware else None
        return {"flops": flops, "gpu_hours": hours, "cost_usd": cost}

    def _flops(self, tokens: int, sequence_length: int) -> int | None:
        return train_flops(self.shape.model, self.shape.vocab_size, tokens, sequence_length) if self.shape else None

    def _sum(self, parts: list[tuple[int, int]]) -> dict[str, Any]:
        """Return the sum over (tokens, sequence length) pairs."""
        flops = [self._flops(*part) for part in parts]
        return self._of(sum(known for known in flops if known is not None) if None not in flops else None)

    def arm(self, arm: ArmPlan) -> dict[str, Any]:
        """Return the price of the arm trained by itself."""
        return self._sum([(phase.tokens, phase.sequence_length) for phase in arm.phases])

    def runs(self, runs: list[Trained]) -> dict[str, Any]:
        return self._sum([(run.stage.tokens, run.stage.phase.sequence_length) for run in runs])

    def base(self) -> dict[str, Any] | None:
        """Return the price of the pretraining, if the study does it."""
        if self.plan.pretraining is None or self.plan.recipe.model.pretrain is None:
            return None
        phase = self.plan.pretraining.phase
        return {"tokens": phase.tokens} | self._sum([(phase.tokens, phase.sequence_length)])

    def memory(self) -> dict[str, Any] | None:
        """Return the bytes that a GPU needs at the longest sequence, beside what it has."""
        if not self.shape or not self.hardware:
            return None
        recipe = self.plan.recipe
        length = max(phase.sequence_length for arm in self.plan.arms for phase in arm.phases)
        batch = max(arm.clock.batch_size(arm.horizon_steps - 1) for arm in self.plan.arms)
        needed = memory_bytes_per_gpu(
            self.shape.model, self.shape.vocab_size, length, batch, self.hardware, recipe.training
        )
        return {"needed_bytes_per_gpu": needed, "gpu_bytes": int(GPUS[self.hardware.gpu].memory_bytes)}

    def checkpoint_bytes(self, run: Trained) -> int | None:
        """Return the bytes of the checkpoints that the run keeps and the models that are exported from it."""
        if not self.shape:
            return None
        kept = len(run.keep_steps) * checkpoint_bytes(self.shape.model, self.shape.vocab_size)
        return kept + len(run.export_steps) * model_bytes(self.shape.model, self.shape.vocab_size)

    def derived_bytes(self, number: int) -> int | None:
        """Return the bytes of `number` models that are made of others."""
        if not self.shape:
            return 0 if not number else None
        return number * model_bytes(self.shape.model, self.shape.vocab_size)

    def base_bytes(self) -> int | None:
        """Return the bytes of the base's checkpoint and model, if the study pretrains it; 0 for one that is there."""
        if self.base() is None:
            return 0
        if not self.shape:
            return None
        return checkpoint_bytes(self.shape.model, self.shape.vocab_size) + model_bytes(
            self.shape.model, self.shape.vocab_size
        )


def over_budget(plan: Plan, most_tokens: int | None = None) -> list[str]:
    """Return how the study exceeds its budget, in words. `most_tokens`: the most tokens that it trains, if arms are
    stopped.
    """
    budget, price = plan.recipe.budget, Price(plan)
    if budget is None:
        return []
    base = price.base() or {"tokens": 0, "gpu_hours": 0.0, "cost_usd": 0.0}
    total = price.runs(list(plan.runs))
    tokens = plan.tokens_shared if most_tokens is None else most_tokens
    part = tokens / plan.tokens_shared
    found = []
    limits: list[tuple[float | None, str, float | None]] = [
        (budget.max_tokens, "tokens", tokens + base["tokens"]),
        (budget.max_gpu_hours, "GPU-hours", _plus(total["gpu_hours"], base["gpu_hours"], part)),
        (budget.max_cost_usd, "USD", _plus(total["cost_usd"], base["cost_usd"], part)),
    ]
    for limit, name, value in limits:
        if limit is None:
            continue
        if value is None:
            found.append(f"{name} are unknown: give `hardware:`, so that the budget can be kept")
        elif value > limit:
            at_most = "at most " if most_tokens is not None else ""
            found.append(f"{at_most}{value:,.0f} {name}, and the budget is {limit:,.0f}")
    return found


def _plus(study: float | None, base: float | None, part: float) -> float | None:
    return None if study is None or base is None else study * part + base
