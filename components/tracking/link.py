"""The address at which a person finds a run of MLflow: for pods' annotations and for the pipeline's UI."""

import os
from typing import Any

from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import Store
from switchpoint.components.tracking.client import (
    experiment,
    find,
    open_client,
    reason_of,
    training_key,
    without_password,
)

PAGE_VARIABLE = "SWITCHPOINT_MLFLOW_URL"
"""The address at which people open MLflow, if it differs from the one that jobs use."""


def run_url(experiment_id: str, run_id: str) -> str:
    """Return the page of a run; empty if MLflow is no server."""
    page = os.environ.get(PAGE_VARIABLE) or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not page.startswith(("http://", "https://")):
        return ""
    return f"{without_password(page).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def experiment_url(store: Store, name: str) -> str:
    """Return the page of the study's experiment, or of the server if there is no experiment yet; empty if MLflow is no
    server.
    """
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    page = without_password(os.environ.get(PAGE_VARIABLE) or tracking).rstrip("/")
    if not page.startswith(("http://", "https://")):
        return ""
    try:
        found = open_client(store).get_experiment_by_name(name) if tracking.startswith("http") else None
    except Exception:  # it is only a link
        found = None
    return f"{page}/#/experiments/{found.experiment_id}" if found is not None else page


def training_link(store: Store, experiment_name: str, identity: Identity, label: str) -> str:
    """Return a Markdown link to the run that a training run is delivered to. A request is sent only if MLflow is a
    server.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        return f"experiment {experiment_name}, in the store"
    try:
        client: Any = open_client(store)
        experiment_id = experiment(client, experiment_name, store)
        found = find(client, experiment_id, training_key(identity))
    except Exception as error:  # whatever the error: training needs nothing of MLflow's
        return f"experiment {experiment_name}: MLflow does not answer ({reason_of(error)})"
    if found is None:
        return f"experiment {experiment_name}"
    return f"[{label} {identity.digest[:8]}]({run_url(experiment_id, found.run_id)})"
