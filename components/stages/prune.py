"""Checkpoints that are kept for later, until they are pruned: switch points and ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from switchpoint.components.launch.task import task_lock_file
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.store.location import files_in, names_in
from switchpoint.components.store.lock import Locked, locked
from switchpoint.components.store.plan_file import load_plan
from switchpoint.components.store.store import Store
from switchpoint.components.train.checkpoint import checkpoint_place, remove_checkpoint, steps_in
from switchpoint.components.train.outputs import missing_steps, needed_steps


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A checkpoint that was removed, or why it was not."""

    run: str
    step: int
    num_bytes: int
    kept_because: str = ""


def prune(plan: Plan, store: Store, whole: Plan | None = None) -> list[Pruned]:
    """Remove the checkpoints of the study's training runs that no study of the store still trains from.

    `whole`: the plan with no arm stopped, if the study's arms may still continue.

    Models, metrics and records stay: the study stays done. A new arm that continues from what was removed trains that
    part again.
    """
    plans = [plan, *([whole] if whole else []), *_other_plans(store)]
    found: list[Pruned] = []
    for run in plan.runs:
        if store.record(run.identity) is None:
            continue
        try:
            with locked(task_lock_file(store, run.identity), wait_seconds=0):
                found += _prune_run(store, run, plans)
        except Locked:
            found.append(
                Pruned(run=run.identity.path, step=run.stage.end_step, num_bytes=0, kept_because="it is training")
            )
    return found


def _other_plans(store: Store) -> Iterable[Plan]:
    """Yield the plan of every study that was run in the store. What cannot be planned any more cannot be trained from
    either.
    """
    for name in names_in(f"{store.location}/plans"):
        try:
            planned = load_plan(f"{store.location}/plans/{name}")
            yield planned.plan
            if planned.whole is not None:
                yield planned.whole
        except (ValueError, KeyError, RuntimeError):
            continue


def _prune_run(store: Store, run: Trained, plans: Sequence[Plan]) -> list[Pruned]:
    place = store.output_location(run.identity)
    needed: set[int] = set()
    for plan in plans:
        same = next((one for one in plan.runs if one.identity.digest == run.identity.digest), None)
        if same is not None:
            needed |= needed_steps(plan, store, same)
            for missing in missing_steps(plan, store, same):  # it resumes from the newest one before each of them
                needed |= set([step for step in steps_in(place) if step <= missing][-1:])
    found = []
    removed = []
    for step in steps_in(place):
        path = checkpoint_place(place, step)
        if step in needed:
            found.append(Pruned(run=run.identity.path, step=step, num_bytes=0, kept_because="an arm trains from it"))
            continue
        found.append(Pruned(run=run.identity.path, step=step, num_bytes=sum(files_in(path).values())))
        removed.append(step)
    # The record first: a step that it does not expect any more is no damage.
    record = store.record(run.identity)
    assert record is not None
    outputs = record["outputs"]
    pruned = sorted({*outputs.get("pruned_steps", []), *removed} & {int(step) for step in outputs["weights_sha256"]})
    outputs["pruned_steps"] = pruned
    outputs["keep_steps"] = [step for step in outputs["keep_steps"] if step not in pruned]
    store.rewrite_record(run.identity, record)
    for step in removed:
        remove_checkpoint(checkpoint_place(place, step))
    return found
