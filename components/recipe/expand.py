"""Expands a recipe into its plan.

Pure: the same recipe and the same input digests give the same plan, so every task of the DAG expands it again instead
of handing it on. An arm's plan does not depend on the other arms: sharing is found by comparing digests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from switchpoint.components.recipe.arm import ArmInput, arm_inputs
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.bases import Resolution, planned_bases
from switchpoint.components.recipe.blend import Resolver
from switchpoint.components.recipe.caps import declared_epochs, moved_excess
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.data_outputs import DataOutputs
from switchpoint.components.recipe.derived import derived_from
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.evaluation import Evaluation, data_origin, suite_name, suite_origin
from switchpoint.components.recipe.gate import Gate, GateConfig, GateScores
from switchpoint.components.recipe.gated import after_gates
from switchpoint.components.recipe.halving import Stop
from switchpoint.components.recipe.history import history, joined, requesting, stopped_at, timeline
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.source import (
    Source,
    SourceKey,
    split_key,
)
from switchpoint.components.recipe.stage import Phase, Train, Trained
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.suites import LOCAL_SCORES, definition, harness_settings


def expand(
    recipe: Recipe, input_digests: Mapping[str, str], file: str = "", stops: Mapping[str, Stop] | None = None,
    gate_scores: GateScores | None = None,
) -> Plan:  # fmt: skip
    """The plan of `recipe`. `stops`: arms that end before their horizon, by run name. `gate_scores`: what is known of
    the checks of gates; they change no digest of what is trained.

    `input_digests`: what each folder and the Python text hold, by `origin_of`, the tokenizer's folder by
    `tokenizer_origin`, a model's folder by its path; without text none are needed. `file` is only named in messages.
    Raises BadInput.
    """
    try:
        return _Expansion(recipe, input_digests, stops or {}, gate_scores or {}).plan()
    except BadInput as error:
        problems = getattr(error, "problems", (error,))
        raise_all([problem.at(file) for problem in problems])
        raise


class _Expansion:
    """One recipe on its way to a plan."""

    def __init__(
        self, recipe: Recipe, input_digests: Mapping[str, str], stops: Mapping[str, Stop], gate_scores: GateScores
    ) -> None:
        self.recipe, self.digests, self.stops, self.gate_scores = recipe, input_digests, stops, gate_scores
        self.resolver = Resolver(recipe.blends, recipe.sources, frozenset(recipe.left_out))
        self.data = DataOutputs(recipe, input_digests)
        self.bases = planned_bases(
            recipe,
            Resolution(
                digests=input_digests, tokenizer=self.data.tokenizer, phase_of=self._phase,
                evaluation_of=self._evaluation, resolver=self.resolver, made=self.data.add_generated,
            ),
        )  # fmt: skip

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
        evaluations = {f"merge {one.run_name}": one.evaluation for one in derived}
        evaluations |= {_row_of(name): base.evaluation for name, base in self.bases.items()}
        evaluations |= {f"arm {arm.run_name}": arm.evaluation for arm in arms}
        for one in arms:
            for step, evaluation in one.checkpoint_evaluations.items():
                evaluations[f"arm {one.run_name} at step {step}"] = evaluation
        probes = self._probes()
        gates = {arm.run_name: [gate.described for gate in arm.gates] for arm in arms if arm.gates}
        return Plan(
            recipe=self.recipe, texts=self.data.texts, tokenizer=self.data.tokenizer,
            duplicates=self.data.duplicates, contamination=self.data.contamination, scorers=self.data.scorers,
            tokens=self.data.tokens, bases=self.bases, generations=self.data.generations, probes=probes,
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
                    **({"gates": gates} if gates else {}),
                    **({"bases": {arm.run_name: arm.base for arm in arms}} if self.recipe.bases else {}),
                },
                {**evaluations, **({"probes": probes} if probes else {})},
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
            **self.data.encodings(),
        }  # fmt: skip
        config |= {"suites": self._suites()} if self.recipe.evaluation.beyond_local else {}
        return identity_of("probes", config, {"tokenizer": self.data.tokenizer} | self.data.from_sources)

    def _evaluation(self, model: Identity) -> Identity:
        return identity_of(
            "evaluation",
            self._evaluation_config(),
            {"model": model, "tokenizer": self.data.tokenizer} | self.data.from_sources,
        )

    def _evaluation_config(self, *, with_suites: bool = True) -> dict[str, Any]:
        """What decides scores, beside the model, its tokenizer and the text; without suites, those on held-out text."""
        evaluation = self.recipe.evaluation
        config: dict[str, Any] = {
            "questions": evaluation.questions, "bytes_per_source": evaluation.bytes_per_source,
            "sequence_length": self.recipe.sequence_length, "parts": self.data.parts, "left_out": self.data.left_out(),
            **self.data.encodings(),
        }  # fmt: skip
        config |= {"categories": self.data.categories} if self.data.categories else {}
        config |= {"suites": self._suites()} if evaluation.beyond_local and with_suites else {}
        return config

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

    def _phase(
        self, *, name: str, blend: str, start: Any, start_step: int, end_step: int, clock: Clock, order: int,
        seed: int, field: str, settings: StepSettings, drawn: "_Drawn | None" = None, gate: GateConfig | None = None,
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
            gate=self._gate(gate, clock, start_tokens, end_tokens) if gate else None,
        )  # fmt: skip

    def _arm(self, arm: ArmInput) -> "_PlannedArm":
        base = self.bases[arm.base]
        line = timeline(arm, base.pretraining.schedule.min_learning_rate if base.pretraining else None)
        phases, drawn = [], _Drawn()
        for span in line.spans:
            gate = span.phase.config.gate
            if span.start_step == span.end_step:
                if gate is not None:
                    raise BadInput(
                        f"arm {arm.arm_id} does not train this phase, so there is no model to check",
                        field=span.phase.fields["gate"], allowed="a phase with steps, or no `gate:`",
                    )  # fmt: skip
                continue
            written = span.phase if span.start_step else line.spans[0].phase
            phases.append(
                self._phase(
                    name=span.phase.name, blend=span.phase.config.blend, start=written.start,
                    start_step=span.start_step, end_step=span.end_step, clock=line.clock, order=span.order,
                    seed=arm.seed, field=f"phases.{span.phase.name}", settings=span.phase.settings, drawn=drawn,
                    gate=gate,
                )
            )  # fmt: skip
        runs = history(arm, line, phases, base.start)
        stop, whole_step = self.stops.get(arm.run_name), phases[-1].end_step
        starts = [phase.start_step for phase in phases[1:]]
        gated = after_gates(phases, runs, self.gate_scores, self._evaluation, arm.seed)
        phases, runs = gated.phases, gated.runs
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
            number = next((n for n, run in enumerate(runs) if _is_trained_by(run.stage, step)), None)
            if number is None:  # a gate held before
                continue
            runs[number] = requesting(runs[number], keep=[step], export=[step])
            checkpoints[step] = self._evaluation(identity_of("model", {"step": step}, {"run": runs[number].identity}))
        checks = [check.step for run in runs for check in run.checks]
        steps = self._evaluation_steps(runs, sorted({*switches, *starts, *checks}), end_step)
        runs = [requesting(run, evaluate=(step for step in steps if _is_evaluated_by(run.stage, step))) for run in runs]
        switch_step = line.spans[0].end_step
        planned = ArmPlan(
            arm_id=arm.arm_id, run_name=arm.run_name, seed=arm.seed, base=arm.base, schedule=runs[-1].stage.schedule,
            clock=line.clock, phases=tuple(phases), runs=tuple(run.identity for run in runs),
            num_gb_runs=sum(len(run.stage.phases) == 1 for run in runs),
            switch_step=switch_step if len(line.spans) > 1 and switch_step < end_step else None,
            horizon_steps=end_step, horizon_tokens=line.clock.tokens_at(end_step),
            evaluation=self._evaluation(identity_of("model", {"step": end_step}, {"run": runs[-1].identity})),
            checkpoint_evaluations=checkpoints, evaluation_steps=steps, stopped=stop.reason if stop else gated.failure,
            planned_steps=whole_step, gates=tuple(gated.gates),
        )  # fmt: skip
        return _PlannedArm(planned, runs)

    def _gate(self, config: GateConfig, clock: Clock, start_tokens: int, end_tokens: int) -> Gate:
        tokens = end_tokens - start_tokens
        steps = sorted({clock.step_at(start_tokens + math.ceil(point * tokens)) for point in config.check_at})
        measured = self._evaluation_config(with_suites=config.score.partition(".")[0] not in LOCAL_SCORES)
        return Gate(
            score=config.score, at_most=config.at_most, at_least=config.at_least, steps=tuple(steps),
            measured=measured, measured_on={"tokenizer": self.data.tokenizer} | self.data.from_sources,
        )  # fmt: skip

    def _evaluation_steps(self, runs: list[Trained], closely: list[int], end_step: int) -> tuple[int, ...]:
        """Where an arm is evaluated while it trains; `closely`: more often after these steps."""
        continual = self.recipe.evaluation.continual
        steps = continual.steps([step for step in closely if step < end_step], end_step) if continual else ()
        return tuple(step for step in steps if any(_is_evaluated_by(run.stage, step) for run in runs))


def _is_trained_by(stage: Train, step: int) -> bool:
    """Whether the stage makes the model of `step`."""
    return stage.start_step < step <= stage.end_step


def _is_evaluated_by(stage: Train, step: int) -> bool:
    """Whether the stage evaluates its model at `step` while it trains; step 0 belongs to the first one."""
    return _is_trained_by(stage, step) or step == stage.start_step == 0


def _row_of(base: str) -> str:
    """Return what the report's digest calls the evaluation of a base."""
    return BASE if base == BASE else f"base {base}"


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
