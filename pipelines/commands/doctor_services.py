"""Whether Kubeflow Pipelines, MLflow and the store answer on the machine that runs the command."""

import os
from collections.abc import Iterator

import requests

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.opening import check_writable
from switchpoint.components.tracking.client import reason_of, without_password
from switchpoint.pipelines.commands.doctor import Check
from switchpoint.pipelines.commands.kfp_server import TOKEN_VARIABLE, URL_VARIABLE, KFPServer


def service_checks(where: str) -> Iterator[Check]:
    """Check Kubeflow Pipelines, MLflow and the store, from here."""
    try:
        server = KFPServer()
        server.check()
        yield Check("KFP", True, server.url)
    except BadInput as error:
        yield Check("KFP", False, error.problem, f"set {URL_VARIABLE} (and {TOKEN_VARIABLE}), or port-forward it")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("http"):
        yield _mlflow(uri)
    else:
        yield Check("MLflow", False, "MLFLOW_TRACKING_URI is not set", "its URL, in the ConfigMap `switchpoint`")
    try:
        check_writable(where)
        yield Check("store", "://" in where or where.startswith("/"), where, "an object store, or a volume's full path")
    except BadInput as error:
        yield Check("store", False, error.problem, "--store s3://BUCKET/PREFIX, with credentials in the environment")


def _mlflow(uri: str) -> Check:
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{what}", "") for what in ("USERNAME", "PASSWORD"))
    remedy = "its URL in MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_USERNAME and _PASSWORD"
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", params={"max_results": "1"}, timeout=10,
            auth=(name, password) if name else None,
        )  # fmt: skip
    except requests.RequestException as error:
        return Check("MLflow", False, f"{without_password(uri)}: {reason_of(error)}", remedy)
    shown = f"{without_password(uri)}: {answer.status_code} {answer.reason}"
    return Check("MLflow", answer.ok, without_password(uri) if answer.ok else shown, remedy)
