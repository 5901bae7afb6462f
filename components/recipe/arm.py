"""Arms with their overrides put in: what each arm, grid point and seed comes to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from components.recipe.blend import Resolver
from components.recipe.clock import BatchRamp
from components.recipe.errors import BadInput, raise_all
from components.recipe.phase import Arm, DataOrder, Packing, PhaseConfig, PhasePatch, StartMode, Switch
from components.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PhaseInput:
    """A phase of one arm, as it was written."""

    name: str
    blend: str
    start: StartMode
    until: Switch | None
    until_field: str
    schedule: Any
    """A ScheduleConfig where the phase begins one, else None."""
    schedule_field: str
    horizon_tokens: int
    """Of the schedule that the phase begins; 0 otherwise."""
    sequence_length: int
    batch: int | BatchRamp
    packing: Packing
    document_mask: bool
    data_order: DataOrder
    deciding: Mapping[str, Any]
    """What of the recipe's training decides the weights."""
    field: str


@dataclass(frozen=True, kw_only=True)
class ArmInput:
    arm_id: str
    run_name: str
    seed: int
    phases: tuple[PhaseInput, ...]


def arms_of(recipe: Recipe) -> dict[str, tuple[str, Arm]]:
    """Every arm by its name, with the field it stands in: the named ones, then the grid's."""
    found = {arm_id: (f"arms.{arm_id}", arm) for arm_id, arm in recipe.arms.items()}
    for arm_id, overrides in recipe.grid_points().items():
        found[arm_id] = ("grid", Arm.model_validate(overrides))
    return found


def arm_inputs(recipe: Recipe, resolver: Resolver) -> Iterator[ArmInput]:
    """Every arm with every seed. Raises BadInput where an override fits no phase."""
    problems: list[BadInput] = []
    found: list[ArmInput] = []
    for arm_id, (field, arm) in arms_of(recipe).items():
        try:
            phases = tuple(_merged(_phases(recipe, arm, field), resolver))
        except BadInput as error:
            problems.append(error)
            continue
        seeds = [arm.seed] if arm.seed is not None else (recipe.seeds or [recipe.seed or 0])
        for seed in seeds:
            run_name = arm_id if len(seeds) == 1 else f"{arm_id}-seed-{seed}"
            found.append(ArmInput(arm_id=arm_id, run_name=run_name, seed=seed, phases=phases))
    raise_all(problems)
    yield from found


def _patches(recipe: Recipe, arm: Arm, field: str) -> dict[str, dict[str, tuple[Any, str]]]:
    """By phase and field, what the arm changes, with where that is written."""
    known = recipe.phase_configs()
    patches: dict[str, dict[str, tuple[Any, str]]] = {name: {} for name in known}
    short = {"gb": ("gb", "blend"), "qb": ("qb", "blend"), "switch": ("gb", "until")}
    for name, (phase, changed) in short.items():
        value = getattr(arm, name)
        if value is None:
            continue
        if phase not in known:
            raise BadInput(
                f"there is no phase called `{phase}`", field=f"{field}.{name}",
                allowed=f"phases: with one of {', '.join(known)}",
            )  # fmt: skip
        patches[phase][changed] = (value, f"{field}.{name}")
    for phase, patch in arm.phases.items():
        if phase not in known:
            raise BadInput(
                f"there is no phase called `{phase}`", field=f"{field}.phases.{phase}", allowed=", ".join(known)
            )
        for changed in PhasePatch.model_fields:
            value = getattr(patch, changed)
            if value is not None:
                patches[phase][changed] = (value, f"{field}.phases.{phase}.{changed}")
    return patches


def _phases(recipe: Recipe, arm: Arm, field: str) -> list[PhaseInput]:
    patches = _patches(recipe, arm, field)
    configs = recipe.phase_configs()
    found: list[PhaseInput] = []
    for number, (name, config) in enumerate(configs.items()):
        found.append(_phase(recipe, arm, field, number, name, config, patches[name]))
    for number, phase in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        before = found[number - 1] if number else None
        runs_to_horizon = after is None or after.schedule is not None
        if runs_to_horizon and phase.until is not None:
            what = "it is the last phase" if after is None else f"`{after.name}` begins a new schedule after it"
            raise BadInput(f"the phase runs to the horizon: {what}", field=phase.until_field, allowed="no `until:`")
        if not runs_to_horizon and phase.until is None:
            raise BadInput(
                "is required: where does the phase end?", field=phase.until_field,
                allowed="learning_rate_ratio, progress, tokens or steps",
            )  # fmt: skip
        if before is not None and phase.start == "continue" and phase.blend != before.blend:
            raise BadInput(
                "`continue` means that everything goes on, and the blend changes", field=f"{phase.field}.start",
                given=f"{before.blend}, then {phase.blend}", allowed="start: new_data",
            )  # fmt: skip
    return found


def _phase(
    recipe: Recipe, arm: Arm, arm_field: str, number: int, name: str, config: PhaseConfig,
    patch: dict[str, tuple[Any, str]],
) -> PhaseInput:  # fmt: skip
    short = recipe.phases is None
    where = f"phases.{name}"

    def given(changed: str, default_field: str) -> tuple[Any, str]:
        return patch.get(changed, (getattr(config, changed), default_field))

    blend, _ = given("blend", name if short else f"{where}.blend")
    until, until_field = given("until", "switch" if short else f"{where}.until")
    start, start_field = given("start", f"{where}.start")
    schedule, schedule_field = given("schedule", f"{where}.schedule")
    horizon, horizon_field = given("horizon_tokens", f"{where}.horizon_tokens")
    first_start = arm.start or recipe.start
    begins = number == 0 or start in ("new_schedule", "fresh")
    if number == 0:
        if start is not None and start != first_start:
            raise BadInput(
                "the first phase starts as the recipe's `start` says", field=start_field, given=start,
                allowed=first_start,
            )  # fmt: skip
        start = first_start
        arm_has = arm.schedule is not None
        if schedule is None:
            schedule, schedule_field = arm.schedule or recipe.schedule, f"{arm_field}.schedule" * arm_has or "schedule"
        horizon = horizon or arm.horizon_tokens or recipe.horizon_tokens
    elif begins:
        for value, missing, what in ((schedule, schedule_field, "schedule"), (horizon, horizon_field, "length")):
            if value is None:
                raise BadInput(f"is required: a phase that starts with `{start}` has its own {what}", field=missing)
    else:
        for value, extra in ((schedule, schedule_field), (horizon, horizon_field)):
            if value is not None:
                raise BadInput(
                    "the schedule goes on from the phase before", field=extra,
                    allowed="only with `start: new_schedule` or `start: fresh`",
                )  # fmt: skip
    length, _ = given("sequence_length", "")
    batch, _ = given("batch_size", "")
    packing, _ = given("packing", "")
    return PhaseInput(
        name=name, blend=blend, start=start or "new_data", until=until, until_field=until_field,
        schedule=schedule if begins else None, schedule_field=schedule_field, horizon_tokens=horizon or 0,
        sequence_length=length or arm.sequence_length or recipe.sequence_length,
        batch=batch or arm.batch_size or recipe.batch_size, packing=packing or recipe.packing,
        document_mask=recipe.document_mask, data_order=recipe.data_order,
        deciding=recipe.training.deciding(), field=where,
    )  # fmt: skip


def _merged(phases: list[PhaseInput], resolver: Resolver) -> Iterator[PhaseInput]:
    """Phases that only differ in their names are one: an arm whose QB is its GB never switches."""
    current: PhaseInput | None = None
    for phase in phases:
        if current is not None and _same(current, phase, resolver):
            current = replace(current, until=phase.until, until_field=phase.until_field)
            continue
        if current is not None:
            yield current
        current = phase
    if current is not None:
        yield current


def _same(first: PhaseInput, second: PhaseInput, resolver: Resolver) -> bool:
    if second.schedule is not None or second.start not in ("new_data", "continue"):
        return False
    if any(getattr(first, name) != getattr(second, name) for name in ("sequence_length", "batch", "packing")):
        return False
    if any(resolver.depends_on_length(phase.blend) for phase in (first, second)):
        return False
    return resolver.weights(first.blend, 1) == resolver.weights(second.blend, 1)
