"""Expands a recipe into its plan.

Pure: the same recipe and the same input digests give the same plan, so every task of the DAG expands it anew
instead of handing it on. An arm's plan does not depend on the other arms: sharing is found by comparing digests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.recipe.arm import ArmInput, arm_inputs
from components.recipe.blend import Resolver
from components.recipe.caps import declared_epochs, moved_excess
from components.recipe.clock import Clock
from components.recipe.deciding import deciding
from components.recipe.derived import derived_from
from components.recipe.digest import Identity
from components.recipe.errors import BadInput, raise_all
from components.recipe.evaluation import Evaluation, data_origin, evaluation_origin, suite_name, suite_origin
from components.recipe.halving import Stop
from components.recipe.history import history, joined, requesting, stopped_at, timeline
from components.recipe.kind import identity_of
from components.recipe.model import Pretrain
from components.recipe.plan import ArmPlan, Import, Output, Phase, Plan, Train, Trained
from components.recipe.recipe import Recipe
from components.recipe.schedule import Schedule
from components.recipe.schedule_config import Cosine
from components.recipe.source import (
    Mine,
    Source,
    SourceKey,
    is_made,
    origin_of,
    part_of,
    reference_origin,
    source_key,
    split_key,
)
from components.recipe.step_settings import StepSettings
from components.recipe.suites import definition, harness_settings

BASE_SEED = 0
"""A recipe's seed never changes its base."""


def expand(
    recipe: Recipe, input_digests: Mapping[str, str], file: str = "", stops: Mapping[str, Stop] | None = None
) -> Plan:
    """The plan of `recipe`. `stops`: arms that end before their horizon, by run name.

    `input_digests`: what each folder and the Python text hold, by `origin_of` (and the model's and tokenizer's
    folder by its path); without text none are needed. `file` is only named in messages. Raises BadInput.
    """
    try:
        return _Expansion(recipe, input_digests, stops or {}).plan()
    except BadInput as error:
        problems = getattr(error, "problems", (error,))
        raise_all([problem.at(file) for problem in problems])
        raise


class _Expansion:
    """One recipe on its way to a plan."""

    def __init__(self, recipe: Recipe, input_digests: Mapping[str, str], stops: Mapping[str, Stop]) -> None:
        self.recipe, self.digests, self.stops = recipe, input_digests, stops
        self.resolver = Resolver(recipe.blends, recipe.sources, frozenset(recipe.left_out))
        self.with_text = recipe.sources_with_text()
        self.texts: dict[str, Identity] = {}
        for source in self.with_text.values():  # mined ones last
            self.texts[origin_of(source)] = self._text(source)
        # A mined source adds no text: neither the tokenizer nor the evaluation depends on it.
        own = {name: source for name, source in self.with_text.items() if not source.mine}
        self.from_sources = {f"source {name}": self.texts[origin_of(source)] for name, source in own.items()}
        self.parts = {name: part_of(source) for name, source in own.items()}
        self.categories = {name: source.category for name, source in own.items() if source.category}
        self.tokenizer = self._tokenizer()
        self.contamination = self._contamination()
        self.duplicates = {
            name: identity_of("duplicates", {"kind": source.deduplicate}, {"text": self.texts[origin_of(source)]})
            for name, source in self.with_text.items()
            if source.deduplicate
        }
        self.scorers = {
            name: identity_of(
                "scorer",
                {
                    "reference": input_digests[reference_origin(source)],
                    "best": {tier: config.best for tier, config in source.tiers.items() if config.best is not None},
                },
                {"tokenizer": self.tokenizer, "text": self.texts[origin_of(source)]},
            )
            for name, source in self.with_text.items()
            if source.reference
        }  # fmt: skip
        self.tokens = {
            source_key(name, tier): tokens
            for name, source in recipe.sources.items()
            for tokens in [self._tokens(name, source)]
            for tier in (None, *source.tiers)
        }
        self.base = self._base()

    def plan(self) -> Plan:
        problems: list[BadInput] = []
        arms: list[ArmPlan] = []
        runs: dict[str, Trained] = {}
        for arm in arm_inputs(self.recipe, self.resolver):
            try:
                planned = self._arm(arm)
            except BadInput as error:
                problems += getattr(error, "problems", (error,))
                continue
            arms.append(planned.arm)
            for run in planned.runs:
                runs[run.identity.digest] = joined(runs.get(run.identity.digest, run), run)
        raise_all(problems)
        derived, runs = derived_from(self.recipe, arms, runs, self._evaluation)
        base_evaluation = self._evaluation(self.base.identity)
        evaluations = {f"merge {one.run_name}": one.evaluation for one in derived}
        evaluations |= {f"arm {arm.run_name}": arm.evaluation for arm in arms}
        for one in arms:
            for step, evaluation in one.checkpoint_evaluations.items():
                evaluations[f"arm {one.run_name} at step {step}"] = evaluation
        probes = self._probes()
        return Plan(
            recipe=self.recipe, texts=self.texts, tokenizer=self.tokenizer,
            duplicates=self.duplicates, contamination=self.contamination, scorers=self.scorers,
            tokens=self.tokens, base_output=self.base,
            base_evaluation=base_evaluation, probes=probes,
            runs=tuple(runs.values()), arms=tuple(arms), derived=derived,
            report=identity_of(
                "report",
                {
                    "name": self.recipe.name, "question": self.recipe.question, "left_out": self.recipe.left_out,
                    "metric": self.recipe.evaluation.ranked_by,
                    "published": self.recipe.published and self.recipe.published.model_dump(),
                    "hardware": self.recipe.hardware and self.recipe.hardware.model_dump(),
                    "arms": [[arm.run_name, *(phase.blend for phase in arm.phases)] for arm in arms],
                    "merges": [[one.run_name, one.described] for one in derived],
                    "evaluation_steps": [list(arm.evaluation_steps) for arm in arms],
                    "stopped": {arm.run_name: arm.stopped for arm in arms if arm.stopped},
                },
                {"base": base_evaluation, **evaluations, **({"probes": probes} if probes else {})},
            ),
        )  # fmt: skip

    def _tokenizer(self) -> Identity:
        config = self.recipe.tokenizer
        if config.folder:
            return identity_of("tokenizer", {"content": self.digests[config.folder]})
        return identity_of("tokenizer", {"vocab_size": config.vocab_size, "parts": self.parts}, self.from_sources)

    def _text(self, source: Source) -> Identity:
        """What the documents of a source's origin are, and which of them are held out."""
        if source.mine:
            return self._mined(source.mine)
        content, fraction = self.digests[origin_of(source)], self.recipe.heldout_fraction
        if is_made(origin_of(source)):
            return identity_of("text", {"content": content, "heldout_fraction": fraction})
        return identity_of(
            "text",
            {
                "content": content, "heldout_fraction": fraction, "text_field": source.text_field,
                "on_error": source.on_error,
            },
        )  # fmt: skip

    def _mined(self, config: Mine) -> Identity:
        def texts(kind: str, names: list[str]) -> dict[str, Identity]:
            with_text = [name for name in names if name in self.with_text]
            return {f"{kind} {name}": self.texts[origin_of(self.with_text[name])] for name in with_text}

        parts = {
            name: part_of(self.with_text[name]) for name in (*config.sources, *config.like) if name in self.with_text
        }
        embedder = self.digests.get(config.embedder, config.embedder)
        fields = {"nearest": config.nearest, "embedder": embedder, "parts": parts, "order": config.sources}
        return identity_of("mined", fields, texts("from", config.sources) | texts("like", config.like))

    def _tokens(self, name: str, source: Source) -> Identity:
        """Of a source and its tiers: they are parts of the same token files."""
        tiers = {tier: config.documents for tier, config in source.tiers.items()}
        if name not in self.with_text:
            sizes = {tier: config.tokens for tier, config in source.tiers.items()}
            return identity_of("tokens", {"declared": name, "tiers": sizes, "tokens": source.tokens})
        config = {"part": part_of(source), "tiers": tiers, "metadata_fields": source.metadata_fields}
        config |= {"filters": source.filters} if source.filters else {}
        inputs = {"text": self.texts[origin_of(source)], "tokenizer": self.tokenizer}
        inputs |= {"scorer": self.scorers[name]} if name in self.scorers else {}
        inputs |= {"duplicates": self.duplicates[name]} if name in self.duplicates else {}
        if self.contamination is not None and source.is_decontaminated:
            inputs["contamination"] = self.contamination
        return identity_of("tokens", config, inputs)

    def _contamination(self) -> Identity | None:
        sets = self.recipe.evaluation_sets
        if not sets or not any(source.is_decontaminated for source in self.with_text.values()):
            return None
        return identity_of(
            "contamination", {name: self.digests[evaluation_origin(sets[name])] for name in sorted(sets)}
        )

    def _left_out(self) -> dict[str, Any]:
        """What decides, beside the text, which of its documents are held out."""
        found: dict[str, Any] = {}
        for name, source in self.with_text.items():
            rules: dict[str, Any] = {"filters": source.filters, "deduplicate": source.deduplicate}
            if self.contamination is not None and source.is_decontaminated:
                rules["contamination"] = self.contamination.digest
            kept = {rule: value for rule, value in rules.items() if value}
            found |= {name: kept} if kept and not source.mine else {}
        return found

    def _probes(self) -> Identity | None:
        """What is read at every step is decided here; at which steps, is not."""
        continual = self.recipe.evaluation.continual
        if continual is None:
            return None
        config = {
            "bytes_per_source": continual.bytes_per_source, "questions": continual.questions,
            "sequence_length": self.recipe.sequence_length, "parts": self.parts, "left_out": self._left_out(),
        }  # fmt: skip
        config |= {"suites": self._suites()} if self.recipe.evaluation.beyond_local else {}
        return identity_of("probes", config, {"tokenizer": self.tokenizer} | self.from_sources)

    def _evaluation(self, model: Identity) -> Identity:
        evaluation = self.recipe.evaluation
        config = {
            "questions": evaluation.questions, "bytes_per_source": evaluation.bytes_per_source,
            "sequence_length": self.recipe.sequence_length, "parts": self.parts, "left_out": self._left_out(),
        }  # fmt: skip
        config |= {"categories": self.categories} if self.categories else {}
        config |= {"suites": self._suites()} if evaluation.beyond_local else {}
        return identity_of("evaluation", config, {"model": model, "tokenizer": self.tokenizer} | self.from_sources)

    def _suites(self) -> dict[str, Any]:
        """What decides the scores of the suites with data of their own; the hub's data sets are taken as unchanging."""
        evaluation = self.recipe.evaluation
        found: dict[str, Any] = {name: definition(name) for name in evaluation.named_suites}
        for folder in evaluation.suite_folders:
            content = self.digests.get(suite_origin(folder), "unread")
            found[suite_name(folder)] = {"content": content} | harness_settings()
        if evaluation.data_folder is not None:
            found["data"] = self.digests.get(data_origin(evaluation.data_folder), "unread")
        return found

    def _base(self) -> Output[Import] | Output[Train]:
        model = self.recipe.model
        pretrain = model.pretraining
        if pretrain is None or model.architecture is None:
            identity = identity_of("base", {"content": self.digests.get(str(model.folder), "unread")})
            return Output(identity=identity, stage=Import())
        settings = self.recipe.step_settings(pretrain)
        clock = Clock.of(settings.batch_size, settings.sequence_length)
        end_step = clock.step_at(pretrain.tokens)
        phase = self._phase(
            name="base", blend=pretrain.blend, start="fresh", start_step=0, end_step=end_step, clock=clock, order=0,
            seed=BASE_SEED, field="model.pretrain.blend", settings=settings,
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
        identity = identity_of("base", config, {"blend": phase.blend_identity, "tokenizer": self.tokenizer})
        return Output(identity=identity, stage=stage, keep_steps=(end_step,), export_steps=(end_step,))

    def _phase(
        self, *, name: str, blend: str, start: Any, start_step: int, end_step: int, clock: Clock, order: int,
        seed: int, field: str, settings: StepSettings, drawn: "_Drawn | None" = None,
    ) -> Phase:  # fmt: skip
        """A phase with its exact counts. `drawn`: what the phases before it drew, for the caps."""
        start_tokens, end_tokens = clock.tokens_at(start_step), clock.tokens_at(end_step)
        first, num_samples = clock.samples_at(start_step), clock.samples_at(end_step) - clock.samples_at(start_step)
        length = settings.sequence_length
        weights = self.resolver.weights(blend, end_tokens - start_tokens)
        from components.recipe.counting import phase_counts, phase_key  # numpy, as in caps.py

        key = phase_key(seed, first)
        samples: Mapping[SourceKey, int] = phase_counts(weights, num_samples, key)
        moved: Mapping[SourceKey, int] = {}
        if drawn is not None:
            weights, samples, moved = moved_excess(
                weights, samples, num_samples, key, length, self.recipe.sources, drawn.epochs, field
            )
            drawn.add(samples, length, self.recipe.sources)
        identity = identity_of("blend", {"weights": weights}, {source: self.tokens[source] for source in weights})
        return Phase(
            name=name, blend=blend, start=start, start_step=start_step, end_step=end_step, first_sample=first,
            start_tokens=start_tokens, end_tokens=end_tokens, settings=settings, order=order,
            weights=weights, samples=samples, blend_identity=identity, moved=moved,
        )  # fmt: skip

    def _arm(self, arm: ArmInput) -> "_PlannedArm":
        base = self.base.stage
        line = timeline(arm, base.schedule.min_learning_rate if isinstance(base, Train) else None)
        phases, drawn = [], _Drawn()
        for span in line.spans:
            if span.start_step == span.end_step:
                continue
            written = span.phase if span.start_step else line.spans[0].phase
            phases.append(
                self._phase(
                    name=span.phase.name, blend=span.phase.config.blend, start=written.start,
                    start_step=span.start_step, end_step=span.end_step, clock=line.clock, order=span.order,
                    seed=arm.seed, field=f"phases.{span.phase.name}", settings=span.phase.settings, drawn=drawn,
                )
            )  # fmt: skip
        runs = history(arm, line, phases, self.base.identity)
        stop, whole_step = self.stops.get(arm.run_name), phases[-1].end_step
        if stop is not None and stop.step < phases[-1].end_step:
            phases, runs = stopped_at(stop.step, phases, runs, arm.seed)
        end_step = phases[-1].end_step
        runs[-1] = requesting(runs[-1], export=[end_step])
        config = self.recipe.evaluation
        switches = [phase.end_step for phase in phases[:-1]]
        checkpoints = {}
        for step in _checkpoint_steps(config, switches, line.clock, whole_step):
            if step >= end_step:
                continue
            number = next(n for n, run in enumerate(runs) if run.stage.start_step < step <= run.stage.end_step)
            runs[number] = requesting(runs[number], keep=[step], export=[step])
            checkpoints[step] = self._evaluation(identity_of("model", {"step": step}, {"run": runs[number].identity}))
        steps = config.continual.steps(switches, end_step) if config.continual else ()
        runs = [requesting(run, evaluate=(step for step in steps if _is_evaluated_by(run.stage, step))) for run in runs]
        switch_step = line.spans[0].end_step
        planned = ArmPlan(
            arm_id=arm.arm_id, run_name=arm.run_name, seed=arm.seed, schedule=runs[-1].stage.schedule,
            clock=line.clock, phases=tuple(phases), runs=tuple(run.identity for run in runs),
            num_gb_runs=sum(len(run.stage.phases) == 1 for run in runs),
            switch_step=switch_step if len(line.spans) > 1 and switch_step < end_step else None,
            horizon_steps=end_step, horizon_tokens=line.clock.tokens_at(end_step),
            evaluation=self._evaluation(identity_of("model", {"step": end_step}, {"run": runs[-1].identity})),
            checkpoint_evaluations=checkpoints, evaluation_steps=steps, stopped=stop.reason if stop else "",
        )  # fmt: skip
        return _PlannedArm(planned, runs)


def _is_evaluated_by(stage: Train, step: int) -> bool:
    """Whether the stage evaluates its model at `step` while it trains; step 0 belongs to the first one."""
    return stage.start_step < step <= stage.end_step or step == stage.start_step == 0


class _Drawn:
    """Epochs that an arm's phases have drawn so far, by source, tiers together."""

    def __init__(self) -> None:
        self.epochs: dict[str, Any] = {}

    def add(self, samples: Mapping[SourceKey, int], length: int, sources: Mapping[str, Source]) -> None:
        for key, count in samples.items():
            source, _ = split_key(key)
            epochs = declared_epochs(key, count, length, sources)
            if epochs is not None:
                self.epochs[source] = self.epochs.get(source, 0) + epochs


@dataclass(frozen=True)
class _PlannedArm:
    arm: ArmPlan
    runs: list[Trained]


def _checkpoint_steps(config: Evaluation, switches: list[int], clock: Clock, end_step: int) -> list[int]:
    """Where an arm is evaluated before its end. At step 0 it is the base."""
    found: set[int] = set()
    for point in config.checkpoints:
        if isinstance(point, str):
            found |= set(switches)
        else:
            found.add(clock.step_at(math.ceil(point * clock.tokens_at(end_step))))
    return sorted(step for step in found if 0 < step < end_step)


def _pretrain_schedule(pretrain: Pretrain, horizon_tokens: int) -> Schedule:
    config = Cosine(
        max_learning_rate=pretrain.max_learning_rate, floor_learning_rate=pretrain.min_learning_rate,
        warmup_tokens=pretrain.warmup_tokens,
    )  # fmt: skip
    return config.pieces(None, horizon_tokens)
