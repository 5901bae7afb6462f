"""The limits of a run to what it needs: what its jobs could read, and in which other namespaces they could be made."""

from collections.abc import Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.rest import ApiException

from switchpoint.components.launch.site import Launched
from switchpoint.pipelines.commands.doctor import Check
from switchpoint.pipelines.commands.doctor_runs import GUIDE, UNSEEN, Runs, seen
from switchpoint.pipelines.site import KFP_NAMESPACE

SERVICES_NAMESPACE = "switchpoint"
"""The namespace of MLflow, and in kind of the store and the database, as k8s/ makes it: their Secrets are there."""
ADMISSION = "switchpoint-admission"
POLICY = "switchpoint-jobs"
RUNS_LABEL = "switchpoint.io/runs"
APPLY = f"kubectl apply -k k8s/overlays/... ({GUIDE})"
OF_ACCOUNTS = "kubernetes.io/service-account-token"


class Limits:
    """Warnings, for the most part: a study runs without these limits, and any run may read what it should not."""

    def __init__(self, api: Any, launched: Launched, runs: Runs) -> None:
        self.launched, self.runs, self.core = launched, runs, client.CoreV1Api(api)
        self.admissions = client.AdmissionregistrationV1Api(api)

    def secrets(self) -> Iterator[Check]:
        """Check Secrets: whoever may make Jobs in a namespace can mount and print every Secret of it."""
        site, namespace = self.launched.site, self.launched.namespace
        found, refused = seen(lambda: self.core.list_namespaced_secret(namespace).items)
        needed = {*site.env_secrets, *site.image_pull_secrets}
        more = sorted(one.metadata.name for one in found or [] if one.type != OF_ACCOUNTS)
        more = [name for name in more if name not in needed]
        shown = UNSEEN if refused else f"any run can read {', '.join(more)}" if more else "only what training pods need"
        remedy = (
            f"move them to another namespace, or jobs to one of their own: `namespace` of the site ({GUIDE}, Upgrade)"
        )
        yield Check("secrets of jobs", not more, f"{namespace}: {shown}", remedy, is_needed=False)

    def reach(self) -> Iterator[Check]:
        """Check in which namespaces, beside the one that is theirs, the account of runs may make Jobs."""
        title, where = "reach of runs", {SERVICES_NAMESPACE, KFP_NAMESPACE, self.runs.namespace}
        asked = {"group": "batch.volcano.sh", "resource": "jobs", "verb": "create"}
        try:
            found = [name for name in sorted(where) if self.runs.launcher_may(asked | {"namespace": name})]
        except ApiException as error:
            if error.status != 403:
                raise
            yield Check(title, True, UNSEEN, is_needed=False)
            return
        shown = (
            f"may make Jobs in {', '.join(found)}, and so read every Secret there" if found else "only where jobs are"
        )
        old = "delete rolebinding/switchpoint-launcher role/switchpoint-launcher, once jobs are in switchpoint-jobs"
        remedy = (
            f"kubectl -n {SERVICES_NAMESPACE} {old} ({GUIDE}, Upgrade)" if SERVICES_NAMESPACE in found
            else f"`namespace` of the site: one that holds only what training pods need ({GUIDE})"
        )  # fmt: skip
        yield Check(title, not found, shown, remedy, is_needed=False)

    def admission(self) -> Iterator[Check]:
        """Check that the policy is there, and admits the Jobs of this site: without that, none can start."""
        namespace, title = self.launched.namespace, "admission"
        found, refused = seen(lambda: self.core.read_namespaced_config_map(ADMISSION, namespace))
        if refused:
            yield Check(title, True, f"{namespace}/{ADMISSION}: {UNSEEN}")
            return
        binding, unseen = seen(lambda: self.admissions.read_validating_admission_policy_binding(POLICY))
        if found is None or (binding is None and not unseen):
            missing = f"ConfigMap {namespace}/{ADMISSION}" if found is None else f"ValidatingAdmissionPolicy {POLICY}"
            yield Check(
                title, False, f"{missing}: missing; a Job may have any image", f"{APPLY}; Kubernetes 1.30 or newer",
                is_needed=False,
            )  # fmt: skip
            return
        lacks = self._lacks(found.data or {})
        remedy = f"name it in admission.env of the overlay, then {APPLY}"
        yield Check(title, not lacks, "; ".join(lacks) or "admits the site's jobs", remedy)

    def _lacks(self, lists: dict[str, str]) -> list[str]:
        site = self.launched.site
        claims = [site.store_volume.claim] if site.store_volume else []
        named = {
            "images": [site.trainer_image], "service_account": [site.service_account or "default"],
            "secrets": site.env_secrets, "config_maps": site.env_config_maps, "claims": claims,
            "image_pull_secrets": site.image_pull_secrets,
        }  # fmt: skip
        missing = {key: set(names) - set(lists.get(key, "").split(",")) for key, names in named.items()}
        return [f"{key} of {ADMISSION} lacks {', '.join(sorted(names))}" for key, names in missing.items() if names]

    def label(self) -> Iterator[Check]:
        """Check labels: KFP's own namespace may call MLflow by its name, a profile by a label."""
        title, namespace = "network of runs", self.runs.namespace
        if namespace == KFP_NAMESPACE:
            yield Check(title, True, f"{namespace}: known by its name", is_needed=False)
            return
        found, refused = seen(lambda: self.core.read_namespace(namespace))
        has_it = found is not None and (found.metadata.labels or {}).get(RUNS_LABEL) == "true"
        shown = UNSEEN if refused else f"has {RUNS_LABEL}=true" if has_it else f"lacks {RUNS_LABEL}=true"
        remedy = (
            f"kubectl label namespace {namespace} {RUNS_LABEL}=true: our network policies let nobody else reach MLflow"
        )
        yield Check(title, refused or has_it, f"{namespace}: {shown}", remedy, is_needed=False)
