"""Jobs and pods in the namespace of jobs: ours are admitted, and nothing that reads more than ours do."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml

from switchpoint.components.launch.site import Site
from tests.k8s.admission import JOBS, NAME, PARAMETERS, golden_jobs, job_of_the_site, policy, volcano_pods
from tests.k8s.built import OVERLAYS, Resource, one

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
Change = Callable[[Resource], Any]
"""Of a pod's spec."""


def _add(spec: Resource, field: str, *entries: Resource) -> None:
    spec["containers"][0][field] = [*spec["containers"][0].get(field, []), *entries]


def _volume(source: Resource) -> Change:
    return lambda spec: spec["volumes"].append({"name": "more", **source})


ATTACKS: dict[str, tuple[Change, str]] = {
    "image": (lambda spec: spec["containers"][0].update(image="busybox:1"), "image not allowed here: busybox:1"),
    "image of a later tag": (
        lambda spec: spec["containers"][0].update(image=spec["containers"][0]["image"] + "0"), "image not allowed",
    ),
    "no image": (lambda spec: spec["containers"][0].pop("image"), "image"),
    "image of an init container": (
        lambda spec: spec.update(initContainers=[{"name": "first", "image": "busybox:1"}]), "image not allowed",
    ),
    "image of a second container": (
        lambda spec: spec["containers"].append({"name": "second", "image": "busybox:1"}), "image not allowed",
    ),
    "another account": (lambda spec: spec.update(serviceAccountName="default"), "serviceAccountName"),
    "no account": (lambda spec: spec.pop("serviceAccountName"), "serviceAccountName"),
    "a token": (lambda spec: spec.update(automountServiceAccountToken=True), "automountServiceAccountToken"),
    "a token by default": (lambda spec: spec.pop("automountServiceAccountToken"), "automountServiceAccountToken"),
    "a Secret's key": (
        lambda spec: _add(spec, "env", {"name": "X", "valueFrom": {"secretKeyRef": {"name": "mlflow", "key": "x"}}}),
        "may only name Secrets",
    ),
    "a Secret's key that may lack": (
        lambda spec: _add(spec, "env", {
            "name": "X", "valueFrom": {"secretKeyRef": {"name": "mlflow", "key": "x", "optional": True}},
        }), "may only name Secrets",
    ),
    "a whole Secret": (
        lambda spec: _add(spec, "envFrom", {"secretRef": {"name": "mlflow-database"}}), "may only name Secrets",
    ),
    "a Secret of an init container": (
        lambda spec: spec.update(initContainers=[
            {"name": "first", "image": spec["containers"][0]["image"], "envFrom": [{"secretRef": {"name": "mlflow"}}]},
        ]), "may only name Secrets",
    ),
    "a ConfigMap's key": (
        lambda spec: _add(spec, "env", {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "x"}}}),
        "may only name ConfigMaps",
    ),
    "a whole ConfigMap": (
        lambda spec: _add(spec, "envFrom", {"configMapRef": {"name": "switchpoint-admission"}}),
        "may only name ConfigMaps",
    ),
    "the hosts of another Job": (_volume({"configMap": {"name": "another-svc"}}), "a volume must be"),
    "a volume of a Secret": (_volume({"secret": {"secretName": "mlflow"}}), "a volume must be"),
    "a volume of the store's Secret": (_volume({"secret": {"secretName": "switchpoint-store"}}), "a volume must be"),
    "a volume of a ConfigMap": (_volume({"configMap": {"name": "other"}}), "a volume must be"),
    "a projected Secret": (
        _volume({"projected": {"sources": [{"secret": {"name": "mlflow"}}]}}), "a volume must be",
    ),
    "a projected token": (
        _volume({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}), "a volume must be",
    ),
    "a folder of the node": (_volume({"hostPath": {"path": "/"}}), "a volume must be"),
    "a driver's volume": (_volume({"csi": {"driver": "secrets-store.csi.k8s.io"}}), "a volume must be"),
    "a share by itself": (_volume({"nfs": {"server": "nfs.example.com", "path": "/"}}), "a volume must be"),
    "another claim": (_volume({"persistentVolumeClaim": {"claimName": "seaweedfs"}}), "a volume must be"),
    "a claim of its own": (_volume({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}), "a volume must be"),
    "a login of a registry": (
        lambda spec: spec.update(imagePullSecrets=[{"name": "mlflow"}]), "imagePullSecrets may only name",
    ),
    "the node's network": (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
    "the node's processes": (lambda spec: spec.update(hostPID=True), "hostNetwork"),
    "the node's memory": (lambda spec: spec.update(hostIPC=True), "hostNetwork"),
}  # fmt: skip
every_attack = pytest.mark.parametrize("attack", ATTACKS)


@every_overlay
@pytest.mark.parametrize("num_processes", [1, 16])
def test_jobs_of_the_site_and_the_pods_that_volcano_makes_of_them(overlay: str, num_processes: int) -> None:
    job, rules = job_of_the_site(overlay, num_processes), policy(overlay)
    assert rules.refuses(job) == []
    for pod in volcano_pods(job):
        assert rules.refuses(pod) == []


def test_every_golden_job_is_admitted_where_the_lists_name_what_its_site_names() -> None:
    jobs = golden_jobs()
    assert len(jobs) >= 3
    lists = {"images": "another:1,registry.example.com/switchpoint-trainer:0.1.0", "config_maps": "switchpoint"}
    rules = policy("production", **lists, image_pull_secrets="registry")
    for job in jobs:
        assert rules.refuses(job) == []
        for pod in volcano_pods(job):
            assert rules.refuses(pod) == []
        assert len(policy("production", **lists).refuses(job)) == 1  # the registry's login
        assert policy("production").refuses(job)


def test_a_store_on_a_shared_volume_and_a_registry_with_a_login() -> None:
    site = {
        "store_volume": {"claim": "switchpoint-store", "path": "/store"}, "env_secrets": [], "env_config_maps": [],
        "image_pull_secrets": ["registry"],
    }  # fmt: skip
    job, rules = job_of_the_site("production", **site), policy("production", image_pull_secrets="registry,other")
    for resource in (job, *volcano_pods(job)):
        assert rules.refuses(resource) == []
        (said,) = policy("production", claims="another", image_pull_secrets="registry").refuses(resource)
        assert "a volume must be" in said


@every_attack
def test_a_job_with_more_is_refused(attack: str) -> None:
    """In whichever of its pods it is."""
    change, words = ATTACKS[attack]
    for number in (0, 1):
        job = job_of_the_site("kind")
        change(job["spec"]["tasks"][number]["template"]["spec"])
        assert words in "; ".join(policy("kind").refuses(job))


@every_attack
def test_a_pod_with_more_is_refused(attack: str) -> None:
    """By whichever way it comes there: a Deployment, or a Job that was taken before."""
    change, words = ATTACKS[attack]
    pod, _ = volcano_pods(job_of_the_site("kind"))
    change(pod["spec"])
    assert words in "; ".join(policy("kind").refuses(pod))


@pytest.mark.parametrize(
    "change",
    [
        {"volumes": [{"mountPath": "/data", "volumeClaimName": "seaweedfs"}]},
        {"plugins": {"ssh": []}},
        {"plugins": {"svc": ["--disable-network-policy"]}},
        {"plugins": {"svc": ["--publish-not-ready-addresses", "--disable-network-policy=true"], "env": []}},
    ],
)
def test_what_a_job_may_not_have_as_a_whole(change: Resource) -> None:
    job = job_of_the_site("kind")
    job["spec"] |= change
    (said,) = policy("kind").refuses(job)
    assert "a Job may have no volumes of its own" in said


def test_a_pod_that_no_job_made_reads_no_jobs_hosts() -> None:
    pod, _ = volcano_pods(job_of_the_site("kind"))
    del pod["metadata"]["labels"]["volcano.sh/job-name"]
    assert len(policy("kind").refuses(pod)) == 2  # env and volume
    del pod["metadata"]["labels"]
    assert len(policy("kind").refuses(pod)) == 2


def test_only_what_changes_the_spec_is_looked_at_again() -> None:
    """After an upgrade, Jobs and pods of the older image end in good order; with both images listed, they restart."""
    job = job_of_the_site("kind")
    pod, _ = volcano_pods(job)
    newer = policy("kind", images="switchpoint-trainer:0.2.0")
    for before in (job, pod):
        after = deepcopy(before)
        after["metadata"]["finalizers"] = []
        assert newer.refuses(after, before) == []
        assert newer.refuses(before)
        assert policy("kind", images="switchpoint-trainer:0.2.0,switchpoint-trainer:0.1.0").refuses(before) == []
    after = deepcopy(pod)
    after["spec"]["containers"][0]["image"] = "busybox:1"
    assert policy("kind").refuses(after, pod)
    after = deepcopy(pod)
    after["spec"]["ephemeralContainers"] = [{"name": "debugger", "image": "busybox:1"}]
    assert policy("kind").refuses(after, pod, "ephemeralcontainers")


def test_the_message_names_what_was_given_and_what_is_allowed() -> None:
    job = job_of_the_site("kind")
    job["spec"]["tasks"][1]["template"]["spec"]["containers"][0]["image"] = "busybox:1"
    (said,) = policy("kind").refuses(job)
    assert "busybox:1" in said
    assert "allowed: switchpoint-trainer:0.1.0 (images in ConfigMap switchpoint-admission)" in said


@every_overlay
def test_the_lists_hold_what_the_site_names(overlay: str) -> None:
    site = Site.model_validate(
        yaml.safe_load(one(overlay, "ConfigMap/kubeflow/switchpoint")["data"]["SWITCHPOINT_SITE"])
    )
    lists = {name: value.split(",") for name, value in one(overlay, PARAMETERS)["data"].items()}
    assert lists["images"] == [site.trainer_image]
    assert lists["service_account"] == [site.service_account]
    assert lists["secrets"] == site.env_secrets
    assert lists["config_maps"] == site.env_config_maps
    assert lists["image_pull_secrets"] == (site.image_pull_secrets or [""])
    assert lists["claims"] == ["switchpoint-store"]


@every_overlay
def test_the_policy_is_bound_to_the_namespace_of_jobs_and_nothing_is_admitted_without_its_lists(overlay: str) -> None:
    spec = one(overlay, f"ValidatingAdmissionPolicyBinding/{NAME}")["spec"]
    assert spec["validationActions"] == ["Deny"]
    assert spec["matchResources"] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": JOBS}}}
    _, namespace, called = PARAMETERS.split("/")
    assert spec["paramRef"] == {"name": called, "namespace": namespace, "parameterNotFoundAction": "Deny"}
    rules = one(overlay, f"ValidatingAdmissionPolicy/{NAME}")["spec"]
    assert rules["failurePolicy"] == "Fail"
    matched = {
        (rule["apiGroups"][0], one) for rule in rules["matchConstraints"]["resourceRules"] for one in rule["resources"]
    }
    assert matched == {("batch.volcano.sh", "jobs"), ("", "pods"), ("", "pods/ephemeralcontainers")}
    for rule in rules["matchConstraints"]["resourceRules"]:
        assert rule["operations"] == ["CREATE", "UPDATE"]
