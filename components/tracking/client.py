"""The access to MLflow: its address, its experiments and runs by what they show. Nothing is made twice.

All requests use MlflowClient, which names the run that it writes to: a run that the environment names (MLFLOW_RUN_ID,
set by Kubeflow Pipelines' own plugin) is somebody else's, and only gets a tag.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from switchpoint.components.launch.task import sole_task
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.tracked import TrackedRun

DATABASE = "mlflow.db"
MLFLOW = "mlflow"
"""The name among the store's locks of making something in MLflow."""
RUN_TAG = "switchpoint.run"
"""The tag that names a run by what it shows, so that it is found again."""
KIND_TAG = "switchpoint.kind"
"""study, base, arm, gb, or phase: what a run of MLflow stands for. A phase is a part of an arm, as it was trained."""
GB_RUN, PHASE = "gb", "phase"
PARENT_TAG = "mlflow.parentRunId"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow then shows runs, and not traces, first."""

REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")
"""MLflow's error codes for what it does not take. Others may pass: a login, a server that is started again."""


class MLflowAway(RuntimeError):
    """MLflow does not answer, or refuses: training needs nothing of it, and what is missing is delivered later."""

    @property
    def is_refused(self) -> bool:
        """Whether MLflow refused what it was sent, and would refuse it again."""
        return is_refusal(self.__cause__)


def tracking_uri(store: Store) -> str:
    """Return MLFLOW_TRACKING_URI if it is set; otherwise SQLite in the store, or in this machine's copy of it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(store.root / DATABASE).resolve()}"


def without_password(uri: str) -> str:
    """Return the address as it may be shown and kept: a user and a password in it are secret."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def is_refusal(error: BaseException | None) -> bool:
    """Return whether MLflow refused what it was sent, as a name that it does not take: a retry is refused again."""
    return getattr(error, "error_code", "") in REFUSALS


def reason_of(error: BaseException) -> str:
    """Return the first line of what MLflow said, without the address's password."""
    line = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    password = urlsplit(uri).password if "://" in uri else None
    return line.replace(password, "***") if password else line


def open_client(store: Store) -> Any:
    """Return a client that gives up after a few seconds, not minutes."""
    for name, value in {"MAX_RETRIES": "2", "TIMEOUT": "20", "BACKOFF_FACTOR": "1"}.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    from mlflow import MlflowClient

    with sole_task(store, MLFLOW):
        _make_database(store)
    return MlflowClient(tracking_uri(store))


def _make_database(store: Store) -> None:
    """Make MLflow's database aside, then rename it: MLflow makes its tables in many steps, and cannot resume an
    interrupted one.
    """
    from mlflow import MlflowClient

    database = store.root / DATABASE
    if os.environ.get("MLFLOW_TRACKING_URI") or database.exists():
        return
    beside = store.root / f".{DATABASE}"
    beside.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{beside.resolve()}").search_experiments()
    beside.rename(database)


def experiment(client: Any, name: str, store: Store) -> str:
    """Return an experiment's id; make it if it is missing."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = None
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            location = (store.root / "mlartifacts" / name).resolve().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
        except MlflowException:  # another task, or another machine's, was first
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def find(client: Any, experiment_id: str, key: str) -> TrackedRun | None:
    """Return the run that shows `key`."""
    for run in client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{key}'"):
        return TrackedRun(client, run)
    return None


def find_or_create(
    client: Any, store: Store, experiment_id: str, key: str, name: str, began_ms: int, tags: Mapping[str, str]
) -> TrackedRun:
    """Return the run that shows `key`, found or made: it is found by what it is made of, so one with another history is
    another run.

    MLflow cannot do both in one: the store's lock is held between them, and no longer, since what trains asks too.
    """
    with sole_task(store, MLFLOW):
        found = find(client, experiment_id, key)
        if found is None:
            all_tags = {RUN_TAG: key, **tags}
            run = client.create_run(experiment_id, start_time=began_ms or None, run_name=name, tags=all_tags)
            return TrackedRun(client, run)
    found.rename(name)
    found.tag(tags)
    return found


def training_key(identity: Identity) -> str:
    """Return the key by which the run of a training run is found, while it trains and afterwards."""
    return f"{identity.kind} {identity.digest}/{identity.digest}"


def tag_task_run(client: Any, tags: Mapping[str, str]) -> None:
    """Tag the run that a pipeline has made for this task, if there is one, with the addresses of the study's runs."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return
    try:
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
    except (MlflowException, RequestException):  # it may be a run of another server, or long deleted
        return
