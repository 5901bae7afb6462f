"""Metrics on their way to MLflow while a run trains. The metrics file keeps what MLflow does not take."""

import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from components.recipe.digest import Identity
from components.store.store import Store
from components.tracking.client import experiment, find_or_create, log_rows, open_client

FIRST_SECONDS = 30.0
"""A run that is over by then is in MLflow with its study; importing MLflow takes a few seconds."""
EVERY_SECONDS = 15.0


class Delivery:
    """While it is open, a thread hands new rows over. MLflow may be away: that is told once, and tried again."""

    def __init__(
        self, store: Store, experiment_name: str, identity: Identity, rows: Callable[[], Iterable[dict[str, Any]]]
    ) -> None:
        self._store, self._name, self._identity, self._rows = store, experiment_name, identity, rows
        self._client: Any = None
        self._run_id = ""
        self._is_away = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def __enter__(self) -> "Delivery":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        # Training is over and waits for nobody: what is not delivered now, the study's report delivers.
        self._thread.join(timeout=EVERY_SECONDS)

    def _work(self) -> None:
        pause = FIRST_SECONDS
        while not self._over.wait(pause):
            pause = EVERY_SECONDS
            self._deliver()
        if self._run_id:
            self._deliver(end="FINISHED")

    def _deliver(self, end: str = "") -> None:
        try:
            rows = list(self._rows())
            if not rows:
                return
            if self._client is None:
                self._client = open_client(self._store)
            if not self._run_id:
                name = f"{self._identity.step} {self._identity.digest}"
                of_study = experiment(self._client, self._name, self._store)
                began_ms = int(rows[0]["time"] * 1000)
                self._run_id = find_or_create(self._client, of_study, name, self._identity.digest, began_ms)
            log_rows(self._client, self._run_id, rows)
            if end:
                self._client.set_terminated(self._run_id, end, int(rows[-1]["time"] * 1000))
            if self._is_away:
                print("MLflow is back: the metrics are delivered", file=sys.stderr, flush=True)
            self._is_away = False
        except Exception as error:  # whatever it is: training goes on
            if not self._is_away:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                print(f"MLflow does not answer ({reason}): metrics are kept, and delivered later", file=sys.stderr)
            self._is_away = True
