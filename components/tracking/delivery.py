"""Metrics on their way to MLflow while a run trains. The metrics file keeps what MLflow does not take."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from types import TracebackType
from typing import Any

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import (
    GB_RUN,
    KIND_TAG,
    PHASE,
    experiment,
    find_or_create,
    is_refusal,
    open_client,
    reason_of,
    tag_task_run,
    training_key,
)
from switchpoint.components.tracking.link import run_url
from switchpoint.components.tracking.tracked import TrackedRun

FIRST_SECONDS = 30.0
"""How long a run must last before delivery begins: a shorter run is in MLflow with its study; importing MLflow takes a
few seconds."""
EVERY_SECONDS = 15.0


class Delivery:
    """While it is open, a thread hands new rows over. MLflow may be away: that is reported once, and retried."""

    def __init__(
        self, store: Store, experiment_name: str, identity: Identity, rows: Callable[[], Iterable[dict[str, Any]]], *,
        label: str, is_gb_run: bool,
    ) -> None:  # fmt: skip
        """Deliver the rows of an output. `label`: its name for people. `is_gb_run`: whether arms share it."""
        self._label, self._is_gb_run = label, is_gb_run
        self._store, self._name, self._identity, self._rows = store, experiment_name, identity, rows
        self._client: Any = None
        self._run: TrackedRun | None = None
        self._is_away = self._is_refused = False
        self._end = ""
        self._newest: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def __enter__(self) -> "Delivery":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end = "FINISHED" if kind is None else "FAILED"
        self._over.set()
        # Training is over and waits for nobody: what is not delivered now, the study's report delivers.
        self._thread.join(timeout=EVERY_SECONDS)

    def announce(self) -> dict[str, str]:
        """Make the run before there is a row, so that others can point to it. Return nothing if MLflow is away."""
        try:
            self._client = open_client(self._store)
            self._run = self._find(int(time.time() * 1000))
            url = run_url(experiment(self._client, self._name, self._store), self._run.run_id)
        except Exception as error:  # as in `_deliver`
            print(f"MLflow does not answer ({reason_of(error)})", file=sys.stderr, flush=True)
            return {}
        return {"mlflow-run": self._run.run_id} | ({"mlflow-url": url} if url else {})

    def _work(self) -> None:
        pause = FIRST_SECONDS
        while not self._over.wait(pause):
            began = time.monotonic()
            self._deliver()
            if self._is_refused:
                return
            # Of a long run all rows are read each time: that must stay a small part of the time. A delivery that failed
            # has waited for MLflow, which may be back soon.
            pause = EVERY_SECONDS if self._is_away else max(EVERY_SECONDS, (time.monotonic() - began) * 20)
        if self._run is not None:
            self._deliver(end=self._end)

    def _deliver(self, end: str = "") -> None:
        try:
            rows = self._remembered(self._rows())
            first = next(rows, None)
            if first is None:
                return
            if self._client is None:
                self._client = open_client(self._store)
            if self._run is None:
                self._run = self._find(int(first["time"] * 1000))
            self._run.curve(chain([first], rows))
            if end:
                self._run.end(end, int(self._newest["time"] * 1000))
            if self._is_away:
                print("MLflow is back: the metrics are delivered", file=sys.stderr, flush=True)
            self._is_away = False
        except Exception as error:  # whatever the error: training continues
            self._is_refused = is_refusal(error)
            if self._is_refused:
                said = f"MLflow refuses the metrics ({reason_of(error)}): they are kept, and not sent again"
                print(said, file=sys.stderr, flush=True)
            elif not self._is_away:
                said = f"MLflow does not answer ({reason_of(error)}): metrics are kept, and delivered later"
                print(said, file=sys.stderr)
            self._is_away = True

    def _remembered(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the rows one by one: there may be millions."""
        for row in rows:
            self._newest = row
            yield row

    def _find(self, began_ms: int) -> TrackedRun:
        """Return the run in MLflow. A GB run is shared by arms, and stays; the report puts the others' parts below
        their arm.
        """
        of_study = experiment(self._client, self._name, self._store)
        name, key = f"{self._label} {self._identity.digest}", training_key(self._identity)
        tags = {KIND_TAG: GB_RUN if self._is_gb_run else PHASE}
        run = find_or_create(self._client, self._store, of_study, key, name, began_ms, tags)
        tag_task_run(self._client, {"switchpoint.training_run_id": run.run_id})
        return run
