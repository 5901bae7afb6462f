"""Make the bases that arms start from, one function for each kind of stage, and the sources that bases generate."""

from typing import Any

from switchpoint.components.launch.task import failure_as_data
from switchpoint.components.recipe.bases import BaseOutput
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Import, Output, Transform
from switchpoint.components.stages.generated import make_source
from switchpoint.components.stages.run import check_model_folder, train_run
from switchpoint.components.store.store import Store
from switchpoint.components.transform.run import transform_model


def make_bases(plan: Plan, store: Store, file: str = "") -> None:
    """Make every base that the store lacks, each under its lock, after the one that it is made of, and what bases
    generate: before a base that is pretrained on it, or at the end.

    A base that fails is data where others are left: its failure is in the store, and its arms tell it. Raises the first
    error where no base was made, or where the store did not take the reason. `file`: the recipe's, for messages.
    """
    errors: list[Exception] = []
    left = plan.generated_sources()
    for output in plan.base_outputs.values():
        trained = plan.base_of(output).trained
        for name in plan.generated_in(trained.stage.phase) if trained is not None else ():
            if name in left:
                left.remove(name)
                make_source(plan, store, name, file)
        with failure_as_data(store, output.identity) as recorded:
            _make(plan, store, output)
        errors += recorded
    if len(errors) == len(plan.base_outputs):
        raise errors[0]
    for name in left:
        make_source(plan, store, name, file)


def _make(plan: Plan, store: Store, output: BaseOutput) -> None:
    made: Output[Any] = output
    if isinstance(made.stage, Import):
        _record_folder(plan, store, made)
    elif isinstance(made.stage, Transform):
        if not store.is_done(made.identity):
            transform_model(plan, store, made)
    else:
        train_run(plan, store, made)


def _record_folder(plan: Plan, store: Store, output: Output[Import]) -> None:
    """Record where the user's model lies."""
    base = plan.base_of(output)
    if store.is_done(output.identity):
        return
    check_model_folder(base)
    folder = store.local_folder(output.identity)
    folder.mkdir(parents=True, exist_ok=True)
    store.write_record(output.identity, folder, {"model_folder": str(base.origin.folder)})
