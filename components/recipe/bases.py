"""The bases of a study: resolved from the recipe to outputs, each with what arms take from it."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from switchpoint.components.recipe.arm import arm_inputs, arms_of
from switchpoint.components.recipe.base import BASE, BaseConfig, CheckpointBase, TransformBase
from switchpoint.components.recipe.blend import Resolver
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.deciding import deciding
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.model import Model, Pretrain
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.schedule import Schedule
from switchpoint.components.recipe.schedule_config import Cosine
from switchpoint.components.recipe.source import split_key
from switchpoint.components.recipe.stage import Import, Output, Phase, Train, Trained, Transform

BASE_SEED = 0
"""A recipe's seed never changes its bases."""


BaseOutput = Output[Import] | Output[Train] | Output[Transform]
"""What makes a base: no other kind of stage does."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A model that arms start from, with a row of its own in the report."""

    name: str
    parent: str | None
    """The base that it is made of."""
    output: BaseOutput
    """What makes it; for a checkpoint the pretraining that keeps it."""
    model: Identity
    """What arms start from and what is evaluated: what a pretraining exports at a step, or the output itself."""
    evaluation: Identity
    origin: Model
    """As the recipe writes the model that its weights first came from."""
    pretraining: Train | None
    """How those weights were pretrained; None: that is not known of a folder."""
    described: str
    """What it is, for people."""

    @property
    def step(self) -> int | None:
        """The step of its pretraining; None: it is not the model of a pretraining."""
        return int(self.model.config["step"]) if self.trained else None

    @property
    def start(self) -> Identity:
        """What the digest of a run names that starts from it: the output, or a model on the output's way."""
        is_whole = self.trained is None or self.step == self.trained.stage.end_step
        return self.output.identity if is_whole else self.model

    @property
    def trained(self) -> Trained | None:
        """Its output where that is a pretraining, its own or the one that it is a checkpoint of."""
        output: Output[Any] = self.output
        return output if isinstance(output.stage, Train) else None


def parent_of(config: BaseConfig) -> str | None:
    """Return the name of the base that this one is made of; None: it is made of no other."""
    if isinstance(config, CheckpointBase):
        return config.of
    return config.transform.of if isinstance(config, TransformBase) else None


def bases_in_use(recipe: Recipe, resolver: Resolver) -> list[str]:
    """Return the names of the bases that are made: `base`, those that arms start from, those that generate what arms
    draw, and what these are made of.

    Each follows those that it is made of: its parent, and what generates text that it is pretrained on. Arms' bases are
    there, and none is made of itself (`check_recipe`). Raise BadInput for one that is pretrained on its own text.
    """
    found: list[str] = []

    def add(name: str, *after: str) -> None:
        if name in after:
            raise _generates_its_own_text(recipe, [*after[after.index(name) :], name])
        config = recipe.bases.get(name, recipe.model)
        parent, pretrain = parent_of(config), config.pretrain if isinstance(config, Model) else None
        before = [parent] if parent is not None else []
        for one in [*before, *(_generating(recipe, resolver, [pretrain.blend]) if pretrain else ())]:
            add(one, *after, name)
        if name not in found:
            found.append(name)

    started = sorted({arm.base for _, arm in arms_of(recipe).values() if arm.base})
    arms = arm_inputs(recipe, resolver) if recipe.generated_sources() else ()
    blends = [phase.config.blend for arm in arms for phase in arm.phases]
    for name in [BASE, *started, *_generating(recipe, resolver, blends)]:
        add(name)
    return found


ANY_LENGTH = 10**18
"""The tokens of a phase so long that a blend by epochs leaves no source out."""


def _generating(recipe: Recipe, resolver: Resolver, blends: Iterable[str]) -> list[str]:
    """Return the bases that generate sources of these blends, in order of their names."""
    generated = recipe.generated_sources()
    if not generated:
        return []
    drawn = {split_key(key)[0] for blend in set(blends) for key in resolver.weights(blend, ANY_LENGTH)}
    configs = [source.generate for name, source in generated.items() if name in drawn]
    return sorted({config.from_ for config in configs if config is not None})


def _generates_its_own_text(recipe: Recipe, names: list[str]) -> BadInput:
    """`names`: bases, each made of the next one, the last one being the first."""
    pretrained = [name for name, model in recipe.base_models().items() if model.pretrain is not None]
    name = next(name for name in names if name in pretrained)
    return BadInput(
        "the base is pretrained on text that it generates itself", field=f"{field_of(name)}.pretrain.blend",
        given=" needs ".join(names), allowed="a blend without sources that this base, or one made of it, generates",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What bases are resolved with: functions of the plan that they become a part of."""

    digests: Mapping[str, str]
    """The content of folders."""
    tokenizer: Identity
    phase_of: Callable[..., Phase]
    evaluation_of: Callable[[Identity], Identity]
    resolver: Resolver
    made: Callable[[str, Identity], None]
    """What is told of each base, by name and model, before a base that follows it is resolved."""


def planned_bases(recipe: Recipe, given: Resolution) -> dict[str, Base]:
    """Return every base that is made, by name, each after the one that it is made of."""
    found: dict[str, Base] = {}
    for name in bases_in_use(recipe, given.resolver):
        config = recipe.bases.get(name, recipe.model)
        found[name] = _base(recipe, name, config, found.get(parent_of(config) or ""), given)
        given.made(name, found[name].model)
    steps: dict[str, set[int]] = {}
    for base in found.values():
        if base.step is not None:
            steps.setdefault(base.output.identity.digest, set()).add(base.step)
    return {name: _requesting(base, steps.get(base.output.identity.digest, set())) for name, base in found.items()}


def _base(recipe: Recipe, name: str, config: BaseConfig, parent: Base | None, given: Resolution) -> Base:
    output: BaseOutput
    if isinstance(config, CheckpointBase):
        assert parent is not None
        output = parent.output
    elif isinstance(config, TransformBase):
        assert parent is not None
        output = _transformed(config, parent.model)
    else:
        output = _first_output(recipe, name, config, given)
    pretraining, model = parent.pretraining if parent else None, output.identity
    if isinstance(output.stage, Train):
        pretraining, step = output.stage, output.stage.end_step
        if isinstance(config, CheckpointBase):
            tokens = math.ceil(config.checkpoint * pretraining.tokens)
            step = max(1, pretraining.clock.step_at(tokens))
        model = identity_of("model", {"step": step}, {"run": output.identity})
    origin = parent.origin if parent else config
    assert isinstance(origin, Model)
    return Base(
        name=name, parent=parent.name if parent else None, output=output, model=model,
        evaluation=given.evaluation_of(model), origin=origin, pretraining=pretraining, described=_described(config),
    )  # fmt: skip


def _requesting(base: Base, steps: Iterable[int]) -> Base:
    """Return the base with its pretraining asked for the checkpoints and models of all bases that come from it."""
    if base.trained is None:
        return base
    at = tuple(sorted(steps))
    return replace(base, output=replace(base.trained, keep_steps=at, export_steps=at))


def _transformed(config: TransformBase, model: Identity) -> Output[Transform]:
    transform = config.transform
    identity = identity_of("transform", deciding(transform, "of"), {"model": model})
    return Output(identity=identity, stage=Transform(config=transform, model=model))


def _first_output(recipe: Recipe, name: str, model: Model, given: Resolution) -> Output[Import] | Output[Train]:
    """Return the output of a base that is imported or pretrained."""
    pretrain = model.pretraining
    if pretrain is None or model.architecture is None:
        identity = identity_of("base", {"content": given.digests.get(str(model.folder), "unread")})
        return Output(identity=identity, stage=Import())
    settings = recipe.step_settings(pretrain)
    clock = Clock.of(settings.batch_size, settings.sequence_length)
    end_step = clock.step_at(pretrain.tokens)
    phase = given.phase_of(
        name=name, blend=pretrain.blend, start="fresh", start_step=0, end_step=end_step, clock=clock, order=0,
        seed=BASE_SEED, field=f"{field_of(name)}.pretrain.blend", settings=settings,
    )  # fmt: skip
    stage = Train(
        start="scratch", start_step=0, end_step=end_step, seed=BASE_SEED, phases=(phase,), clock=clock,
        schedule=_pretrain_schedule(pretrain, clock.tokens_at(end_step)),
    )  # fmt: skip
    config = {
        "architecture": deciding(model.architecture),
        # The blend is an input and the batch is one of the settings.
        "pretrain": deciding(pretrain, "blend", "batch_size"),
        **deciding(settings),
    }
    identity = identity_of("base", config, {"blend": phase.blend_identity, "tokenizer": given.tokenizer})
    return Output(identity=identity, stage=stage)


def field_of(name: str) -> str:
    """Return where the recipe describes a base."""
    return "model" if name == BASE else f"bases.{name}"


def _described(config: BaseConfig) -> str:
    """Return what people read of a base."""
    if isinstance(config, CheckpointBase):
        return f"{config.of} after {float(config.checkpoint):.0%} of its pretraining"
    if isinstance(config, TransformBase):
        return f"{config.transform.kind} of {config.transform.of}"
    return "a model from a folder" if config.folder else "pretrained by itself"


def _pretrain_schedule(pretrain: Pretrain, horizon_tokens: int) -> Schedule:
    config = Cosine(
        max_learning_rate=pretrain.max_learning_rate, floor_learning_rate=pretrain.min_learning_rate,
        warmup_tokens=pretrain.warmup_tokens,
    )  # fmt: skip
    return config.pieces(None, horizon_tokens)
