"""Stages: what is done to a model, resolved to exact steps and counts; and the outputs that they make.

`AnyStage` is the closed union of stages: import a base, train (pretrain a base, or a part of a phase), transform a
model, generate text from a model, merge models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, Literal, TypeVar

from switchpoint.components.recipe.blend import Weights
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.gate import Check, Gate
from switchpoint.components.recipe.generate import GenerateConfig
from switchpoint.components.recipe.phase import StartMode
from switchpoint.components.recipe.schedule import Schedule
from switchpoint.components.recipe.source import SourceKey
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.transform import TransformConfig


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A range of training steps with one blend and one group of settings, resolved to exact counts."""

    name: str
    blend: str
    start: StartMode
    start_step: int
    end_step: int
    first_sample: int
    start_tokens: int
    end_tokens: int
    settings: StepSettings
    order: int
    """Rises where the sources begin a new permutation: another sequence length or packing, or data at 0."""
    weights: Weights
    samples: Mapping[SourceKey, int]
    """Samples drawn from each source: exact, summing to the phase."""
    blend_identity: Identity
    moved: Mapping[SourceKey, int] = field(default_factory=dict)
    """Samples beyond a source's `max_epochs` that went to the others."""
    gate: Gate | None = None
    """What must hold of its model before the next phase starts."""

    @property
    def sequence_length(self) -> int:
        """Tokens that a sample predicts."""
        return self.settings.sequence_length

    @property
    def tokens(self) -> int:
        """Tokens that the phase trains on."""
        return self.end_tokens - self.start_tokens

    @property
    def num_samples(self) -> int:
        """Samples that the phase trains on."""
        return sum(self.samples.values())


@dataclass(frozen=True, kw_only=True)
class Import:
    """A stage that trains nothing: the model lies in the user's folder."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """A stage that trains: a part of a history, within one phase and one piece of the schedule."""

    start: StartMode | Literal["scratch"]
    """How it starts from its parent; `scratch`: from random weights, as a base is pretrained."""
    start_step: int
    end_step: int
    seed: int
    phases: tuple[Phase, ...]
    """All phases up to this stage's own, which is the last."""
    schedule: Schedule
    clock: Clock

    @property
    def phase(self) -> Phase:
        """The phase that the stage is a part of."""
        return self.phases[-1]

    @property
    def blend(self) -> str:
        """The name of the blend that it trains on."""
        return self.phase.blend

    @property
    def tokens(self) -> int:
        """Tokens that it trains on."""
        return self.clock.tokens_at(self.end_step) - self.clock.tokens_at(self.start_step)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """A stage that makes a model of another one and trains nothing."""

    config: TransformConfig
    model: Identity
    """The model that it is made of."""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """A stage that samples documents from a model: its output is text, and a source of the study."""

    source: str
    base: str
    config: GenerateConfig
    sequence_length: int
    """The longest document, in tokens."""
    model: Identity
    """The model that they are sampled from."""


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A stage that averages models, whose outputs are the parents."""

    models: tuple[Identity, ...]
    weights: tuple[Fraction, ...]
    """One for each model, summing to 1."""


AnyStage = Import | Train | Transform | Generate | Merge
Stage = TypeVar("Stage", bound=AnyStage, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Output(Generic[Stage]):
    """What a stage produces, a model on its way or text, and what the study requests of it. Made once for all that
    share it.

    Its identity names the history and not how far it goes: a longer study continues the same output.
    """

    identity: Identity
    stage: Stage
    parent: Identity | None = None
    """The output that it continues; None: the stage needs none."""
    parent_step: int = 0
    """The step of the parent's checkpoint that it continues: the one at which it starts itself, or an earlier one at
    which a gate ended the phase before."""
    keep_steps: tuple[int, ...] = ()
    """Where a checkpoint stays, because an arm ends or another output continues there."""
    export_steps: tuple[int, ...] = ()
    """Where the model is exported, because it is evaluated there."""
    evaluation_steps: tuple[int, ...] = ()
    """Where the model is evaluated while it trains."""
    checks: tuple[Check, ...] = ()
    """Where the gate of its phase is checked; those after the one that held are left out."""


Trained = Output[Train]
"""An output of a stage that trains: a GB run, or a part of an arm after it."""
