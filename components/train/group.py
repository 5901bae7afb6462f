"""The work of the tasks `train_gb` and `train_qb` on a loop's item: the GB runs, or the arms, of one group.

A failure is data: it is recorded in the store and the task succeeds, so that every other arm continues. The task fails
only for what could not be recorded.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from switchpoint.components.launch.side_by_side import run_side_by_side
from switchpoint.components.launch.task import FailedBefore, failure_as_data, task
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.store.plan_file import Planned, load_plan
from switchpoint.components.store.store import Store
from switchpoint.components.train.run import check_arm, check_parent, run_is_done, run_markdown, train_run
from switchpoint.components.train.shown import write_shown


def train_gb_group(reference: str, digests: Sequence[str], shown: Path) -> None:
    """Train GB runs side by side, each kept at its arms' switch points; write what the task shows to `shown`.

    Where a run continues another GB run, that one is trained first, by whichever task comes to it first.
    """
    ended = run_side_by_side(partial(_train_gb_run, reference), digests)
    planned = load_plan(reference)
    runs = [planned.plan.run(digest) for digest in digests]
    _record_lost(planned, [(run, ended[run.identity.digest]) for run in runs if run.identity.digest in ended])
    write_shown(shown, (run_markdown(planned.plan, planned.store, run) for run in runs))


def train_arm_group(reference: str, names: Sequence[str], shown: Path) -> None:
    """Train the phases after GB of several arms side by side; write what the task shows to `shown`."""
    ended = run_side_by_side(partial(_train_arm, reference), names)
    planned = load_plan(reference)
    own = {name: planned.plan.own_runs(planned.plan.arm(name)) for name in names}
    _record_lost(planned, [(own[name][-1], how) for name, how in ended.items()])
    write_shown(shown, (run_markdown(planned.plan, planned.store, run) for runs in own.values() for run in runs))


def _train_gb_run(reference: str, digest: str) -> None:
    planned = load_plan(reference)
    *before, own = planned.plan.chain(planned.plan.run(digest))
    with failure_as_data(planned.store, own.identity):
        _train(planned.plan, planned.store, before, own)


def _train_arm(reference: str, name: str) -> None:
    planned = load_plan(reference)
    arm = planned.plan.arm(name)
    *before, last = planned.plan.own_runs(arm)
    with failure_as_data(planned.store, last.identity):
        _train(planned.plan, planned.store, before, last)
        check_arm(planned.plan, planned.store, arm)


def _train(plan: Plan, store: Store, before: Iterable[Trained], last: Trained) -> None:
    """Train `last`, whose lock is held, after the runs that it continues. Raise if one of them failed."""
    for run in before:
        # A run that several tasks need fails once, not once for each of them.
        with suppress(FailedBefore), task(store, run.identity, retries_failed=False):
            check_parent(plan, store, run)
            train_run(plan, store, run)
    check_parent(plan, store, last)
    train_run(plan, store, last)


def _record_lost(planned: Planned, lost: Iterable[tuple[Trained, str]]) -> None:
    """Record why a launcher's process left no reason itself: it was killed, or the store did not take the reason."""
    for run, how in lost:
        if not run_is_done(planned.plan, planned.store, run) and planned.store.failure(run.identity) is None:
            reason = f"the process that follows its job ended without a reason ({how})"
            planned.store.write_failure(run.identity, reason, "the task's own")
