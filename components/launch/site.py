"""What a site says of its cluster, once for all studies: from the environment that the launcher was given.

In Kubeflow Pipelines it comes from the ConfigMap `switchpoint`, and KFP's TaskConfig hands on what the launcher's own
pod got: environment (secrets by reference), volumes, node selector, tolerations.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from components.recipe.errors import BadInput
from components.recipe.fields import Config

SCHEDULER_VARIABLE = "SWITCHPOINT_SCHEDULER"
TASK_CONFIG_VARIABLE = "SWITCHPOINT_TASK_CONFIG"
SCHEDULERS = ("local", "kubernetes")
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PREFIX = "SWITCHPOINT_"


class Volume(Config):
    """A PersistentVolumeClaim, and where it is mounted: the same path in every pod."""

    claim: str
    path: str


class TaskConfig(Config):
    """What KFP applied to the launcher's own pod, in Kubernetes' own words."""

    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None
    node_selector: dict[str, str] | None = None
    env: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None
    volume_mounts: list[dict[str, Any]] | None = None
    resources: dict[str, Any] | None = None


class Site(Config):
    """Where training pods run, from which image, with which rights and secrets. Holds no secret, only names."""

    namespace: str
    trainer_image: str
    service_account: str | None = None
    """Of training pods. They call no API: its token is not mounted."""
    image_pull_secrets: tuple[str, ...] = ()
    env_secrets: tuple[str, ...] = ()
    """Secrets whose keys become variables of the training pods."""
    env_config_maps: tuple[str, ...] = ()
    store_volume: Volume | None = None
    task_config: TaskConfig = TaskConfig()
    kfp_run_id: str = ""
    user: int = 10001
    """That the trainer image's files belong to."""


def scheduler(environment: Mapping[str, str] = os.environ) -> Literal["local", "kubernetes"]:
    """Where jobs run: on this machine unless SWITCHPOINT_SCHEDULER says otherwise. Raises BadInput."""
    given = environment.get(SCHEDULER_VARIABLE, "local")
    if given not in SCHEDULERS:
        raise BadInput("no such scheduler", field=SCHEDULER_VARIABLE, given=given, allowed=", ".join(SCHEDULERS))
    return given  # type: ignore[return-value]


def keep_task_config(task_config: Any) -> None:
    """For the jobs of this task. `task_config`: a dsl.TaskConfig, whose fields are None outside a cluster."""
    if task_config is not None:
        os.environ[TASK_CONFIG_VARIABLE] = json.dumps(
            {name: value for name, value in vars(task_config).items() if value}
        )


def read_site(environment: Mapping[str, str] = os.environ) -> Site:
    """Raises BadInput, which names the variable."""

    def one(name: str) -> str:
        return environment.get(PREFIX + name, "").strip()

    def several(name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in one(name).split(",") if part.strip())

    if not one("TRAINER_IMAGE"):
        raise BadInput(
            "the image of training pods is not given", field=PREFIX + "TRAINER_IMAGE",
            allowed="an image such as registry.example.com/switchpoint-trainer:0.1.0, in the ConfigMap `switchpoint`",
        )  # fmt: skip
    namespace = one("NAMESPACE") or (OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else "")
    if not namespace:
        raise BadInput("the namespace of training pods is not given", field=PREFIX + "NAMESPACE")
    claim, _, path = one("STORE_VOLUME").partition(":")
    if bool(claim) != path.startswith("/"):
        raise BadInput(
            "not a volume", field=PREFIX + "STORE_VOLUME", given=one("STORE_VOLUME"), allowed="CLAIM:/MOUNT/PATH"
        )
    return Site(
        namespace=namespace, trainer_image=one("TRAINER_IMAGE"), service_account=one("SERVICE_ACCOUNT") or None,
        image_pull_secrets=several("IMAGE_PULL_SECRETS"), env_secrets=several("ENV_SECRETS"),
        env_config_maps=several("ENV_CONFIG_MAPS"),
        store_volume=Volume(claim=claim, path=path) if claim else None,
        task_config=TaskConfig.model_validate(json.loads(environment.get(TASK_CONFIG_VARIABLE) or "{}")),
        kfp_run_id=environment.get("KFP_RUN_ID", ""),
    )  # fmt: skip
