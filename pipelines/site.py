"""The site's settings and secrets that tasks get on a cluster, by reference. None of this applies on one machine.

The ConfigMap and the Secrets are the operator's (k8s/); one that is missing, or lacks a key, is left out.
"""

import os
from collections.abc import Mapping

from kfp import kubernetes
from kfp.dsl import PipelineTask

from switchpoint.components.launch.site import STAYS
from switchpoint.components.store.login import ENDPOINT_VARIABLE, KEY_VARIABLE, REGION_VARIABLE, SECRET_KEY_VARIABLE

CONFIG_MAP = "switchpoint"
SETTINGS = {
    "SWITCHPOINT_SITE": "SWITCHPOINT_SITE",
    "SWITCHPOINT_STORE": "SWITCHPOINT_STORE",
    "AWS_ENDPOINT_URL": ENDPOINT_VARIABLE,
    "AWS_DEFAULT_REGION": REGION_VARIABLE,
}
"""Keys of the ConfigMap, and the variables that every task gets them as. Few: a cluster's workflow object holds them
once for every task that runs. None is named AWS_*: KFP's launcher, in the same container, would read it as its own."""
MLFLOW_SETTINGS = {name: name for name in ("SWITCHPOINT_MLFLOW_URL", "MLFLOW_TRACKING_URI")}
"""The same, for the tasks that speak to MLflow."""
NAMESPACE_VARIABLE, KFP_NAMESPACE = "SWITCHPOINT_KFP_NAMESPACE", "kubeflow"
SERVICE_ACCOUNT = "switchpoint-launcher"
"""The service account of runs, as k8s/ makes it."""
STORE_SECRET, MLFLOW_SECRET = "switchpoint-store", "switchpoint-mlflow"
SECRETS = {
    STORE_SECRET: {"AWS_ACCESS_KEY_ID": KEY_VARIABLE, "AWS_SECRET_ACCESS_KEY": SECRET_KEY_VARIABLE},
    MLFLOW_SECRET: {name: name for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")},
}
"""The keys of each secret, and the variables that tasks get them as."""
RUN_ID = "metadata.labels['pipeline/runid']"
USER = 10001
"""The user that the images' files belong to."""


def runs_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """Return the namespace in which tasks run: the profile's that is named, if KFP serves many users, otherwise KFP's
    own.
    """
    return environment.get(NAMESPACE_VARIABLE) or KFP_NAMESPACE


def with_site(task: PipelineTask, *, mlflow: bool = False) -> PipelineTask:
    """Return the task with the site's environment and without KFP's cache; with `mlflow`, with the login at MLflow,
    too.

    What is done is found in the store. KFP would answer from the inputs alone: `join` would name another day's arms.
    """
    task.set_caching_options(False)
    settings = SETTINGS | (MLFLOW_SETTINGS if mlflow else {})
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, settings, optional=True)
    for secret, names in SECRETS.items():
        if mlflow or secret != MLFLOW_SECRET:
            kubernetes.use_secret_as_env(task, secret, dict(names), optional=True)
    for name, value in STAYS.items():
        kubernetes.add_pod_annotation(task, name, value)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", RUN_ID)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    return task
