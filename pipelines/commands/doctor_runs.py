"""The namespaces of runs and of jobs: settings, secrets, the launcher's account, and its permissions."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kubernetes import client
from kubernetes.client.rest import ApiException

from switchpoint.components.launch.cluster_api import or_none
from switchpoint.components.launch.site import SITE_VARIABLE, Launched
from switchpoint.components.store.location import is_remote
from switchpoint.pipelines.commands.doctor import Check
from switchpoint.pipelines.commands.kfp_server import SERVICE_ACCOUNT_VARIABLE
from switchpoint.pipelines.site import (
    CONFIG_MAP,
    NAMESPACE_VARIABLE,
    SECRETS,
    SERVICE_ACCOUNT,
    STORE_SECRET,
    runs_namespace,
)

GUIDE = "k8s/README.md"


class Needed(NamedTuple):
    """A request that the launcher sends to an API server."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    sub: str = ""
    name: str = ""
    """The name of the one object that is meant; none: any."""


NEEDED = (
    Needed("batch.volcano.sh", "jobs", ("get", "create", "delete")),
    Needed("batch.volcano.sh", "jobs", ("get", "update"), sub="status"),
    Needed("", "pods", ("get", "list")), Needed("", "pods", ("get",), sub="log"), Needed("", "events", ("list",)),
)  # fmt: skip
"""Requests in the namespace of jobs."""
NEEDED_OF_RUNS = (
    Needed("argoproj.io", "workflowtaskresults", ("create", "patch")), Needed("argoproj.io", "workflows", ("get",)),
    Needed("", "pods", ("get",)), Needed("", "configmaps", ("get",), name="kfp-launcher"),
    Needed("", "secrets", ("get",), name="mlpipeline-minio-artifact"),
)  # fmt: skip
"""Requests in the namespace of runs: those of KFP's own parts with this account, and of a launcher that is stopped."""
UNSEEN = "not visible from here"


class Runs:
    """Checks by a cluster's API server. What it does not show (403) is said and is no failure: a launcher may see
    little.
    """

    def __init__(self, api: Any, launched: Launched, where: str) -> None:
        self.launched, self.where = launched, where
        self.core, self.reviews = client.CoreV1Api(api), client.AuthorizationV1Api(api)
        self.namespace = runs_namespace()
        self.account = os.environ.get(SERVICE_ACCOUNT_VARIABLE) or SERVICE_ACCOUNT

    def config_map(self) -> Iterator[Check]:
        found, refused = seen(lambda: self.core.read_namespaced_config_map(CONFIG_MAP, self.namespace))
        lacks = found is None or SITE_VARIABLE not in (found.data or {})
        missing = "missing" if found is None else f"lacks {SITE_VARIABLE}"
        shown = f"{missing}: jobs would run inside the launcher's own pod" if lacks else "there"
        yield Check(
            f"ConfigMap {CONFIG_MAP}", refused or not lacks, f"{self.namespace}: {UNSEEN if refused else shown}",
            f"kubectl apply -k k8s/overlays/... ({GUIDE}); runs in another namespace: set {NAMESPACE_VARIABLE}",
        )  # fmt: skip

    def secrets(self) -> Iterator[Check]:
        """Check those of training pods, then those of the tasks of runs."""
        for name in sorted(self.launched.site.env_secrets):
            yield self._secret(f"secret {name}", name, self.launched.namespace)
        for name in SECRETS:
            needed = name != STORE_SECRET or is_remote(self.where)
            yield self._secret(f"secret {name} of runs", name, self.namespace, is_needed=needed)

    def _secret(self, title: str, name: str, namespace: str, *, is_needed: bool = True) -> Check:
        found, refused = seen(lambda: self.core.read_namespaced_secret(name, namespace))
        if refused:
            return Check(title, True, f"{namespace}: {UNSEEN}, which is right for a launcher")
        missing = [key for key in SECRETS.get(name, ()) if found is not None and key not in (found.data or {})]
        shown = "missing" if found is None else f"lacks {', '.join(missing)}" if missing else "there"
        remedy = f"kubectl -n {namespace} create secret generic {name} ... ({GUIDE})"
        return Check(title, found is not None and not missing, f"{namespace}: {shown}", remedy, is_needed)

    def service_account(self) -> Iterator[Check]:
        found, refused = seen(lambda: self.core.read_namespaced_service_account(self.account, self.namespace))
        shown = UNSEEN if refused else "missing" if found is None else "there"
        yield Check(
            "service account", refused or found is not None, f"{self.namespace}/{self.account}: {shown}",
            f"kubectl apply -k k8s/overlays/... ({GUIDE}); another name: set {SERVICE_ACCOUNT_VARIABLE}",
        )  # fmt: skip

    def permissions(self) -> Iterator[Check]:
        """Ask for whoever runs this, an administrator perhaps, then for the account of runs where that is allowed."""
        remedy = f"bind the Role `switchpoint-launcher` to {{}} ({GUIDE})"
        jobs = [(self.launched.namespace, NEEDED)]

        def own(attributes: dict[str, str]) -> bool:
            body = {"spec": {"resourceAttributes": attributes}}
            return bool(self.reviews.create_self_subject_access_review(body).status.allowed)

        yield _may("permissions", own, jobs, remedy.format("this account"))
        account, title = f"{self.namespace}/{self.account}", "permissions of runs"
        try:
            needed = [*jobs, (self.namespace, NEEDED_OF_RUNS)]
            yield _may(title, self.launcher_may, needed, remedy.format(f"the service account {account}"))
        except ApiException as error:
            if error.status != 403:
                raise
            yield Check(title, True, f"{account}: {UNSEEN}")

    def launcher_may(self, attributes: dict[str, str]) -> bool:
        """Ask about the account of runs. Raise ApiException (403) if that is not allowed."""
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]
        user = f"system:serviceaccount:{self.namespace}:{self.account}"
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        return bool(self.reviews.create_subject_access_review({"spec": spec}).status.allowed)


def _may(
    title: str, allows: Callable[[dict[str, str]], bool], needed: Sequence[tuple[str, tuple[Needed, ...]]], remedy: str
) -> Check:
    refused = []
    for namespace, asked in needed:
        for one in asked:
            for verb in one.verbs:
                attributes = {
                    "namespace": namespace, "group": one.group, "resource": one.resource, "verb": verb,
                    "subresource": one.sub, "name": one.name,
                }  # fmt: skip
                if not allows({key: value for key, value in attributes.items() if value or key == "group"}):
                    what = "/".join(filter(None, (one.resource, one.sub, one.name)))
                    refused.append(f"{verb} {what} in {namespace}")
    shown = f"may not {', '.join(refused)}" if refused else "all that a launcher does"
    return Check(title, not refused, shown, remedy)


def seen(ask: Callable[[], Any]) -> tuple[Any, bool]:
    """Return what is there, or None, and whether it may not be seen."""
    try:
        return or_none(ask), False
    except ApiException as error:
        if error.status != 403:
            raise
        return None, True
