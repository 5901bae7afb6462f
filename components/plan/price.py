"""The plan's price: operations, GPU-hours, money and bytes, from the model's shape; no weights are needed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from switchpoint.components.recipe.bases import Base, BaseOutput
from switchpoint.components.recipe.cost import (
    checkpoint_bytes,
    generate_flops,
    gpu_hours,
    memory_bytes_per_gpu,
    model_bytes,
    train_flops,
)
from switchpoint.components.recipe.hardware import GPUS
from switchpoint.components.recipe.model import KINDS, Architecture
from switchpoint.components.recipe.plan import ArmPlan, Derived, Plan
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.stage import Generate, Import, Output, Trained


@dataclass(frozen=True)
class Shape:
    """What the price depends on."""

    model: Architecture
    vocab_size: int


def model_shape(recipe: Recipe, base: Base) -> Shape | None:
    """Return a base's shape, from the recipe or its folder's config.json; None where that describes no model that we
    can count. Transforms keep the shape of what they are made of.
    """
    if base.origin.architecture is not None:
        return Shape(base.origin.architecture, recipe.tokenizer.vocab_size or 0)
    try:
        config = json.loads((Path(str(base.origin.folder)) / "config.json").read_text(encoding="utf-8"))
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
        self._shapes = {name: model_shape(plan.recipe, base) for name, base in plan.bases.items()}

    def _shape(self, one: ArmPlan | Output[Any]) -> Shape | None:
        return self._shapes[self.plan.base_of(one).name]

    def _of(self, flops: int | None) -> dict[str, Any]:
        hours = gpu_hours(flops, self.hardware) if flops is not None and self.hardware else None
        cost = hours * self.hardware.usd_per_gpu_hour if hours is not None and self.hardware else None
        return {"flops": flops, "gpu_hours": hours, "cost_usd": cost}

    def _sum(self, parts: Iterable[tuple[Shape | None, int, int]]) -> dict[str, Any]:
        """`parts`: shapes, each with its tokens and their sequence length."""
        flops = [
            train_flops(shape.model, shape.vocab_size, tokens, length) if shape else None
            for shape, tokens, length in parts
        ]
        return self._of(sum(known for known in flops if known is not None) if None not in flops else None)

    def arm(self, arm: ArmPlan) -> dict[str, Any]:
        """Return the price of the arm trained by itself."""
        return self._sum((self._shape(arm), phase.tokens, phase.sequence_length) for phase in arm.phases)

    def runs(self, runs: list[Trained]) -> dict[str, Any]:
        return self._sum((self._shape(run), run.stage.tokens, run.stage.phase.sequence_length) for run in runs)

    def pretraining(self, base: Base) -> dict[str, Any] | None:
        """Return the price of the base's pretraining; None where it has none of its own, as a checkpoint."""
        run = self.plan.pretrainings.get(base.name)
        return None if run is None else {"tokens": run.stage.tokens} | self.runs([run])

    def pretrainings(self) -> dict[str, Any]:
        """Return the price of all pretrainings that the study does."""
        runs = list(self.plan.pretrainings.values())
        return {"tokens": sum(run.stage.tokens for run in runs)} | self.runs(runs)

    def generation(self, output: Output[Generate]) -> dict[str, Any]:
        """Return the price of sampling a source from its base."""
        stage, shape = output.stage, self._shapes[output.stage.base]
        length = stage.sequence_length
        return self._of(generate_flops(shape.model, shape.vocab_size, stage.config.tokens, length) if shape else None)

    def generations(self) -> dict[str, Any]:
        """Return the price of all sources that bases generate."""
        flops = [
            self.generation(self.plan.generations[name])["flops"] for name in self.plan.generated_sources()
        ]  # fmt: skip
        return self._of(None if None in flops else sum(flops))

    def memory(self) -> dict[str, Any] | None:
        """Bytes that a GPU needs at the longest sequence, beside what it has."""
        shapes = {arm.base: self._shape(arm) for arm in self.plan.arms}
        if None in shapes.values() or not self.hardware:
            return None
        length = max(phase.sequence_length for arm in self.plan.arms for phase in arm.phases)
        batch = max(arm.clock.batch_size(arm.horizon_steps - 1) for arm in self.plan.arms)
        needed = max(
            memory_bytes_per_gpu(shape.model, shape.vocab_size, length, batch, self.hardware, self.plan.recipe.training)
            for shape in shapes.values()
            if shape
        )
        return {"needed_bytes_per_gpu": needed, "gpu_bytes": int(GPUS[self.hardware.gpu].memory_bytes)}

    def checkpoint_bytes(self, run: Trained) -> int | None:
        """Return the bytes of the checkpoints that the run keeps and of the models that are exported from it."""
        shape = self._shape(run)
        if shape is None:
            return None
        kept = len(run.keep_steps) * checkpoint_bytes(shape.model, shape.vocab_size)
        return kept + len(run.export_steps) * model_bytes(shape.model, shape.vocab_size)

    def derived_bytes(self, derived: Iterable[Derived]) -> int | None:
        """Return the size of models that are made of others: each is as large as the first of those."""
        runs = [self.plan.run(one.output.stage.models[0].inputs["run"].digest) for one in derived]
        sizes = [model_bytes(shape.model, shape.vocab_size) if shape else None for shape in map(self._shape, runs)]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def base_bytes(self, output: BaseOutput) -> int | None:
        """Return the bytes of a base's checkpoints and models, if the study makes it; 0 for one that is there."""
        base = self.plan.base_of(output)
        if base.trained is not None:
            return self.checkpoint_bytes(base.trained) if base.origin.pretrain else 0
        shape = self._shapes[base.name]
        if isinstance(output.stage, Import):
            return 0
        return model_bytes(shape.model, shape.vocab_size) if shape else None


def over_budget(plan: Plan, most_tokens: int | None = None) -> list[str]:
    """Return how the study exceeds its budget, in words. `most_tokens`: the most tokens that it trains, if arms are
    stopped.
    """
    budget, price = plan.recipe.budget, Price(plan)
    if budget is None:
        return []
    base = price.pretrainings() if plan.pretrainings else {"tokens": 0, "gpu_hours": 0.0, "cost_usd": 0.0}
    if plan.generated_sources():
        generated = price.generations()
        base |= {name: _plus(generated[name], base[name], 1.0) for name in ("gpu_hours", "cost_usd")}
    total = price.runs(list(plan.runs))
    tokens = plan.tokens_shared if most_tokens is None else most_tokens
    part = tokens / plan.tokens_shared
    found = []
    limits: list[tuple[float | None, str, float | None, float | None]] = [
        (budget.max_tokens, "tokens", tokens + base["tokens"], base["tokens"]),
        (budget.max_gpu_hours, "GPU-hours", _plus(total["gpu_hours"], base["gpu_hours"], part), base["gpu_hours"]),
        (budget.max_cost_usd, "USD", _plus(total["cost_usd"], base["cost_usd"], part), base["cost_usd"]),
    ]
    for limit, name, value, pretraining in limits:
        if limit is None:
            continue
        if value is None:
            found.append(f"{name} are unknown: give `hardware:`, so that the budget can be kept")
        elif value > limit:
            at_most = "at most " if most_tokens is not None else ""
            with_base = f" (with {pretraining:,.0f} of pretraining)" if pretraining else ""
            found.append(f"{at_most}{value:,.0f} {name}{with_base}, and the budget is {limit:,.0f}")
    return found


def _plus(study: float | None, base: float | None, part: float) -> float | None:
    return None if study is None or base is None else study * part + base
