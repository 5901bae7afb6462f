"""Make what is derived from arms' models: one function for each kind of stage."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from switchpoint.components.launch.shown import write_shown
from switchpoint.components.launch.side_by_side import run_side_by_side
from switchpoint.components.launch.task import failure_as_data, tell_lost
from switchpoint.components.merge.run import merge_models
from switchpoint.components.recipe.plan import Derived, Plan
from switchpoint.components.recipe.stage import Merge
from switchpoint.components.store.plan_file import load_plan
from switchpoint.components.store.store import Store
from switchpoint.components.train.outputs import model_is_there

MAKERS: Mapping[type, Callable[[Plan, Store, Any], None]] = {Merge: merge_models}
"""How an output is made, by its stage."""


class NoModel(RuntimeError):
    """A model that the output is made of is not there."""


def missing_derived(plan: Plan, store: Store) -> list[Derived]:
    """Return what is derived from arms and not made yet, where no gate ended an arm before."""
    return [one for one in plan.derived if not one.stopped and not store.is_done(one.output.identity)]


def derive_group(reference: str, names: Sequence[str], shown: Path) -> None:
    """Make outputs, by the names of their rows, side by side; write what the task shows to `shown`."""
    ended = run_side_by_side(partial(_derive, reference), names)
    planned = load_plan(reference)
    store, found = planned.store, {one.run_name: one for one in planned.plan.derived if one.run_name in names}
    for name, how in ended.items():
        identity = found[name].output.identity
        if not store.is_done(identity):
            tell_lost(store, identity, "the process that makes it", how)
    write_shown(shown, (_markdown(store, found[name]) for name in names))


def _derive(reference: str, name: str) -> None:
    planned = load_plan(reference)
    plan, store = planned.plan, planned.store
    one = next(one for one in plan.derived if one.run_name == name)
    with failure_as_data(store, one.output.identity):
        if store.is_done(one.output.identity):
            return
        for model in one.output.stage.models:
            if not model_is_there(store, model):
                run = model.inputs["run"]
                reason = (store.failure(run) or {}).get("reason", "it was not trained")
                raise NoModel(f"the model of {run.path} at step {model.config['step']} is missing: {reason}")
        MAKERS[type(one.output.stage)](plan, store, one.output)


def _markdown(store: Store, one: Derived) -> str:
    record, failure = store.record(one.output.identity), store.failure(one.output.identity)
    state = f"**failed**: {failure['reason']}" if failure else "**made**" if record else "**not made**"
    lines = [f"# {one.run_name}", "", state, "", "| | |", "|---|---|", f"| merge of | {one.described} |",
             f"| output | `{one.output.identity.path}` |"]  # fmt: skip
    return "\n".join(lines) + "\n"
