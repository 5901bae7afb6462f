"""What a run finds in the namespaces of runs and of jobs: settings, secrets, the launcher's account, what it may do."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.rest import ApiException

from components.launch.site import SITE_VARIABLE, Launched
from components.store.place import is_remote
from pipelines.doctor import Check
from pipelines.kfp_server import SERVICE_ACCOUNT_VARIABLE
from pipelines.site import CONFIG_MAP, NAMESPACE_VARIABLE, SECRETS, SERVICE_ACCOUNT, STORE_SECRET, runs_namespace

GUIDE = "k8s/README.md"
NEEDED = (
    ("batch.volcano.sh", "jobs", "", ("get", "create", "delete")),
    ("batch.volcano.sh", "jobs", "status", ("get", "update")),
    ("", "pods", "", ("get", "list")), ("", "pods", "log", ("get",)), ("", "events", "", ("list",)),
)  # fmt: skip
"""What the launcher does: group, resource, sub-resource, verbs."""
UNSEEN = "may not be looked at from here"


def or_none(ask: Callable[[], Any]) -> Any:
    """None for what is not there. Raises ApiException."""
    try:
        return ask()
    except ApiException as error:
        if error.status == 404:
            return None
        raise


class Runs:
    """Asks a cluster's API server. What it does not show (403) is said and is no failure: a launcher may see little."""

    def __init__(self, api: Any, launched: Launched, where: str) -> None:
        self.launched, self.where = launched, where
        self.core, self.reviews = client.CoreV1Api(api), client.AuthorizationV1Api(api)
        self.namespace = runs_namespace()
        self.account = os.environ.get(SERVICE_ACCOUNT_VARIABLE) or SERVICE_ACCOUNT

    def config_map(self) -> Iterator[Check]:
        found, refused = _seen(lambda: self.core.read_namespaced_config_map(CONFIG_MAP, self.namespace))
        lacks = found is None or SITE_VARIABLE not in (found.data or {})
        missing = "missing" if found is None else f"lacks {SITE_VARIABLE}"
        shown = f"{missing}: jobs would run inside the launcher's own pod" if lacks else "there"
        yield Check(
            f"ConfigMap {CONFIG_MAP}", refused or not lacks, f"{self.namespace}: {UNSEEN if refused else shown}",
            f"kubectl apply -k k8s/overlays/... ({GUIDE}); runs in another namespace: set {NAMESPACE_VARIABLE}",
        )  # fmt: skip

    def secrets(self) -> Iterator[Check]:
        """Of training pods, then of the tasks of runs."""
        for name in sorted(self.launched.site.env_secrets):
            yield self._secret(f"secret {name}", name, self.launched.namespace)
        for name in SECRETS:
            needed = name != STORE_SECRET or is_remote(self.where)
            yield self._secret(f"secret {name} of runs", name, self.namespace, is_needed=needed)

    def _secret(self, title: str, name: str, namespace: str, *, is_needed: bool = True) -> Check:
        found, refused = _seen(lambda: self.core.read_namespaced_secret(name, namespace))
        if refused:
            return Check(title, True, f"{namespace}: {UNSEEN}, which is right for a launcher")
        missing = [key for key in SECRETS.get(name, ()) if found is not None and key not in (found.data or {})]
        shown = "missing" if found is None else f"lacks {', '.join(missing)}" if missing else "there"
        mend = f"kubectl -n {namespace} create secret generic {name} ... ({GUIDE})"
        return Check(title, found is not None and not missing, f"{namespace}: {shown}", mend, is_needed)

    def service_account(self) -> Iterator[Check]:
        found, refused = _seen(lambda: self.core.read_namespaced_service_account(self.account, self.namespace))
        shown = UNSEEN if refused else "missing" if found is None else "there"
        yield Check(
            "service account", refused or found is not None, f"{self.namespace}/{self.account}: {shown}",
            f"kubectl apply -k k8s/overlays/... ({GUIDE}); another name: set {SERVICE_ACCOUNT_VARIABLE}",
        )  # fmt: skip

    def permissions(self) -> Iterator[Check]:
        """Of whoever asks, and of the launcher's account where it may be asked about: an administrator may anything."""
        mend = f"bind the Role `switchpoint-launcher` to {{}} ({GUIDE})"

        def own(attributes: dict[str, str]) -> bool:
            body = {"spec": {"resourceAttributes": attributes}}
            return bool(self.reviews.create_self_subject_access_review(body).status.allowed)

        yield self._may("permissions", own, mend.format("this account"))
        account = f"{self.namespace}:{self.account}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]

        def launchers(attributes: dict[str, str]) -> bool:
            spec = {"user": f"system:serviceaccount:{account}", "groups": groups, "resourceAttributes": attributes}
            return bool(self.reviews.create_subject_access_review({"spec": spec}).status.allowed)

        title = "permissions of runs"
        try:
            yield self._may(title, launchers, mend.format(f"the service account {account.replace(':', '/')}"))
        except ApiException as error:
            if error.status != 403:
                raise
            yield Check(title, True, f"{account.replace(':', '/')}: {UNSEEN}")

    def _may(self, title: str, allows: Callable[[dict[str, str]], bool], mend: str) -> Check:
        refused = []
        for group, resource, sub, verbs in NEEDED:
            for verb in verbs:
                asked = {"namespace": self.launched.namespace, "group": group, "resource": resource, "verb": verb}
                if not allows(asked | ({"subresource": sub} if sub else {})):
                    refused.append(f"{verb} {resource}{f'/{sub}' if sub else ''}")
        shown = f"may not {', '.join(refused)}" if refused else "all that a launcher does"
        return Check(title, not refused, shown, mend)


def _seen(ask: Callable[[], Any]) -> tuple[Any, bool]:
    """(what is there, or None; whether it is refused)."""
    try:
        return or_none(ask), False
    except ApiException as error:
        if error.status != 403:
            raise
        return None, True
