"""The way to MLflow: where it is, its experiment and runs by what they show. Nothing is made twice."""

import os
from collections.abc import Iterable
from typing import Any

from components.launch.task import sole_task
from components.store.store import Store

DATABASE = "mlflow.db"
RUN_TAG = "switchpoint.run"
"""Names a run by what it shows, so that it is found again."""
BATCH_METRICS = 1000
"""The most that MLflow takes in one call."""
CURVE_KEYS = {
    "loss": "train.loss", "learning_rate": "train.learning_rate", "grad_norm": "train.grad_norm",
    "tokens_per_second": "train.tokens_per_second", "mfu": "train.mfu", "memory_bytes": "train.memory_bytes",
    "eta_seconds": "train.eta_seconds", "skipped_steps": "train.skipped_steps",
}  # fmt: skip
"""From a row of the metrics file to MLflow's names."""


class MLflowAway(RuntimeError):
    """MLflow does not answer, or refuses: nothing of it is needed to train, and what is missing is delivered later."""


def tracking_uri(store: Store) -> str:
    """MLFLOW_TRACKING_URI where it is set; otherwise SQLite in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(store.root / DATABASE).resolve()}"


def open_client(store: Store) -> Any:
    """A client that gives up after a few seconds, not minutes."""
    for name, value in {"MAX_RETRIES": "2", "TIMEOUT": "20", "BACKOFF_FACTOR": "1"}.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    from mlflow import MlflowClient

    with sole_task(store, "mlflow"):
        _make_database(store)
    return MlflowClient(tracking_uri(store))


def _make_database(store: Store) -> None:
    """MLflow makes its tables in many steps, and cannot go on where it was cut off: so aside, then one rename."""
    from mlflow import MlflowClient

    database = store.root / DATABASE
    if os.environ.get("MLFLOW_TRACKING_URI") or database.exists():
        return
    beside = store.root / f".{DATABASE}"
    beside.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{beside.resolve()}").search_experiments()
    beside.rename(database)


def experiment(client: Any, name: str, store: Store) -> str:
    """Its id; made where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (store.root / "mlartifacts" / name).resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def find_or_create(client: Any, experiment_id: str, name: str, digest: str, began_ms: int) -> str:
    """The run called `name`: found by what it is made of, so one with another history is another run."""
    found: Iterable[Any] = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{name}/{digest}'")
    for run in found:
        return str(run.info.run_id)
    tags = {RUN_TAG: f"{name}/{digest}"}
    run = client.create_run(experiment_id, start_time=began_ms or None, run_name=name, tags=tags)
    return str(run.info.run_id)


def log_rows(client: Any, run_id: str, rows: Iterable[dict[str, Any]]) -> None:
    """The rows of a metrics file that the run does not have yet. A step that was trained again has the same values.

    Steps are tokens, times those of the file, so that a second delivery changes nothing.
    """
    from mlflow.entities import Metric

    logged = max((metric.step for metric in client.get_metric_history(run_id, CURVE_KEYS["loss"])), default=0)
    metrics = []
    for row in rows:
        if row["tokens"] > logged:
            values = {key: row.get(name) for name, key in CURVE_KEYS.items()}
            values |= {f"train.loss.{source.replace('@', '.')}": loss for source, loss in row.get("losses", {}).items()}
            at = int(row["time"] * 1000), row["tokens"]
            metrics += [Metric(key, value, *at) for key, value in values.items() if value is not None]
    for first in range(0, len(metrics), BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + BATCH_METRICS])
