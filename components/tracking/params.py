"""Params: the fields that tell arms apart, under flat names and as numbers, for MLflow's compare views (pure)."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.bases import Base
from switchpoint.components.recipe.blend import Weights
from switchpoint.components.recipe.plan import ArmPlan, Derived, Plan
from switchpoint.components.recipe.recipe import OF_SEVERAL_ARMS
from switchpoint.components.recipe.source import SourceKey, split_key
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.tracking.curve import metric_name

QA = "qa"
"""The category of sources whose weights are added up as a blend's `qa_share`."""


def flat_recipe(plan: Plan, arm: ArmPlan | Derived | Base) -> dict[str, Any]:
    """The params of a base, or of an arm: every arm of the study has the same names.

    A source that a phase does not draw has weight 0 there; a phase that an arm does not have (its QB blend is its GB
    blend) has the blend of the one before it, with which the arm continues.
    """
    flat = deciding_params(plan, arm)
    if not isinstance(arm, ArmPlan):
        return flat
    phases: dict[str, dict[SourceKey, None]] = {}
    for one in plan.arms:
        for phase in one.phases:
            phases.setdefault(phase.name, {}).update(dict.fromkeys(phase.weights))
    own = {phase.name: phase for phase in arm.phases}
    before = arm.phases[0]
    for name, sources in phases.items():
        before = own.get(name, before)
        drawn = dict.fromkeys([*sources, *before.weights], 0) | dict(before.weights)
        # What decides the arm stays: it names the run.
        flat = flat | _blend_params(plan, name, before.blend, drawn) | flat
    return flat


def deciding_params(plan: Plan, arm: ArmPlan | Derived | Base) -> dict[str, Any]:
    """What does not depend on the study's other arms: a run is found by it.

    An arm that never switches does so at its end: progress 1, all its tokens and steps, the rate that it ends with.
    """
    base = plan.bases[BASE] if isinstance(arm, Derived) else arm if isinstance(arm, Base) else plan.base_of(arm)
    settings = base.pretraining.phase.settings if base.pretraining else plan.recipe.step_settings()
    if isinstance(arm, ArmPlan):
        settings = arm.phases[0].settings
    flat: dict[str, Any] = {"arm": base.name, "base": base.start.digest} | _settings_params(settings)
    if isinstance(arm, Base):
        return flat
    if isinstance(arm, Derived):
        return flat | {"arm": arm.arm_id, "seed": arm.seed, "made_of": arm.described}
    schedule = arm.schedule
    highest = schedule.max_learning_rate
    step, tokens, rate = arm.switch_step, arm.switch_tokens, arm.switch_learning_rate
    if step is None or tokens is None or rate is None:
        step, tokens = arm.horizon_steps, arm.horizon_tokens
        rate = schedule.end_learning_rate(tokens)
    flat |= {
        "arm": arm.arm_id, "seed": arm.seed, "horizon_tokens": arm.horizon_tokens,
        "schedule": ", ".join(piece.shape for piece in schedule.pieces),
        "schedule.max_learning_rate": _rounded(highest),
        "schedule.floor_ratio": _rounded(schedule.min_learning_rate / highest),
        "switch.step": step, "switch.tokens": tokens, "switch.progress": _rounded(tokens / arm.horizon_tokens),
        "switch.learning_rate": _rounded(rate), "switch.lr_ratio": _rounded(rate / highest),
    }  # fmt: skip
    for phase in arm.phases:
        if phase.gate is not None:
            flat[f"{phase.name}.gate"] = f"{phase.gate.score} {phase.gate.bound}"
        flat |= _blend_params(plan, phase.name, phase.blend, phase.weights)
        own = _settings_params(phase.settings).items() - _settings_params(settings).items()
        flat |= {f"{phase.name}.{name}": value for name, value in sorted(own)}
    return flat


def _settings_params(settings: StepSettings) -> dict[str, Any]:
    """Return the settings that arms may differ by, under flat names; a batch that grows as its JSON."""
    dumped = settings.model_dump(mode="json", include={"sequence_length", "batch_size", "optimizer"})
    batch_size = dumped["batch_size"]
    return {
        "sequence_length": dumped["sequence_length"],
        "batch_size": json.dumps(batch_size) if isinstance(batch_size, dict) else batch_size,
        **{f"optimizer.{name}": value for name, value in dumped["optimizer"].items()},
    }


def gb_params(plan: Plan, run: Trained) -> dict[str, Any]:
    """Return the params of a GB run: what its digest decides. Names of blends may change, and are not params."""
    phase, schedule = run.stage.phase, run.stage.schedule
    flat = {
        "base": plan.base_of(run).start.digest, "seed": run.stage.seed, "sequence_length": phase.sequence_length,
        "schedule.max_learning_rate": _rounded(schedule.max_learning_rate),
    }  # fmt: skip
    return flat | _weights(plan, phase.name, phase.weights)


def _blend_params(plan: Plan, name: str, blend: str, weights: Mapping[SourceKey, Any]) -> dict[str, Any]:
    return {f"blend.{name}": blend} | _weights(plan, name, weights)


def _weights(plan: Plan, name: str, weights: Mapping[SourceKey, Any]) -> dict[str, float]:
    flat = {f"blend.{name}.{metric_name(source)}": float(weight) for source, weight in weights.items()}
    return {f"blend.{name}.qa_share": qa_share(plan, weights)} | flat


def qa_share(plan: Plan, weights: Weights | Mapping[SourceKey, Any]) -> float:
    """Return the weight of the sources of category `qa`."""
    sources = plan.recipe.sources
    return float(sum(weight for key, weight in weights.items() if sources[split_key(key)[0]].category == QA))


def _rounded(value: float) -> float:
    """Round away the noise of binary fractions: 0.2 and not 0.19999999999999998."""
    return float(f"{value:.12g}")


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text, which MLflow's params are."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def resolved_recipe(plan: Plan, arm: ArmPlan | None) -> dict[str, Any]:
    """Return the recipe with the arm's overrides put in, as plain data."""
    recipe: dict[str, Any] = plan.recipe.model_dump(mode="json", exclude={"arms", "grid"}, exclude_none=True)
    if arm is not None:
        recipe |= {
            "arm": arm.arm_id, "seed": arm.seed, "horizon_tokens": arm.horizon_tokens,
            "schedule": [asdict(piece) for piece in arm.schedule.pieces],
            "phases": [
                {
                    "name": phase.name, "blend": phase.blend, "start": phase.start, "start_step": phase.start_step,
                    "end_step": phase.end_step, "settings": phase.settings.model_dump(mode="json"),
                    "weights": {key: str(weight) for key, weight in phase.weights.items()},
                }
                for phase in arm.phases
            ],
            "switch": {
                "step": arm.switch_step, "tokens": arm.switch_tokens, "learning_rate": arm.switch_learning_rate,
            },
        }  # fmt: skip
    return recipe


def runnable_study(plan: Plan, arm: ArmPlan | None = None) -> dict[str, Any]:
    """Return the study as a recipe that `switchpoint run` takes; with `arm`, of this one with its seed, and the same
    digests.

    Its catalogue is written out, so that it does not change with the version.
    """
    dumped: dict[str, Any] = plan.recipe.model_dump(mode="json", exclude_unset=True, exclude={"catalogue"})
    if arm is None:
        return dumped
    overrides = arms_of(plan.recipe)[arm.arm_id][1].model_dump(mode="json", exclude_unset=True)
    kept = {name: value for name, value in dumped.items() if name not in OF_SEVERAL_ARMS}
    return kept | {"seed": arm.seed, "arms": {arm.arm_id: overrides}}
