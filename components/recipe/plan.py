"""A study expanded: what every step is made of, the shared runs, the arms, their exact token counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.recipe.blend import Weights
from components.recipe.clock import Clock
from components.recipe.digest import Identity
from components.recipe.phase import Packing, StartMode
from components.recipe.recipe import Recipe
from components.recipe.schedule import Schedule
from components.recipe.source import Source, SourceKey, is_made, split_key


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A range of steps with one blend."""

    name: str
    blend: str
    start: StartMode
    start_step: int
    end_step: int
    first_sample: int
    start_tokens: int
    end_tokens: int
    sequence_length: int
    packing: Packing
    order: int
    """Rises where the sources begin a new permutation: another sequence length or packing, or data at 0."""
    weights: Weights
    samples: Mapping[SourceKey, int]
    """Samples drawn from each source: exact, summing to the phase."""
    blend_identity: Identity
    moved: Mapping[SourceKey, int] = field(default_factory=dict)
    """Samples beyond a source's `max_epochs` that went to the others."""

    @property
    def tokens(self) -> int:
        return self.end_tokens - self.start_tokens

    @property
    def num_samples(self) -> int:
        return sum(self.samples.values())


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A part of a history, within one phase and one piece of the schedule: trained once for all arms that share it.

    Its identity names the history and not how far it goes; it is kept where arms end or go on from it.
    """

    identity: Identity
    parent: Identity | None
    """The run that it goes on from; None: the base."""
    start: StartMode
    start_step: int
    end_step: int
    keep_steps: tuple[int, ...]
    export_steps: tuple[int, ...]
    """Where an arm ends, or is evaluated: the model is exported there."""
    evaluation_steps: tuple[int, ...]
    """Where its arms want it evaluated while it trains."""
    seed: int
    phases: tuple[Phase, ...]
    """All up to this run's own, which is the last."""
    schedule: Schedule
    clock: Clock

    @property
    def blend(self) -> str:
        return self.phases[-1].blend

    @property
    def tokens(self) -> int:
        return self.clock.tokens_at(self.end_step) - self.clock.tokens_at(self.start_step)


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One variant of the recipe, with one seed."""

    arm_id: str
    run_name: str
    """The arm's, or ARM-seed-N where the study has several seeds: the name of its run."""
    seed: int
    schedule: Schedule
    clock: Clock
    phases: tuple[Phase, ...]
    runs: tuple[Identity, ...]
    """What it is trained by, in order. Those of the first phase are GB runs."""
    switch_step: int | None
    """Where the first phase ends; None where the arm never switches: GB and QB are one blend."""
    horizon_steps: int
    horizon_tokens: int
    evaluation: Identity
    checkpoint_evaluations: Mapping[int, Identity] = field(default_factory=dict)
    """Of its models before the end, by step."""
    evaluation_steps: tuple[int, ...] = ()
    """Where it is evaluated while it trains."""
    stopped: str = ""
    """Why it ends before its horizon; empty where it does not."""

    @property
    def gb_run(self) -> Identity:
        """The last of its GB runs: the one that it leaves at the switch, or ends in."""
        return [run for run in self.runs if run.step == "gb"][-1]

    def learning_rates(self, phase: Phase) -> tuple[float, float]:
        """Where the phase starts and ends."""
        start = self.schedule.learning_rate(phase.start_tokens)
        return start, self.schedule.end_learning_rate(phase.end_tokens)

    @property
    def model(self) -> Identity:
        return self.evaluation.inputs["model"]

    @property
    def switch_tokens(self) -> int | None:
        return None if self.switch_step is None else self.clock.tokens_at(self.switch_step)

    @property
    def switch_learning_rate(self) -> float | None:
        return None if self.switch_tokens is None else self.schedule.learning_rate(self.switch_tokens)


@dataclass(frozen=True, kw_only=True)
class BasePlan:
    """How the base is, or was, pretrained; its clock and schedule are None for a folder."""

    identity: Identity
    clock: Clock | None = None
    schedule: Schedule | None = None
    phase: Phase | None = None

    @property
    def end_step(self) -> int:
        assert self.phase is not None
        return self.phase.end_step


@dataclass(frozen=True, kw_only=True)
class Plan:
    recipe: Recipe
    texts: Mapping[str, Identity]
    tokenizer: Identity
    duplicates: Mapping[str, Identity]
    """Which documents repeat another one, by the source that is deduplicated."""
    contamination: Identity | None
    """What the evaluation sets hold, where there are any."""
    scorers: Mapping[str, Identity]
    """Models of reference corpora, by the source whose documents they score."""
    tokens: Mapping[SourceKey, Identity]
    base_plan: BasePlan
    base_evaluation: Identity
    probes: Identity | None
    """What runs are evaluated on while they train."""
    runs: tuple[TrainingRun, ...]
    """Every run after the one that it goes on from."""
    arms: tuple[ArmPlan, ...]
    report: Identity

    @property
    def base(self) -> Identity:
        return self.base_plan.identity

    @property
    def blends(self) -> dict[str, Phase]:
        """A phase that draws from it, for every blend by its digest; the base's included."""
        phases = [self.base_plan.phase] if self.base_plan.phase and self.recipe.model.pretrain else []
        phases += [phase for arm in self.arms for phase in arm.phases]
        return {phase.blend_identity.digest: phase for phase in reversed(phases)}

    @property
    def gb_runs(self) -> tuple[TrainingRun, ...]:
        return tuple(run for run in self.runs if run.identity.step == "gb")

    @property
    def qb_runs(self) -> tuple[TrainingRun, ...]:
        return tuple(run for run in self.runs if run.identity.step == "qb")

    @property
    def tokens_alone(self) -> int:
        """Tokens of continued training if every arm were trained by itself."""
        return sum(arm.horizon_tokens for arm in self.arms)

    @property
    def tokens_shared(self) -> int:
        """Tokens of continued training with every shared history trained once."""
        return sum(run.tokens for run in self.runs)

    def run(self, digest: str) -> TrainingRun:
        return next(run for run in self.runs if run.identity.digest == digest)

    def chain(self, run: TrainingRun) -> list[TrainingRun]:
        """The run and all that it goes on from, the first one first."""
        before = self.chain(self.run(run.parent.digest)) if run.parent is not None else []
        return [*before, run]

    def arm(self, run_name: str) -> ArmPlan:
        return next(arm for arm in self.arms if arm.run_name == run_name)

    def own_runs(self, arm: ArmPlan) -> list[TrainingRun]:
        """Return the arm's runs after GB, in order; none where it ends inside a GB run."""
        return [self.run(identity.digest) for identity in arm.runs if identity.step == "qb"]

    def sources_with_text(self) -> dict[str, Source]:
        """The sources that documents are read from."""
        return self.recipe.sources_with_text()

    def drawn_sources(self) -> list[SourceKey]:
        """What some blend of the study draws, in the order of the recipe's sources."""
        drawn = {key for phase in self.blends.values() for key in phase.weights}
        return [key for key in self.tokens if key in drawn]

    def packed_lengths(self) -> dict[SourceKey, set[int]]:
        """The sequence lengths that documents are packed into, by what is drawn."""
        found: dict[SourceKey, set[int]] = {}
        phases = [self.base_plan.phase] if self.base_plan.phase and self.recipe.model.pretrain else []
        for phase in [*phases, *(phase for arm in self.arms for phase in arm.phases)]:
            for key in phase.weights if phase.packing == "best_fit" else ():
                found.setdefault(key, set()).add(phase.sequence_length)
        return found

    def generated_texts(self) -> list[Identity]:
        """What the steps `text` and `mined` make."""
        return [text for origin, text in self.texts.items() if is_made(origin)]

    def tokenised_sources(self) -> list[str]:
        """What token files are made of: what is drawn, and what the evaluation reads held-out text of."""
        drawn = {split_key(key)[0] for key in self.drawn_sources()}
        return [name for name in self.recipe.sources if name in drawn or name in self.sources_with_text()]

    def evaluations(self) -> dict[str, tuple[Identity, Identity]]:
        """Every (model, evaluation) of the study by the evaluation's digest: the base's, then the arms'."""
        found = [(self.base, self.base_evaluation)]
        for arm in self.arms:
            found += [(one.inputs["model"], one) for one in (*arm.checkpoint_evaluations.values(), arm.evaluation)]
        return {evaluation.digest: (model, evaluation) for model, evaluation in found}

    def identities(self) -> list[Identity]:
        """Every output of the study, in the order of the DAG, each once."""
        aside = [*self.duplicates.values(), *filter(None, [self.contamination]), *self.scorers.values()]
        listed = [*self.generated_texts(), self.tokenizer, *aside]
        listed += [self.tokens[name] for name in self.tokenised_sources()]
        listed += sorted((phase.blend_identity for phase in self.blends.values()), key=lambda one: one.digest)
        listed += [*filter(None, [self.probes]), self.base]
        listed += [run.identity for run in (*self.gb_runs, *self.qb_runs)]
        listed += [*(evaluation for _, evaluation in self.evaluations().values()), self.report]
        return list({identity.digest: identity for identity in listed}.values())
