"""Arms with their overrides put in: what each arm, grid point and seed comes to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.blend import Resolver
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.phase import SHORT_FORM, Arm, PhaseConfig, PhasePatch, StartMode
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.step_settings import StepSettings


@dataclass(frozen=True, kw_only=True)
class WrittenPhase:
    """A phase of one arm as the recipe and the arm write it together, with nothing left open."""

    name: str
    config: PhaseConfig
    settings: StepSettings
    start: StartMode
    fields: Mapping[str, str]
    """Where each field of `config` is written, for messages."""

    @property
    def begins_schedule(self) -> bool:
        """Whether it has a schedule of its own, over a horizon of its own."""
        return self.config.schedule is not None

    def continues(self, before: "WrittenPhase", resolver: Resolver) -> bool:
        """Whether it only differs in its name from the phase before it."""
        if self.begins_schedule or self.start not in ("new_data", "continue") or self.settings != before.settings:
            return False
        if before.config.gate is not None or self.config.gate is not None:  # checked where its phase ends
            return False
        if any(resolver.depends_on_length(phase.config.blend) for phase in (before, self)):
            return False
        return resolver.weights(before.config.blend, 1) == resolver.weights(self.config.blend, 1)


@dataclass(frozen=True, kw_only=True)
class ArmInput:
    arm_id: str
    run_name: str
    seed: int
    base: str
    phases: tuple[WrittenPhase, ...]


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
            base = arm.base or BASE
            found.append(ArmInput(arm_id=arm_id, run_name=run_name, seed=seed, base=base, phases=phases))
    raise_all(problems)
    yield from found


def _patches(recipe: Recipe, arm: Arm, field: str) -> dict[str, dict[str, tuple[Any, str]]]:
    """By phase and field, what the arm changes, with where that is written."""
    known = recipe.phase_configs()
    patches: dict[str, dict[str, tuple[Any, str]]] = {name: {} for name in known}
    for name, (phase, changed) in SHORT_FORM.items():
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


def _phases(recipe: Recipe, arm: Arm, field: str) -> list[WrittenPhase]:
    patches = _patches(recipe, arm, field)
    found = [
        _phase(recipe, arm, field, number, name, config, patches[name])
        for number, (name, config) in enumerate(recipe.phase_configs().items())
    ]
    for number, phase in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        before = found[number - 1] if number else None
        until, until_field = phase.config.until, phase.fields["until"]
        runs_to_horizon = after is None or after.begins_schedule
        if runs_to_horizon and until is not None:
            what = "it is the last phase" if after is None else f"`{after.name}` begins a new schedule after it"
            raise BadInput(f"the phase runs to the horizon: {what}", field=until_field, allowed="no `until:`")
        if not runs_to_horizon and until is None:
            raise BadInput(
                "is required: where does the phase end?", field=until_field,
                allowed="learning_rate_ratio, progress, tokens or steps",
            )  # fmt: skip
        if before is not None and phase.start == "continue" and phase.config.blend != before.config.blend:
            raise BadInput(
                "`continue` means that everything goes on, and the blend changes", field=f"phases.{phase.name}.start",
                given=f"{before.config.blend}, then {phase.config.blend}", allowed="start: new_data",
            )  # fmt: skip
    return found


def _phase(
    recipe: Recipe, arm: Arm, arm_field: str, number: int, name: str, written: PhaseConfig,
    patch: dict[str, tuple[Any, str]],
) -> WrittenPhase:  # fmt: skip
    fields = {one: f"phases.{name}.{one}" for one in PhaseConfig.model_fields}
    if recipe.phases is None:
        fields |= {"blend": name, "until": "switch"}
    fields |= {changed: where for changed, (_, where) in patch.items()}
    config = written.model_copy(update={changed: value for changed, (value, _) in patch.items()})
    start = config.start or "new_data"
    if number == 0:
        start = arm.start or recipe.start
        if config.start is not None and config.start != start:
            raise BadInput(
                "the first phase starts as the recipe's `start` says", field=fields["start"], given=config.start,
                allowed=start,
            )  # fmt: skip
        if config.schedule is None:
            fields["schedule"] = f"{arm_field}.schedule" if arm.schedule is not None else "schedule"
        config = config.model_copy(update={
            "schedule": config.schedule or arm.schedule or recipe.schedule,
            "horizon_tokens": config.horizon_tokens or arm.horizon_tokens or recipe.horizon_tokens,
        })  # fmt: skip
    elif start in ("new_schedule", "fresh"):
        for one, what in (("schedule", "schedule"), ("horizon_tokens", "length")):
            if getattr(config, one) is None:
                raise BadInput(f"is required: a phase that starts with `{start}` has its own {what}", field=fields[one])
    else:
        for one in ("schedule", "horizon_tokens"):
            if getattr(config, one) is not None:
                raise BadInput(
                    "the schedule goes on from the phase before", field=fields[one],
                    allowed="only with `start: new_schedule` or `start: fresh`",
                )  # fmt: skip
    return WrittenPhase(
        name=name, config=config, settings=recipe.step_settings(config, arm), start=start, fields=fields
    )


def _merged(phases: list[WrittenPhase], resolver: Resolver) -> Iterator[WrittenPhase]:
    """Phases that only differ in their names are one: an arm whose QB is its GB never switches."""
    current: WrittenPhase | None = None
    for phase in phases:
        if current is not None and phase.continues(current, resolver):
            config = current.config.model_copy(update={"until": phase.config.until})
            current = replace(current, config=config, fields={**current.fields, "until": phase.fields["until"]})
            continue
        if current is not None:
            yield current
        current = phase
    if current is not None:
        yield current
