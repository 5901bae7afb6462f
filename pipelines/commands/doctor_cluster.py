"""`switchpoint doctor --cluster`: what a study needs of a cluster, each with its fix."""

import os
from collections.abc import Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.rest import ApiException
from kubernetes.utils.quantity import parse_quantity
from urllib3.exceptions import HTTPError

from switchpoint.components.launch.cluster_api import api_client, or_none
from switchpoint.components.launch.site import SITE_VARIABLE, Launched, read_site
from switchpoint.components.recipe.errors import BadInput
from switchpoint.pipelines.commands.doctor import Check
from switchpoint.pipelines.commands.doctor_limits import Limits
from switchpoint.pipelines.commands.doctor_runs import GUIDE, Runs
from switchpoint.pipelines.commands.doctor_services import service_checks
from switchpoint.pipelines.site import runs_namespace

POD_SECURITY = "pod-security.kubernetes.io/enforce"
CRDS = {
    "jobs.batch.volcano.sh": ("v1alpha1", "Volcano 1.15"),
    "queues.scheduling.volcano.sh": ("v1beta1", "Volcano 1.15"),
    "podgroups.scheduling.volcano.sh": ("v1beta1", "Volcano 1.15"),
}
OPTIONAL_CRDS = {"pipelineversions.pipelines.kubeflow.org": ("v2beta1", "KFP in Kubernetes-native mode")}
MANY_WRITE = "a claim that many pods write (ReadWriteMany), of a storage class that can, such as NFS or CephFS"


def cluster_checks(where: str) -> Iterator[Check]:
    """Check what the site is, what its cluster has, and which services answer."""
    try:
        launched = read_site() if os.environ.get(SITE_VARIABLE) else None
        yield Check(
            "site", launched is not None, launched.site.trainer_image if launched else "not given",
            f"set {SITE_VARIABLE}, as the ConfigMap `switchpoint` has it ({GUIDE})",
        )  # fmt: skip
    except BadInput as error:
        launched = None
        yield Check("site", False, error.problem, f"correct {error.field} ({GUIDE})")
    yield from _of_cluster(launched, where)
    yield from service_checks(where)


def _of_cluster(launched: Launched | None, where: str) -> Iterator[Check]:
    """Check the cluster; stop where the checks that follow could not be made."""
    try:
        api = api_client()
        version = client.VersionApi(api).get_code(_request_timeout=10)
    except (BadInput, ApiException, HTTPError, OSError) as error:
        yield Check("API server", False, str(error).splitlines()[0][:200], "a kubeconfig, or a pod's service account")
        return
    yield Check("API server", True, str(version.git_version))
    if launched is None:
        return
    asked, runs = _Cluster(api, launched), Runs(api, launched, where)
    limits = Limits(api, launched, runs)
    for name, check in (
        ("namespace", asked.namespace), ("custom resources", asked.crds), ("queue", asked.queues),
        ("quota", asked.quota), ("GPUs", asked.devices), ("storage", asked.storage),
        ("settings", runs.config_map), ("secrets", runs.secrets), ("service account", runs.service_account),
        ("permissions", runs.permissions), ("secrets of jobs", limits.secrets), ("reach of runs", limits.reach),
        ("admission", limits.admission), ("network of runs", limits.label),
    ):  # fmt: skip
        try:
            yield from check()
        except ApiException as error:
            yield Check(name, False, f"{error.status} {error.reason}", "somebody who may look: an administrator")


class _Cluster:
    def __init__(self, api: Any, launched: Launched) -> None:
        self.api, self.launched = api, launched
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    def namespace(self) -> Iterator[Check]:
        found = or_none(lambda: self.core.read_namespace(self.launched.namespace))
        labels = (found.metadata.labels if found else None) or {}
        state = f", pod security {labels.get(POD_SECURITY, 'not set')}" if found else ": missing"
        remedy = f"kubectl apply -k k8s/overlays/... ({GUIDE})"
        yield Check("namespace", found is not None, self.launched.namespace + state, remedy)

    def crds(self) -> Iterator[Check]:
        extensions = client.ApiextensionsV1Api(self.api)
        for name, (wanted, whose) in CRDS.items():
            found = or_none(lambda name=name: extensions.read_custom_resource_definition(name))  # type: ignore[misc]
            served = _served(found) if found else []
            yield Check(name, wanted in served, ", ".join(served) or "missing", f"install {whose} ({GUIDE})")
        for name, (wanted, whose) in OPTIONAL_CRDS.items():
            found = or_none(lambda name=name: extensions.read_custom_resource_definition(name))  # type: ignore[misc]
            if found is None:
                yield Check(name, True, f"missing: only {whose} has it")
                continue
            served = _served(found)
            remedy = f"{whose} of KFP 2.17, which has {wanted} ({GUIDE})"
            yield Check(name, wanted in served, ", ".join(served), remedy, is_needed=False)

    def queues(self) -> Iterator[Check]:
        found = self.custom.list_cluster_custom_object("scheduling.volcano.sh", "v1beta1", "queues")["items"]
        states = {queue["metadata"]["name"]: queue.get("status", {}).get("state", "Open") for queue in found}
        opened = [name for name, state in states.items() if state == "Open"]
        shown = ", ".join(f"{name} {state}" for name, state in states.items()) or "none"
        remedy = f"kubectl apply -k k8s/overlays/... ({GUIDE}); a recipe names a queue in `cluster.queue`"
        yield Check("queue", bool(opened), shown, remedy)

    def quota(self) -> Iterator[Check]:
        listed = self.core.list_namespaced_resource_quota(self.launched.namespace).items
        used_up = [
            f"{name} {quota.status.used[name]} of {hard}"
            for quota in listed
            for name, hard in ((quota.status and quota.status.hard) or {}).items()
            if 0 < parse_quantity(hard) <= parse_quantity((quota.status.used or {}).get(name, "0"))
        ]
        shown = "; ".join(used_up) or f"{len(listed)} quotas, none used up"
        yield Check("quota", not used_up, shown, "wait, or have the ResourceQuota of the namespace raised")

    def devices(self) -> Iterator[Check]:
        found: dict[str, int] = {}
        for node in self.core.list_node().items:
            if node.spec.unschedulable:
                continue
            for name, number in (node.status.allocatable or {}).items():
                if "/" in name and number.isdigit():
                    found[name] = found.get(name, 0) + int(number)
        gpus = {name: number for name, number in found.items() if name.endswith("/gpu") and number}
        shown = ", ".join(f"{number} {name}" for name, number in gpus.items()) or "none"
        remedy = "install the vendor's device plugin; without GPUs only studies with `cluster: {device: none}` run"
        yield Check("GPUs", bool(gpus), shown, remedy, is_needed=False)

    def storage(self) -> Iterator[Check]:
        volume = self.launched.site.store_volume
        if volume is None:
            classes = [one.metadata.name for one in client.StorageV1Api(self.api).list_storage_class().items]
            yield Check("storage", True, f"no volume is asked for; classes: {', '.join(classes) or 'none'}")
            return
        # Tasks mount it as well as their jobs, each by the claim of their own namespace.
        for title, namespace in (("storage", self.launched.namespace), ("storage of runs", runs_namespace())):
            yield self._claim(title, volume.claim, namespace)

    def _claim(self, title: str, name: str, namespace: str) -> Check:
        claim = or_none(lambda: self.core.read_namespaced_persistent_volume_claim(name, namespace))
        if claim is None:
            return Check(title, False, f"{namespace}/{name}: missing", MANY_WRITE)
        modes, phase = claim.spec.access_modes or [], claim.status.phase
        shown = f"{namespace}/{name}: {', '.join(modes)}, {phase}"
        if "ReadWriteMany" not in modes:
            return Check(title, False, shown, MANY_WRITE)
        if phase == "Pending" and self._waits(claim.spec.storage_class_name):
            return Check(title, True, f"{shown} until the first pod mounts it")
        remedy = f"kubectl -n {namespace} describe pvc {name} says why it has no volume"
        return Check(title, phase == "Bound", shown, remedy)

    def _waits(self, class_name: str | None) -> bool:
        """Return whether a claim of this class gets its volume with the first pod."""
        found = or_none(lambda: client.StorageV1Api(self.api).read_storage_class(class_name)) if class_name else None
        return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"


def _served(definition: Any) -> list[str]:
    return [version.name for version in definition.spec.versions if version.served]
