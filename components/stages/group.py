"""The work of the tasks `train_gb` and `train_qb` on a loop's item: the GB runs, or the arms, of one group.

A failure is data: it is recorded in the store and the task succeeds, so that every other arm continues. The task fails
only for what could not be recorded.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

from switchpoint.components.launch.shown import write_shown
from switchpoint.components.launch.side_by_side import run_side_by_side
from switchpoint.components.launch.task import FailedBefore, failure_as_data, task, tell_lost
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages.gated import train_gated
from switchpoint.components.stages.run import check_arm, check_parent, run_markdown
from switchpoint.components.store.plan_file import Planned, load_plan
from switchpoint.components.train.outputs import run_is_done


def train_gb_group(reference: str, digests: Sequence[str], shown: Path) -> None:
    """Train GB runs side by side, each kept at its arms' switch points; write what the task shows to `shown`.

    Where a run continues another GB run, that one is trained first, by whichever task comes to it first.
    """
    ended = run_side_by_side(partial(_train, reference, _gb_runs), digests)
    planned = load_plan(reference)
    runs = [run for run in planned.plan.gb_runs if run.identity.digest in digests]
    _record_lost(planned, [(run, ended[run.identity.digest]) for run in runs if run.identity.digest in ended])
    write_shown(shown, (run_markdown(planned.plan, planned.store, run) for run in runs))


def train_arm_group(reference: str, names: Sequence[str], shown: Path) -> None:
    """Train the phases after GB of several arms side by side; write what the task shows to `shown`."""
    ended = run_side_by_side(partial(_train, reference, _own_runs), names)
    planned = load_plan(reference)
    own = {name: planned.plan.own_runs(planned.plan.arm(name)) for name in names}
    _record_lost(planned, [(own[name][-1], how) for name, how in ended.items() if own[name]])
    write_shown(shown, (run_markdown(planned.plan, planned.store, run) for runs in own.values() for run in runs))


def _gb_runs(digest: str, plan: Plan) -> list[Trained]:
    """Return a GB run after those that it continues; none where a gate has ended its phase before it."""
    run = next((run for run in plan.gb_runs if run.identity.digest == digest), None)
    return [] if run is None else plan.chain(run)


def _own_runs(name: str, plan: Plan) -> list[Trained]:
    """Return the runs of an arm's phases after GB."""
    return plan.own_runs(plan.arm(name))


def _train(reference: str, runs_of: Callable[[str, Plan], list[Trained]], name: str) -> None:
    """Train runs in order, each continuing the one before; the last one's failure is recorded as the task's own.

    `runs_of`: the runs of a name in a plan. A gate may end a phase or the arm, so they are read again after each gated
    one.
    """
    planned = load_plan(reference)
    runs = runs_of(name, planned.plan)
    if not runs:
        return
    last = runs[-1].identity
    with failure_as_data(planned.store, last):
        trained: set[str] = set()
        while run := next((run for run in runs if run.identity.digest not in trained), None):
            is_last = run.identity.digest == last.digest
            # A run that several tasks need fails once, not once for each of them.
            lock = nullcontext() if is_last else task(planned.store, run.identity, retries_failed=False)
            with suppress(FailedBefore), lock:
                check_parent(planned.plan, planned.store, run)
                train_gated(planned.plan, planned.store, run)
            trained.add(run.identity.digest)
            if run.checks:
                planned = load_plan(reference)
                runs = runs_of(name, planned.plan)
        if runs_of is _own_runs:
            check_arm(planned.plan, planned.store, planned.plan.arm(name))


def _record_lost(planned: Planned, lost: Iterable[tuple[Trained, str]]) -> None:
    """Record the runs that are not done and whose launcher's process left no reason itself."""
    for run, how in lost:
        if not run_is_done(planned.plan, planned.store, run):
            tell_lost(planned.store, run.identity, "the process that follows its job", how)
