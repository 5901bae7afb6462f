"""What every task gets on a cluster: the site's settings and secrets, by reference. Nothing of it holds on one machine.

The ConfigMap and the Secrets are the operator's (k8s/); one that is missing, or lacks a key, is left out.
"""

import os
from collections.abc import Mapping

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.launch.site import STAYS

CONFIG_MAP = "switchpoint"
SETTINGS = (
    "SWITCHPOINT_SITE",
    "SWITCHPOINT_STORE",
    "SWITCHPOINT_MLFLOW_URL",
    "MLFLOW_TRACKING_URI",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
"""Few: a cluster's workflow object holds them once for every task that runs."""
NAMESPACE_VARIABLE, KFP_NAMESPACE = "SWITCHPOINT_KFP_NAMESPACE", "kubeflow"
SERVICE_ACCOUNT = "switchpoint-launcher"
"""Of runs, as k8s/ makes it."""
STORE_SECRET = "switchpoint-store"
SECRETS = {
    STORE_SECRET: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "switchpoint-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
}
RUN_ID = "metadata.labels['pipeline/runid']"
USER = 10001
"""That the images' files belong to."""


def runs_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """Where tasks run: the profile's that is named, where KFP serves many users, otherwise KFP's own."""
    return environment.get(NAMESPACE_VARIABLE) or KFP_NAMESPACE


def with_site(task: PipelineTask) -> PipelineTask:
    """The task, with the site's environment, and without KFP's cache.

    What is done is found in the store. KFP would answer from the inputs alone: `join` would name another day's arms.
    """
    task.set_caching_options(False)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in SETTINGS}, optional=True)
    for secret, names in SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, {name: name for name in names}, optional=True)
    for name, value in STAYS.items():
        kubernetes.add_pod_annotation(task, name, value)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", RUN_ID)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    return task
