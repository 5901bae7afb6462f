"""Expands a recipe into its plan.

Pure: the same recipe and the same input digests give the same plan, so every task of the DAG expands it again instead
of handing it on. An arm's plan does not depend on the other arms: sharing is found by comparing digests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from switchpoint.components.recipe.arm import ArmInput, arm_inputs
from switchpoint.components.recipe.blend import Resolver
from switchpoint.components.recipe.caps import declared_epochs, moved_excess
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.data_outputs import DataOutputs
from switchpoint.components.recipe.deciding import deciding
from switchpoint.components.recipe.derived import derived_from
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.evaluation import Evaluation, data_origin, suite_name, suite_origin
from switchpoint.components.recipe.halving import Stop
from switchpoint.components.recipe.history import history, joined, requesting, stopped_at, timeline
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.model import Pretrain
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.schedule import Schedule
from switchpoint.components.recipe.schedule_config import Cosine
from switchpoint.components.recipe.source import (
    Source,
    SourceKey,
    split_key,
)
from switchpoint.components.recipe.stage import Import, Output, Phase, Train, Trained
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.suites import definition, harness_settings

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
        self.data = DataOutputs(recipe, input_digests)
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
        base, stage = self.base.identity, self.base.stage
        if isinstance(stage, Train):
            base = identity_of("model", {"step": stage.end_step}, {"run": base})
        base_evaluation = self._evaluation(base)
        evaluations = {f"merge {one.run_name}": one.evaluation for one in derived}
        evaluations |= {f"arm {arm.run_name}": arm.evaluation for arm in arms}
        for one in arms:
            for step, evaluation in one.checkpoint_evaluations.items():
                evaluations[f"arm {one.run_name} at step {step}"] = evaluation
        probes = self._probes()
        return Plan(
            recipe=self.recipe, texts=self.data.texts, tokenizer=self.data.tokenizer,
            duplicates=self.data.duplicates, contamination=self.data.contamination, scorers=self.data.scorers,
            tokens=self.data.tokens, base_output=self.base,
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

    def _probes(self) -> Identity | None:
        """What is read at every step is decided here; at which steps, is not."""
        continual = self.recipe.evaluation.continual
        if continual is None:
            return None
        config = {
            "bytes_per_source": continual.bytes_per_source, "questions": continual.questions,
            "sequence_length": self.recipe.sequence_length, "parts": self.data.parts, "left_out": self.data.left_out(),
        }  # fmt: skip
        config |= {"suites": self._suites()} if self.recipe.evaluation.beyond_local else {}
        return identity_of("probes", config, {"tokenizer": self.data.tokenizer} | self.data.from_sources)

    def _evaluation(self, model: Identity) -> Identity:
        evaluation = self.recipe.evaluation
        config = {
            "questions": evaluation.questions, "bytes_per_source": evaluation.bytes_per_source,
            "sequence_length": self.recipe.sequence_length, "parts": self.data.parts, "left_out": self.data.left_out(),
        }  # fmt: skip
        config |= {"categories": self.data.categories} if self.data.categories else {}
        config |= {"suites": self._suites()} if evaluation.beyond_local else {}
        return identity_of(
            "evaluation", config, {"model": model, "tokenizer": self.data.tokenizer} | self.data.from_sources
        )

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
        identity = identity_of("base", config, {"blend": phase.blend_identity, "tokenizer": self.data.tokenizer})
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
        from switchpoint.components.recipe.counting import phase_counts, phase_key  # numpy, as in caps.py

        key = phase_key(seed, first)
        samples: Mapping[SourceKey, int] = phase_counts(weights, num_samples, key)
        moved: Mapping[SourceKey, int] = {}
        if drawn is not None:
            weights, samples, moved = moved_excess(
                weights, samples, num_samples, key, length, self.recipe.sources, drawn.epochs, field
            )
            drawn.add(samples, length, self.recipe.sources)
        identity = identity_of("blend", {"weights": weights}, {source: self.data.tokens[source] for source in weights})
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
