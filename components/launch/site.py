"""The settings of a site's cluster, once for all studies: YAML in SWITCHPOINT_SITE, which the launcher gets.

In Kubeflow Pipelines it comes from the ConfigMap `switchpoint`, and KFP's TaskConfig hands on what the launcher's own
pod got: environment (secrets by reference), volumes, node selector, tolerations.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from switchpoint.components.recipe.cluster import ObjectName
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.fields import Config
from switchpoint.components.store.store import KFP_RUN_VARIABLE

SITE_VARIABLE = "SWITCHPOINT_SITE"
TASK_CONFIG_VARIABLE = "SWITCHPOINT_TASK_CONFIG"
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Annotations by which autoscalers leave a pod on its node: a launcher that is moved fails its task, and with it the
run, while its Job trains on; one training pod that is moved restarts all of its Job."""
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Volume(Config):
    """A PersistentVolumeClaim and its mount path, which is the same in every pod."""

    claim: ObjectName
    path: Annotated[str, Field(pattern=r"^/[^:]+$")]


class Site(Config):
    """The namespace, image, secrets and volume of training pods. Holds no secret, only names."""

    trainer_image: Annotated[str, Field(min_length=1)]
    namespace: ObjectName | None = None
    """Not given: the launcher's own."""
    service_account: ObjectName | None = None
    """The service account of training pods. They call no API: its token is not mounted."""
    image_pull_secrets: list[ObjectName] = Field(default_factory=list)
    env_secrets: list[ObjectName] = Field(default_factory=list)
    """Secrets whose keys become variables of the training pods."""
    env_config_maps: list[ObjectName] = Field(default_factory=list)
    store_volume: Volume | None = None
    """The volume of a store that is a folder. Not given: the store is an object store."""
    user: Annotated[int, Field(ge=1)] = 10001
    """The user that the trainer image's files belong to."""


class TaskConfig(Config):
    """What KFP applied to the launcher's own pod, in Kubernetes' own words."""

    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None
    node_selector: dict[str, str] | None = None
    env: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None
    volume_mounts: list[dict[str, Any]] | None = None
    resources: dict[str, Any] | None = None


class Launched(Config):
    """The site as a task reads it."""

    site: Site
    namespace: str
    task_config: TaskConfig = TaskConfig()
    kfp_run_id: str = ""


def scheduler(environment: Mapping[str, str] = os.environ) -> Literal["local", "kubernetes"]:
    """Return how jobs are scheduled: in the site's cluster if there is one, otherwise on this machine."""
    return "kubernetes" if environment.get(SITE_VARIABLE) else "local"


def keep_task_config(task_config: Any) -> None:
    """Keep the configuration of this task for its jobs. `task_config`: a dsl.TaskConfig, whose fields are None outside
    a cluster.
    """
    if task_config is not None:
        given = {name: value for name, value in vars(task_config).items() if value}
        os.environ[TASK_CONFIG_VARIABLE] = json.dumps(given)


def own_namespace() -> str:
    """Return the namespace of the launcher's own pod; empty if it runs in none."""
    return OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else ""


def read_site(environment: Mapping[str, str] = os.environ) -> Launched:
    """Return the site. Raise BadInput, which names the field."""
    try:
        given = yaml.safe_load(environment[SITE_VARIABLE])
        site = Site.model_validate(given)
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {error}", field=SITE_VARIABLE) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (SITE_VARIABLE, *first["loc"])))
        known = ", ".join(Site.model_fields)
        raise BadInput(first["msg"], field=place, given=first["input"], allowed=f"a mapping with {known}") from None
    namespace = site.namespace or own_namespace()
    if not namespace:
        raise BadInput(
            "the launcher runs in no pod: say the namespace of training pods", field="SWITCHPOINT_SITE.namespace"
        )
    return Launched(
        site=site, namespace=namespace, kfp_run_id=environment.get(KFP_RUN_VARIABLE, ""),
        task_config=TaskConfig.model_validate(json.loads(environment.get(TASK_CONFIG_VARIABLE) or "{}")),
    )  # fmt: skip
