"""What a study makes of its arms' models: resolved from the recipe to outputs with exact parents."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.history import requesting
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.merge import ArmCheckpoint, MergeConfig
from switchpoint.components.recipe.plan import ArmPlan, Derived
from switchpoint.components.recipe.problems import did_you_mean
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.stage import Merge, Output, Trained

Runs = Mapping[str, Trained]
"""Training runs by digest."""


def derived_from(
    recipe: Recipe, arms: Sequence[ArmPlan], runs: Runs, evaluation_of: Callable[[Identity], Identity]
) -> tuple[tuple[Derived, ...], dict[str, Trained]]:
    """Return what is made of the arms' models, and the runs with the models that this requests of them.

    Raise BadInput if a merge names no arm, or a switch that its arm does not have.
    """
    found, left = [], dict(runs)
    for name, config in recipe.merges.items():
        for run_name, seed, members in _seeds_of(recipe, name, config, arms):
            models, stopped = [], ""
            for number, (written, arm) in enumerate(zip(config.of, members, strict=True)):
                step = _step(written, arm, f"merges.{name}.of.{number}.at")
                # A shared run continues beyond this arm, which leaves it at the step where the next run starts.
                run = next(left[one.digest] for one in reversed(arm.runs) if left[one.digest].stage.start_step < step)
                reason = _missing(written, arm, run, step)
                stopped = stopped or reason
                if not reason:
                    left[run.identity.digest] = requesting(run, export=[step])
                models.append(identity_of("model", {"step": step}, {"run": run.identity}))
            stage = Merge(models=tuple(models), weights=config.exact_weights)
            inputs = {f"model {number}": model for number, model in enumerate(models)}
            output = Output(identity=identity_of("merge", {"weights": list(stage.weights)}, inputs), stage=stage)
            evaluation = evaluation_of(output.identity)
            described = ", ".join(
                f"{float(weight):g} {_described(written)}"
                for weight, written in zip(stage.weights, config.of, strict=True)
            )
            found.append(
                Derived(
                    name=name, run_name=run_name, seed=seed, output=output, evaluation=evaluation, described=described,
                    stopped=stopped,
                )
            )  # fmt: skip
    return tuple(found), left


def _seeds_of(
    recipe: Recipe, name: str, config: MergeConfig, arms: Sequence[ArmPlan]
) -> Iterator[tuple[str, int | None, list[ArmPlan]]]:
    """Yield (name of the row, seed, arms) of each merge: one, or one for every seed of the arms that it names."""
    by_run_name = {arm.run_name: arm for arm in arms}
    seeds = list(dict.fromkeys(arm.seed for arm in arms))
    names = [written if isinstance(written, str) else written.arm for written in config.of]
    if all(one in by_run_name for one in names):
        members = [by_run_name[one] for one in names]
        of_seed = {arm.seed for arm in members}
        yield name, of_seed.pop() if len(of_seed) == 1 else None, members
        return
    by_seed = {(arm.arm_id, arm.seed): arm for arm in arms}
    known = {arm.arm_id for arm in arms}
    for number, one in enumerate(names):
        if one not in known:
            raise BadInput(
                f"there is no such arm{did_you_mean(one, [*known, *by_run_name])}", field=f"merges.{name}.of.{number}",
                given=one, allowed=", ".join([*known, *(set(by_run_name) - known)][:40]),
            )  # fmt: skip
    for seed in seeds:
        if missing := [one for one in names if (one, seed) not in by_seed]:
            raise BadInput(
                f"{missing[0]} has no seed {seed}, so there is no merge of it", field=f"merges.{name}.of",
                allowed="arms with the same seeds, or ARM-seed-N for one seed's model",
            )  # fmt: skip
        yield f"{name}-seed-{seed}", seed, [by_seed[one, seed] for one in names]


def _step(written: str | ArmCheckpoint, arm: ArmPlan, field: str) -> int:
    if isinstance(written, str):
        return arm.horizon_steps
    if written.at != "switch":
        return max(1, arm.clock.step_at(math.ceil(written.at * arm.clock.tokens_at(arm.planned_steps))))
    if arm.stopped and arm.switch_step is None:  # at the gate of its first phase
        return arm.horizon_steps
    if not arm.switch_step:
        raise BadInput("the arm never switches", field=field, given=arm.run_name, allowed="a fraction of its horizon")
    return arm.phases[0].end_step


def _missing(written: str | ArmCheckpoint, arm: ArmPlan, run: Trained, step: int) -> str:
    """Return why the gates of the arm left it without this model; empty where they did not."""
    if arm.stopped and (isinstance(written, str) or step > arm.horizon_steps):
        return f"{arm.run_name} ended at a gate ({arm.stopped})"
    if step > run.stage.end_step:
        return f"{arm.run_name} was not trained at step {step:,}: its gate held at step {run.stage.end_step:,}"
    return ""


def _described(written: str | ArmCheckpoint) -> str:
    if isinstance(written, str):
        return written
    return f"{written.arm} at {'its switch' if written.at == 'switch' else f'{float(written.at):.0%}'}"
