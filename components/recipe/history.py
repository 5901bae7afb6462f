"""An arm's history: where its phases begin and end, and the training runs that it is made of.

Raises BadInput where the phases do not fit into the schedule.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from switchpoint.components.recipe.arm import ArmInput, WrittenPhase
from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.deciding import deciding
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.phase import Switch
from switchpoint.components.recipe.schedule import Piece, Schedule
from switchpoint.components.recipe.schedule_config import ScheduleConfig
from switchpoint.components.recipe.stage import Output, Phase, Train, Trained
from switchpoint.components.recipe.step_settings import StepSettings
from switchpoint.components.recipe.switch import switch_step


@dataclass(frozen=True, kw_only=True)
class Span:
    """The training steps of a written phase."""

    phase: WrittenPhase
    start_step: int
    end_step: int
    order: int
    """The order of its sources: rises where they begin a new permutation."""


@dataclass
class Timeline:
    """An arm's clock, the pieces of its schedule and the spans of its phases."""

    clock: Clock
    pieces: list[Piece] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def joined(one: Trained, other: Trained) -> Trained:
    """Return the output that serves both requests: the same history, as far as the longer one goes."""
    longer = max(one, other, key=lambda output: output.stage.end_step)
    return replace(
        longer, keep_steps=_union(one.keep_steps, other.keep_steps),
        export_steps=_union(one.export_steps, other.export_steps),
        evaluation_steps=_union(one.evaluation_steps, other.evaluation_steps),
    )  # fmt: skip


def requesting(
    output: Trained, *, keep: Iterable[int] = (), export: Iterable[int] = (), evaluate: Iterable[int] = ()
) -> Trained:
    """Return the output with these steps requested of it, too."""
    return replace(
        output, keep_steps=_union(output.keep_steps, keep), export_steps=_union(output.export_steps, export),
        evaluation_steps=_union(output.evaluation_steps, evaluate),
    )  # fmt: skip


def _union(steps: Iterable[int], others: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({*steps, *others}))


def timeline(arm: ArmInput, base_minimum: float | None) -> Timeline:
    """Return where each phase of an arm starts and ends, and its schedule: pieces over the whole run."""
    first = arm.phases[0].settings
    line = Timeline(clock=Clock.of(first.batch_size, first.sequence_length))
    minimum, zero_step, order = base_minimum, 0, 0
    end_step = horizon_tokens = zero_tokens = 0
    schedule: Schedule | None = None
    for number, phase in enumerate(arm.phases):
        config, settings, until_field = phase.config, phase.settings, phase.fields["until"]
        if phase.begins_schedule:
            zero_step, zero_tokens = end_step, line.clock.tokens_at(end_step)
        line.clock = line.clock.changed(end_step, settings.batch_size, settings.sequence_length, zero_tokens)
        if phase.begins_schedule:
            assert config.horizon_tokens is not None
            whole = line.clock.step_at(zero_tokens + config.horizon_tokens)
            horizon_tokens = line.clock.tokens_at(whole) - zero_tokens
            schedule = _pieces(config.schedule, minimum, horizon_tokens, phase.fields["schedule"])
            line.pieces += schedule.shifted(zero_tokens)
            minimum = schedule.pieces[-1].end_learning_rate
        assert schedule is not None
        if number and (phase.begins_schedule or _new_samples(arm.phases[number - 1].settings, settings)):
            order += 1
        start_step, last_step = end_step, line.clock.step_at(zero_tokens + horizon_tokens)
        end_step = last_step
        if config.until is not None:
            end_step = switch_step(config.until, schedule, line.clock, zero_step, until_field)
            if not start_step <= end_step < last_step or (number and end_step == start_step):
                raise _outside(config.until, end_step, start_step, last_step, until_field)
        line.spans.append(Span(phase=phase, start_step=start_step, end_step=end_step, order=order))
    return line


def _new_samples(before: StepSettings, after: StepSettings) -> bool:
    """Whether the samples of a source are other ones: it then begins a new permutation (law 2)."""
    return (before.sequence_length, before.packing) != (after.sequence_length, after.packing)


def history(arm: ArmInput, line: Timeline, phases: list[Phase], base: Identity) -> list[Trained]:
    """Return an arm's history in parts: a new one at every phase, and wherever another piece of the schedule begins."""
    schedule = Schedule(tuple(line.pieces))
    runs: list[Trained] = []
    for number, phase in enumerate(phases):
        starts = sorted(
            {phase.start_step}
            | {
                step
                for piece in schedule.pieces
                if phase.start_step < (step := line.clock.step_at(piece.start_tokens)) < phase.end_step
            }
        )
        for start_step, end_step in zip(starts, [*starts[1:], phase.end_step], strict=True):
            stage = Train(
                start=phase.start if start_step == phase.start_step else "continue", start_step=start_step,
                end_step=end_step, seed=arm.seed, phases=tuple(phases[: number + 1]), schedule=schedule,
                clock=line.clock,
            )  # fmt: skip
            parent = runs[-1].identity if runs else None
            # Every run is kept at its end, where the next one continues.
            inputs = {"from": parent or base, "blend": phase.blend_identity}
            if phase.gate is not None:
                inputs |= {f"gate {name}": one for name, one in phase.gate.measured_on.items()}
            identity = identity_of("phase", stage_config(stage), inputs)
            runs.append(
                Output(
                    identity=identity, stage=stage, parent=parent, parent_step=start_step, keep_steps=(end_step,),
                )
            )  # fmt: skip
    return runs


def stage_config(stage: Train) -> dict[str, Any]:
    """Return what decides the weights of a stage that trains, beside its inputs and how far it goes."""
    phase = stage.phase
    return {
        **deciding(phase.settings), "seed": stage.seed, "start": stage.start, "start_step": stage.start_step,
        "order": phase.order, "schedule": stage.schedule.piece_at(stage.clock.tokens_at(stage.start_step)).formula(),
        # Megatron's order depends on how many samples the phase has in all.
        **({"megatron_samples": phase.num_samples} if phase.settings.data_order == "megatron" else {}),
        **({"gate": phase.gate.deciding} if phase.gate is not None else {}),
    }  # fmt: skip


def stopped_at(step: int, phases: list[Phase], runs: list[Trained], seed: int) -> tuple[list[Phase], list[Trained]]:
    """Return what is left of an arm that ends at `step`. Its history, and so its digests, are the whole arm's."""
    clock = runs[-1].stage.clock
    left = [phase_up_to(step, phase, clock, seed) for phase in phases if phase.start_step < step]
    kept = [run for run in runs if run.stage.start_step < step]
    kept[-1] = up_to(min(step, kept[-1].stage.end_step), kept[-1])
    return left, kept


def phase_up_to(step: int, phase: Phase, clock: Clock, seed: int) -> Phase:
    """Return what is trained of a phase that ends at `step`, or where it was to end."""
    if phase.end_step <= step:
        return phase
    from switchpoint.components.recipe.counting import (  # numpy, which a plain recipe does without
        phase_counts,
        phase_key,
    )

    number = clock.samples_at(step) - phase.first_sample
    counts = phase_counts(phase.weights, number, phase_key(seed, phase.first_sample))
    return replace(phase, end_step=step, end_tokens=clock.tokens_at(step), samples=counts)


def up_to(step: int, output: Trained) -> Trained:
    """Return the output as it ends at `step`, with its checkpoint there and what is requested of it before."""

    def before(steps: Iterable[int]) -> tuple[int, ...]:
        return tuple(one for one in steps if one <= step)

    return replace(
        output, stage=replace(output.stage, end_step=step), keep_steps=_union(before(output.keep_steps), [step]),
        export_steps=before(output.export_steps), evaluation_steps=before(output.evaluation_steps),
        checks=tuple(check for check in output.checks if check.step <= step),
    )  # fmt: skip


def _pieces(config: ScheduleConfig | None, minimum: float | None, horizon_tokens: int, schedule_field: str) -> Schedule:
    assert config is not None
    if config.max_learning_rate is None and not minimum:
        raise BadInput(
            "the schedule before it ends at 0, so the maximum is required", field=f"{schedule_field}.max_learning_rate",
            allowed="a number such as 4.5e-5",
        )  # fmt: skip
    try:
        schedule: Schedule = config.pieces(minimum, horizon_tokens)
    except ValueError as error:
        raise BadInput(str(error), field=schedule_field) from None
    return schedule


def _outside(until: Switch, step: int, start_step: int, last_step: int, where: str) -> BadInput:
    way, value = next((way, value) for way, value in until.model_dump(mode="json").items() if value is not None)
    return BadInput(
        f"the switch lies outside the run: it falls on step {step:,}, and the phase, from step {start_step:,} on, ends "
        f"by step {last_step - 1:,}", field=f"{where}.{way}", given=value,
        allowed="a switch that leaves both phases at least one step each (or a longer horizon)",
    )  # fmt: skip
