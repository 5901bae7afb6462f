"""What every task of the DAG does around its work: ends with its parent, and says why it failed."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from components.launch.process import die_with_parent
from components.launch.site import scheduler
from components.recipe.digest import Identity
from components.recipe.errors import BadInput
from components.store.lock import locked
from components.store.store import Store

RUN_LOG_VARIABLE = "SWITCHPOINT_RUN_LOG"
WAIT_SECONDS = 30 * 24 * 3600.0
"""Another task on the same output is waited for to its end: the work is then found done."""


def sole_task(store: Store, name: str) -> AbstractContextManager[None]:
    """While it is held, no other process works on what `name` stands for in this store."""
    return locked(store.root / "locks" / name, WAIT_SECONDS)


def task_lock_file(store: Store, identity: Identity) -> Path:
    """Who holds it works on `identity`."""
    return store.root / "locks" / f"{identity.step}-{identity.digest}"


def end_with_run() -> None:
    """On one machine a task dies with the command. In a pod it lives to abort its job, which the kubelet lets it."""
    if scheduler() == "local":
        die_with_parent()


@contextmanager
def task(store: Store, identity: Identity) -> Iterator[None]:
    """Around the work on `identity`: an error is written to the store, where the report finds it, and raised.

    All of it with the lock held: what the store says is how the last task on the output ended.
    """
    end_with_run()
    with locked(task_lock_file(store, identity), WAIT_SECONDS):
        store.forget_failure(identity)
        try:
            yield
        except Exception as error:
            tell_failure(store, identity, error)
            raise
        store.forget_failure(identity)


def tell_failure(store: Store, identity: Identity, error: Exception) -> None:
    """Writes why `identity` was not made, unless a launcher has written a better reason, and its job's own log."""
    if not store.failure_file(identity).exists():
        log = os.environ.get(RUN_LOG_VARIABLE, "the task's own")
        reason = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        store.write_failure(identity, reason, log, bad_input=isinstance(error, BadInput))
