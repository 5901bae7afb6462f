"""`switchpoint doctor --cluster`: what a study needs of a cluster, each with its mend."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from components.launch.site import SITE_VARIABLE, Launched, read_site
from components.recipe.errors import BadInput
from pipelines.doctor import Check
from pipelines.site import SECRETS

GUIDE = "k8s/README.md"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
CRDS = {
    "jobs.batch.volcano.sh": ("v1alpha1", "Volcano 1.15"),
    "queues.scheduling.volcano.sh": ("v1beta1", "Volcano 1.15"),
    "podgroups.scheduling.volcano.sh": ("v1beta1", "Volcano 1.15"),
}
OPTIONAL_CRDS = {"pipelineversions.pipelines.kubeflow.org": ("v2beta1", "KFP in Kubernetes-native mode")}
NEEDED = (
    ("batch.volcano.sh", "jobs", "", ("get", "create", "delete")),
    ("batch.volcano.sh", "jobs", "status", ("get", "update")),
    ("", "pods", "", ("get", "list")), ("", "pods", "log", ("get",)), ("", "events", "", ("list",)),
)  # fmt: skip
"""What the launcher does: group, resource, sub-resource, verbs."""


def cluster_checks(where: str) -> Iterator[Check]:
    """What the site is, what its cluster has, and which services answer."""
    try:
        launched = read_site() if os.environ.get(SITE_VARIABLE) else None
        yield Check(
            "site", launched is not None, launched.site.trainer_image if launched else "not given",
            f"set {SITE_VARIABLE}, as the ConfigMap `switchpoint` has it ({GUIDE})",
        )  # fmt: skip
    except BadInput as error:
        launched = None
        yield Check("site", False, error.problem, f"mend {error.field} ({GUIDE})")
    yield from _of_cluster(launched)
    yield from _services(where)


def _of_cluster(launched: Launched | None) -> Iterator[Check]:
    """Stops where what follows could not be asked."""
    from kubernetes import client
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    from components.launch.cluster_api import api_client

    try:
        api = api_client()
        version = client.VersionApi(api).get_code(_request_timeout=10)
    except (BadInput, ApiException, HTTPError, OSError) as error:
        yield Check("API server", False, str(error).splitlines()[0][:200], "a kubeconfig, or a pod's service account")
        return
    yield Check("API server", True, str(version.git_version))
    if launched is None:
        return
    asked = _Cluster(api, launched)
    for name, check in (
        ("namespace", asked.namespace), ("custom resources", asked.crds), ("queue", asked.queues),
        ("quota", asked.quota), ("GPUs", asked.devices), ("storage", asked.storage),
        ("permissions", asked.permissions), ("secrets", asked.secrets),
    ):  # fmt: skip
        try:
            yield from check()
        except ApiException as error:
            yield Check(name, False, f"{error.status} {error.reason}", "somebody who may look: an administrator")


class _Cluster:
    def __init__(self, api: Any, launched: Launched) -> None:
        from kubernetes import client

        self.api, self.launched, self.client = api, launched, client
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    def namespace(self) -> Iterator[Check]:
        found = self._or_none(lambda: self.core.read_namespace(self.launched.namespace))
        labels = (found.metadata.labels if found else None) or {}
        state = f", pod security {labels.get(POD_SECURITY, 'not set')}" if found else ": missing"
        mend = f"kubectl apply -k k8s/overlays/... ({GUIDE})"
        yield Check("namespace", found is not None, self.launched.namespace + state, mend)

    def crds(self) -> Iterator[Check]:
        extensions = self.client.ApiextensionsV1Api(self.api)
        for name, (wanted, whose) in CRDS.items():
            found = self._or_none(lambda name=name: extensions.read_custom_resource_definition(name))  # type: ignore[misc]
            served = [version.name for version in found.spec.versions if version.served] if found else []
            yield Check(name, wanted in served, ", ".join(served) or "missing", f"install {whose} ({GUIDE})")
        for name, (_, whose) in OPTIONAL_CRDS.items():
            found = self._or_none(lambda name=name: extensions.read_custom_resource_definition(name))  # type: ignore[misc]
            yield Check(name, True, "there" if found else f"missing: only {whose} has it")

    def queues(self) -> Iterator[Check]:
        found = self.custom.list_cluster_custom_object("scheduling.volcano.sh", "v1beta1", "queues")["items"]
        states = {queue["metadata"]["name"]: queue.get("status", {}).get("state", "Open") for queue in found}
        opened = [name for name, state in states.items() if state == "Open"]
        shown = ", ".join(f"{name} {state}" for name, state in states.items()) or "none"
        mend = f"kubectl apply -k k8s/overlays/... ({GUIDE}); a recipe names a queue in `cluster.queue`"
        yield Check("queue", bool(opened), shown, mend)

    def quota(self) -> Iterator[Check]:
        listed = self.core.list_namespaced_resource_quota(self.launched.namespace).items
        used_up = [
            f"{name} {quota.status.used[name]} of {hard}"
            for quota in listed
            for name, hard in ((quota.status and quota.status.hard) or {}).items()
            if (quota.status.used or {}).get(name) == hard and hard not in ("0", None)
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
        mend = "install the vendor's device plugin; without GPUs only studies with `cluster: {device: none}` run"
        yield Check("GPUs", bool(gpus), shown, mend, is_needed=False)

    def storage(self) -> Iterator[Check]:
        volume = self.launched.site.store_volume
        if volume is None:
            classes = [one.metadata.name for one in self.client.StorageV1Api(self.api).list_storage_class().items]
            yield Check("storage", True, f"no volume is asked for; classes: {', '.join(classes) or 'none'}")
            return
        namespace = self.launched.namespace
        claim = self._or_none(lambda: self.core.read_namespaced_persistent_volume_claim(volume.claim, namespace))
        modes = claim.spec.access_modes if claim else []
        shown = f"{volume.claim}: {', '.join(modes)}" if claim else f"{volume.claim}: missing"
        mend = "a claim that many pods write (ReadWriteMany), of a storage class that can, such as NFS or CephFS"
        yield Check("storage", "ReadWriteMany" in modes, shown, mend)

    def permissions(self) -> Iterator[Check]:
        review = self.client.AuthorizationV1Api(self.api)
        refused = []
        for group, resource, sub, verbs in NEEDED:
            for verb in verbs:
                asked = {"namespace": self.launched.namespace, "group": group, "resource": resource, "verb": verb}
                body = {"spec": {"resourceAttributes": asked | ({"subresource": sub} if sub else {})}}
                if not review.create_self_subject_access_review(body).status.allowed:
                    refused.append(f"{verb} {resource}{f'/{sub}' if sub else ''}")
        shown = f"may not {', '.join(refused)}" if refused else "all that a launcher does"
        mend = f"bind the Role `switchpoint-launcher` to this service account ({GUIDE})"
        yield Check("permissions", not refused, shown, mend)

    def secrets(self) -> Iterator[Check]:
        """Their keys only where they may be read: a launcher may not."""
        for name in sorted(self.launched.site.env_secrets):
            try:
                found = self._or_none(lambda name=name: self.core.read_namespaced_secret(name, self.launched.namespace))  # type: ignore[misc]
            except self.client.ApiException as error:
                if error.status != 403:
                    raise
                yield Check(f"secret {name}", True, "may not be looked at from here, which is right for a launcher")
                continue
            missing = [key for key in SECRETS.get(name, ()) if found is not None and key not in (found.data or {})]
            shown = "missing" if found is None else f"lacks {', '.join(missing)}" if missing else "there"
            mend = f"kubectl create secret generic {name} ... ({GUIDE})"
            yield Check(f"secret {name}", found is not None and not missing, shown, mend)

    def _or_none(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self.client.ApiException as error:
            if error.status == 404:
                return None
            raise


def _services(where: str) -> Iterator[Check]:
    """Kubeflow Pipelines, MLflow and the store, from here."""
    from components.store.opening import check_writable
    from pipelines.kfp_server import URL_VARIABLE, KFPServer

    try:
        server = KFPServer()
        server.check()
        yield Check("KFP", True, server.url)
    except BadInput as error:
        yield Check("KFP", False, error.problem, f"set {URL_VARIABLE} (and SWITCHPOINT_KFP_TOKEN), or port-forward it")
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
    import requests

    from components.tracking.client import reason_of, without_password

    name, password = (os.environ.get(f"MLFLOW_TRACKING_{what}", "") for what in ("USERNAME", "PASSWORD"))
    mend = "its URL in MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_USERNAME and _PASSWORD"
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", params={"max_results": "1"}, timeout=10,
            auth=(name, password) if name else None,
        )  # fmt: skip
    except requests.RequestException as error:
        return Check("MLflow", False, f"{without_password(uri)}: {reason_of(error)}", mend)
    shown = f"{without_password(uri)}: {answer.status_code} {answer.reason}"
    return Check("MLflow", answer.ok, without_password(uri) if answer.ok else shown, mend)
