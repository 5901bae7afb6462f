"""A study expanded: what every output is made of, the shared runs, the arms, their exact token counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.bases import Base, BaseOutput
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.gate import GatedPhase
from switchpoint.components.recipe.kind import KINDS
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.schedule import Schedule
from switchpoint.components.recipe.source import Source, SourceKey, is_made, split_key
from switchpoint.components.recipe.stage import Generate, Merge, Output, Phase, Trained


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One variant of the recipe, with one seed."""

    arm_id: str
    run_name: str
    """The arm's, or ARM-seed-N where the study has several seeds: the name of its run."""
    seed: int
    base: str
    """The name of the base that it starts from."""
    schedule: Schedule
    clock: Clock
    phases: tuple[Phase, ...]
    runs: tuple[Identity, ...]
    """The outputs that its history is made of, in order."""
    num_gb_runs: int
    """How many of them belong to its first phase: these are GB runs, which arms share."""
    switch_step: int | None
    """Where the first phase ends; None where the arm never switches: GB and QB are one blend."""
    horizon_steps: int
    horizon_tokens: int
    evaluation: Identity
    checkpoint_evaluations: Mapping[int, Identity] = field(default_factory=dict)
    """The evaluations of its models before the end, by step."""
    evaluation_steps: tuple[int, ...] = ()
    """Where it is evaluated while it trains."""
    stopped: str = ""
    """Why it ends before its horizon: halving stopped it, or a gate did not hold. Empty where it does not."""
    planned_steps: int = 0
    """Where it ends if nothing stops it and no gate ends its last phase early."""
    gates: tuple[GatedPhase, ...] = ()
    """How the gates of its phases stand, as far as the arm came."""

    @property
    def trained_tokens(self) -> int:
        """Tokens that it trains on: up to its end, without what was skipped after a gate held. An upper bound while a
        gate is not decided.
        """
        return sum(phase.tokens for phase in self.phases)

    @property
    def ended_at_gate(self) -> bool:
        """Whether a gate of it did not hold."""
        return any(gate.failure for gate in self.gates)

    @property
    def may_end_early(self) -> bool:
        """Whether a gate is still to decide how far it trains."""
        return any(not gate.is_decided for gate in self.gates)

    @property
    def gb_run(self) -> Identity:
        """The last of its GB runs: the one that it leaves at the switch, or ends in."""
        return self.runs[self.num_gb_runs - 1]

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
class Derived:
    """A model that is made of arms' models when they are trained, with a row of its own in the report."""

    name: str
    """As the recipe names it."""
    run_name: str
    """With its seed, where it is made for every seed: the name of its row."""
    seed: int | None
    """The seed of the arms that it is made of, if they have the same one."""
    output: Output[Merge]
    described: str
    """What it is made of, for people."""
    evaluation: Identity
    stopped: str = ""
    """Why it is not made: a gate ended an arm before the model that it takes. Empty where it is made."""

    @property
    def arm_id(self) -> str:
        """The name that its rows of several seeds share, as those of an arm do."""
        return self.name

    @property
    def model(self) -> Identity:
        """The model that is evaluated."""
        return self.output.identity


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
    bases: Mapping[str, Base]
    """By name, each after the one that it is made of; the first is `base`."""
    generations: Mapping[str, Output[Generate]]
    """What generates a source, by source: also of those that no blend draws, which are not made."""
    probes: Identity | None
    """What runs are evaluated on while they train."""
    runs: tuple[Trained, ...]
    """Every continued training run, after the one that it continues."""
    arms: tuple[ArmPlan, ...]
    derived: tuple[Derived, ...]
    report: Identity

    @property
    def base(self) -> Identity:
        """The output of the base that `model:` describes."""
        return self.bases[BASE].output.identity

    @property
    def base_evaluation(self) -> Identity:
        """The evaluation of that base."""
        return self.bases[BASE].evaluation

    @property
    def base_outputs(self) -> dict[str, BaseOutput]:
        """What makes the bases, by digest, in order. A checkpoint has no output of its own, but its pretraining's."""
        return {base.output.identity.digest: base.output for base in self.bases.values()}

    @property
    def pretrainings(self) -> dict[str, Trained]:
        """The pretrainings of this study's bases, published ones left out, by the name of the base at their ends."""
        found: dict[str, tuple[str, Trained]] = {}
        for base in self.bases.values():
            if base.trained is not None and base.origin.pretrain is not None:
                found.setdefault(base.trained.identity.digest, (base.name, base.trained))
        return dict(found.values())

    @cached_property
    def _bases_of_runs(self) -> dict[str, str]:
        """By the digest of a training run, the name of the base that its history starts from."""
        found = {base.output.identity.digest: name for name, base in reversed([*self.bases.items()])}
        return found | {run.digest: arm.base for arm in reversed(self.arms) for run in arm.runs}

    def base_of(self, one: ArmPlan | Output[Any]) -> Base:
        """Return the base that an arm, or a training run's history, starts from; for what makes a base, that one."""
        return self.bases[one.base if isinstance(one, ArmPlan) else self._bases_of_runs[one.identity.digest]]

    def lineage(self, base: Base) -> list[Base]:
        """Return the base after all that it is made of."""
        return [*(self.lineage(self.bases[base.parent]) if base.parent else []), base]

    @property
    def blends(self) -> dict[str, Phase]:
        """A phase that draws from it, for every blend by its digest; the base's included."""
        phases = [run.stage.phase for run in self.pretrainings.values()]
        phases += [phase for arm in self.arms for phase in arm.phases]
        return {phase.blend_identity.digest: phase for phase in reversed(phases)}

    @property
    def gb_runs(self) -> tuple[Trained, ...]:
        """The runs of the arms' first phases."""
        found = {run.digest for arm in self.arms for run in arm.runs[: arm.num_gb_runs]}
        return tuple(run for run in self.runs if run.identity.digest in found)

    @property
    def later_runs(self) -> tuple[Trained, ...]:
        """The runs of all later phases."""
        found = {run.identity.digest for run in self.gb_runs}
        return tuple(run for run in self.runs if run.identity.digest not in found)

    @property
    def may_end_early(self) -> bool:
        """Whether gates are still to decide how far arms train: what is planned of them is then an upper bound."""
        return any(arm.may_end_early for arm in self.arms)

    @property
    def tokens_alone(self) -> int:
        """Tokens of continued training if every arm were trained by itself."""
        return sum(arm.trained_tokens for arm in self.arms)

    @property
    def tokens_shared(self) -> int:
        """Tokens of continued training with every shared history trained once."""
        return sum(run.stage.tokens for run in self.runs)

    def run(self, digest: str) -> Trained:
        """Return the run of this digest; raise StopIteration where there is none."""
        return next(run for run in self.runs if run.identity.digest == digest)

    def trained(self, identity: Identity) -> Trained | None:
        """Return the output that a trainer makes under this identity; None where none does."""
        bases = [base.trained for base in self.bases.values() if base.trained is not None]
        return next((run for run in [*bases, *self.runs] if run.identity.digest == identity.digest), None)

    def label(self, identity: Identity) -> str:
        """Return what people call an output: a training run by its phase, the rest by its kind."""
        run = self.trained(identity)
        return run.stage.phase.name if run else KINDS[identity.kind].label

    def chain(self, run: Trained) -> list[Trained]:
        """Return the run and all that it continues, the first one first."""
        before = self.chain(self.run(run.parent.digest)) if run.parent is not None else []
        return [*before, run]

    def arm(self, run_name: str) -> ArmPlan:
        return next(arm for arm in self.arms if arm.run_name == run_name)

    def made(self, run_name: str) -> ArmPlan | Derived:
        """Return the arm, or what is derived from arms, of this row; raise StopIteration where there is none."""
        made: list[ArmPlan | Derived] = [*self.arms, *self.derived]
        return next(one for one in made if one.run_name == run_name)

    def own_runs(self, arm: ArmPlan) -> list[Trained]:
        """Return the arm's runs after GB, in order; none where it ends inside a GB run."""
        return [self.run(identity.digest) for identity in arm.runs[arm.num_gb_runs :]]

    def sources_with_text(self) -> dict[str, Source]:
        """The sources that documents are read from."""
        return self.recipe.sources_with_text()

    def drawn_sources(self) -> list[SourceKey]:
        """What some blend of the study draws, in the order of the recipe's sources."""
        drawn = {key for phase in self.blends.values() for key in phase.weights}
        order = list(self.recipe.sources)
        return sorted((key for key in self.tokens if key in drawn), key=lambda key: order.index(split_key(key)[0]))

    def packed_lengths(self) -> dict[SourceKey, set[int]]:
        """The sequence lengths that documents are packed into, by what is drawn."""
        found: dict[SourceKey, set[int]] = {}
        phases = [run.stage.phase for run in self.pretrainings.values()]
        for phase in [*phases, *(phase for arm in self.arms for phase in arm.phases)]:
            for key in phase.weights if phase.settings.packing == "best_fit" else ():
                found.setdefault(key, set()).add(phase.sequence_length)
        return found

    def generated_texts(self) -> list[Identity]:
        """What the steps `text` and `mined` make."""
        later = {output.identity.digest for output in self.generations.values()}
        return [text for origin, text in self.texts.items() if is_made(origin) and text.digest not in later]

    def generated_sources(self) -> list[str]:
        """The sources that bases generate and some blend draws, in the order of the recipe."""
        return [name for name in self.tokenised_sources() if name in self.generations]

    def generated_in(self, phase: Phase) -> list[str]:
        """The sources of a phase's blend that bases generate: it is built after them."""
        return [name for name in self.generations if name in {split_key(key)[0] for key in phase.weights}]

    def sources_at_hand(self) -> list[str]:
        """The sources that are tokenised before anything is trained."""
        return [name for name in self.tokenised_sources() if name not in self.generations]

    def tokenised_sources(self) -> list[str]:
        """What token files are made of: what is drawn, and what the evaluation reads held-out text of."""
        drawn = {split_key(key)[0] for key in self.drawn_sources()}
        return [name for name in self.recipe.sources if name in drawn or name in self.sources_with_text()]

    def evaluations(self) -> dict[str, tuple[Identity, Identity]]:
        """Return every (model, evaluation) by the evaluation's digest: the bases', the arms', then what is derived
        from them.
        """
        found = [(base.model, base.evaluation) for base in self.bases.values()]
        found += [(check.evaluation.inputs["model"], check.evaluation) for run in self.runs for check in run.checks]
        for arm in self.arms:
            found += [(one.inputs["model"], one) for one in (*arm.checkpoint_evaluations.values(), arm.evaluation)]
        found += [(one.output.identity, one.evaluation) for one in self.derived if not one.stopped]
        return {evaluation.digest: (model, evaluation) for model, evaluation in found}

    def identities(self) -> list[Identity]:
        """Every output of the study, in the order of the DAG, each once."""
        aside = [*self.duplicates.values(), *filter(None, [self.contamination]), *self.scorers.values()]
        listed = [*self.generated_texts(), self.tokenizer, *aside]
        listed += [self.tokens[name] for name in self.sources_at_hand()]
        blends = sorted(self.blends.values(), key=lambda phase: phase.blend_identity.digest)
        listed += [phase.blend_identity for phase in blends if not self.generated_in(phase)]
        listed += [*filter(None, [self.probes]), *(output.identity for output in self.base_outputs.values())]
        for name in self.generated_sources():
            listed += [self.generations[name].identity, self.tokens[name]]
        listed += [phase.blend_identity for phase in blends if self.generated_in(phase)]
        listed += [run.identity for run in (*self.gb_runs, *self.later_runs)]
        listed += [one.output.identity for one in self.derived if not one.stopped]
        listed += [*(evaluation for _, evaluation in self.evaluations().values()), self.report]
        return list({identity.digest: identity for identity in listed}.values())
