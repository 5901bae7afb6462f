"""An arm's history: where its phases begin and end, and the training runs that it is made of.

Raises BadInput where the phases do not fit into the schedule.
"""

from dataclasses import dataclass, field, replace

from components.recipe.arm import ArmInput, PhaseInput
from components.recipe.clock import Clock
from components.recipe.digest import Identity
from components.recipe.errors import BadInput
from components.recipe.identity import geometry, identity_of
from components.recipe.phase import StartMode, Switch
from components.recipe.plan import Phase, TrainingRun
from components.recipe.schedule import Piece, Schedule
from components.recipe.schedule_config import ScheduleConfig
from components.recipe.switch import switch_step


@dataclass
class Timeline:
    clock: Clock
    pieces: list[Piece] = field(default_factory=list)
    phases: list[tuple[PhaseInput, int, int, int]] = field(default_factory=list)
    """(the phase as written, start step, end step, order of the sources)."""


@dataclass
class RunNeed:
    """A training run as one arm needs it, or several."""

    identity: Identity
    parent: Identity | None
    start: StartMode
    start_step: int
    end_step: int
    seed: int
    phases: tuple[Phase, ...]
    schedule: Schedule
    clock: Clock
    keeps: set[int]
    exports: set[int] = field(default_factory=set)
    evaluations: set[int] = field(default_factory=set)

    def joined(self, other: "RunNeed") -> None:
        """Takes in what another arm needs of the same history."""
        self.keeps |= other.keeps
        self.exports |= other.exports
        self.evaluations |= other.evaluations
        if other.end_step > self.end_step:
            self.end_step, self.phases = other.end_step, other.phases
            self.schedule, self.clock = other.schedule, other.clock

    def planned(self) -> TrainingRun:
        return TrainingRun(
            identity=self.identity, parent=self.parent, start=self.start, start_step=self.start_step,
            end_step=self.end_step, keep_steps=tuple(sorted(self.keeps)), export_steps=tuple(sorted(self.exports)),
            evaluation_steps=tuple(sorted(self.evaluations)), seed=self.seed, phases=self.phases,
            schedule=self.schedule, clock=self.clock,
        )  # fmt: skip


def timeline(arm: ArmInput, base_minimum: float | None) -> Timeline:
    """Where each phase of an arm starts and ends, and its schedule: pieces over the whole run."""
    line = Timeline(clock=Clock.of(arm.phases[0].batch, arm.phases[0].sequence_length))
    minimum, zero_step, order = base_minimum, 0, 0
    end_step = horizon_tokens = zero_tokens = 0
    schedule: Schedule | None = None
    for number, spec in enumerate(arm.phases):
        before = arm.phases[number - 1] if number else None
        begins = schedule is None or spec.start in ("new_schedule", "fresh")
        if begins:
            zero_step, zero_tokens = end_step, line.clock.tokens_at(end_step)
        line.clock = line.clock.changed(end_step, spec.batch, spec.sequence_length, zero_tokens)
        if begins:
            whole = line.clock.step_at(zero_tokens + spec.horizon_tokens)
            horizon_tokens = line.clock.tokens_at(whole) - zero_tokens
            schedule = _pieces(spec.schedule, minimum, horizon_tokens, spec.schedule_field)
            line.pieces += schedule.shifted(zero_tokens)
            minimum = schedule.pieces[-1].end_learning_rate
        assert schedule is not None
        if before is not None and (
            begins or (before.sequence_length, before.packing) != (spec.sequence_length, spec.packing)
        ):
            order += 1
        start_step, last_step = end_step, line.clock.step_at(zero_tokens + horizon_tokens)
        end_step = last_step
        if spec.until is not None:
            end_step = switch_step(spec.until, schedule, line.clock, zero_step, spec.until_field)
            if not start_step <= end_step < last_step or (number and end_step == start_step):
                raise _outside(spec.until, end_step, start_step, last_step, spec.until_field)
        line.phases.append((spec, start_step, end_step, order))
    return line


def history(arm: ArmInput, line: Timeline, phases: list[Phase], base: Identity) -> list[RunNeed]:
    """An arm's history in parts: a new one at every phase, and wherever another piece of the schedule begins."""
    schedule = Schedule(tuple(line.pieces))
    runs: list[RunNeed] = []
    specs = {spec.name: spec for spec, *_ in line.phases}
    for number, phase in enumerate(phases):
        starts = sorted(
            {phase.start_step}
            | {
                step
                for piece in schedule.pieces
                if phase.start_step < (step := line.clock.step_at(piece.start_tokens)) < phase.end_step
            }
        )
        for start, end in zip(starts, [*starts[1:], phase.end_step], strict=True):
            first = start == phase.start_step
            spec = specs[phase.name]
            config = geometry(spec.batch, phase.sequence_length, spec.packing, spec.document_mask) | {
                "seed": arm.seed, "start": phase.start if first else "continue", "start_step": start,
                "order": phase.order,
                # Megatron's order depends on how many samples the phase has in all.
                **spec.deciding,
                **({"megatron_samples": phase.num_samples} if spec.data_order == "megatron" else {}),
                "schedule": schedule.piece_at(line.clock.tokens_at(start)).formula(),
            }  # fmt: skip
            before: dict[str, Identity] = {"from": runs[-1].identity} if runs else {"base": base}
            identity = identity_of("gb" if number == 0 else "qb", config, before | {"blend": phase.blend_identity})
            # Every run is kept at its end, which is where the next one goes on from.
            run = RunNeed(
                identity=identity, parent=runs[-1].identity if runs else None,
                start=phase.start if first else "continue", start_step=start, end_step=end, seed=arm.seed,
                phases=tuple(phases[: number + 1]), schedule=schedule, clock=line.clock, keeps={end},
            )  # fmt: skip
            runs.append(run)
    return runs


def stopped_at(step: int, phases: list[Phase], runs: list[RunNeed], seed: int) -> tuple[list[Phase], list[RunNeed]]:
    """What is left of an arm that ends at `step`. Its history, and so its digests, are those of the whole arm."""
    from components.recipe.counting import phase_counts, phase_key  # numpy, which a plain recipe does without

    left = []
    for phase in (phase for phase in phases if phase.start_step < step):
        if phase.end_step > step:
            clock = runs[-1].clock
            number = clock.samples_at(step) - phase.first_sample
            counts = phase_counts(phase.weights, number, phase_key(seed, phase.first_sample))
            phase = replace(phase, end_step=step, end_tokens=clock.tokens_at(step), samples=counts)
        left.append(phase)
    kept = [run for run in runs if run.start_step < step]
    last = kept[-1]
    kept[-1] = replace(last, end_step=min(step, last.end_step), keeps={min(step, last.end_step)})
    return left, kept


def _pieces(config: ScheduleConfig, minimum: float | None, horizon_tokens: int, schedule_field: str) -> Schedule:
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
