"""The work around the work of every task of the DAG: it ends with its parent and records why it failed."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from switchpoint.components.launch.process import DRIVER_VARIABLE, die_with_parent
from switchpoint.components.launch.site import scheduler
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput, reason_of
from switchpoint.components.store.lock import locked
from switchpoint.components.store.store import KFP_RUN_VARIABLE, Store

RUN_LOG_VARIABLE = "SWITCHPOINT_RUN_LOG"
WAIT_SECONDS = 30 * 24 * 3600.0
"""How long a task waits for another one on the same output: to its end, when the work is then found done."""


def sole_task(store: Store, name: str) -> AbstractContextManager[None]:
    """Return a lock; while it is held, no other process works on the part of this store that `name` stands for."""
    return locked(store.root / "locks" / name, WAIT_SECONDS)


def task_lock_file(store: Store, identity: Identity) -> Path:
    """Return the lock file of `identity`: its holder works on that output."""
    return store.root / "locks" / f"{identity.kind}-{identity.digest}"


def end_with_run() -> None:
    """End this task with the run. On one machine a task dies with the command; where its job is on a cluster, it gets
    SIGTERM, and aborts the job.

    In a pod it lives to abort its job, which the kubelet lets it.
    """
    if scheduler() == "local":
        die_with_parent()
    elif DRIVER_VARIABLE in os.environ:
        die_with_parent(signal.SIGTERM)


@contextmanager
def task(store: Store, identity: Identity, *, retries_failed: bool = True) -> Iterator[None]:
    """Hold the lock of `identity` around the work on it; write an error to the store, where the report finds it, and
    raise it.

    The lock is held to the end, so the store tells how the last task on the output ended: a failure stands there until
    the output is retried, by whatever study. With `retries_failed=False` an output that has failed in this run already
    is not retried: raise FailedBefore.
    """
    end_with_run()
    with locked(task_lock_file(store, identity), WAIT_SECONDS):
        if not retries_failed and (failure := failure_of_run(store, identity)) is not None:
            raise FailedBefore(str(failure["reason"]))
        store.forget_failure(identity)
        try:
            yield
        except Exception as error:
            tell_failure(store, identity, error)
            raise
        store.forget_failure(identity)


def failure_of_run(store: Store, identity: Identity) -> dict[str, Any] | None:
    """Return why `identity` failed in this very run of the pipeline; None where it has not, or did in another run."""
    failure = store.failure(identity)
    is_own = failure is not None and failure.get("run", "") == os.environ.get(KFP_RUN_VARIABLE, "")
    return failure if is_own else None


class FailedBefore(RuntimeError):
    """Another task has tried this output in the same run, and it failed."""


@contextmanager
def failure_as_data(store: Store, identity: Identity) -> Iterator[list[Exception]]:
    """Hold the lock as `task` does, but a failure that the store has recorded is a result and is not raised. Yield a
    list that has the error afterwards, if there was one.

    A failed arm must not end the run: all other arms continue, and `check_outcome` names it at the end. A failure that
    the store did not take is raised.
    """
    recorded: list[Exception] = []
    try:
        with task(store, identity):
            yield recorded
    except Exception as error:
        if store.failure(identity) is None:
            raise
        recorded.append(error)
        print(f"{identity.path} failed, which is recorded: {error}", file=sys.stderr, flush=True)


def tell_lost(store: Store, identity: Identity, process: str, how: str) -> None:
    """Record that a process left no reason itself: it was killed, or the store did not take the reason."""
    if store.failure(identity) is None:
        store.write_failure(identity, f"{process} ended without a reason ({how})", "the task's own")


def tell_failure(store: Store, identity: Identity, error: Exception) -> None:
    """Record why `identity` was not made, unless a launcher has written a better reason, and its job's own log."""
    if not store.failure_file(identity).exists():
        log = os.environ.get(RUN_LOG_VARIABLE, "the task's own")
        store.write_failure(identity, reason_of(error), log, bad_input=isinstance(error, BadInput))
