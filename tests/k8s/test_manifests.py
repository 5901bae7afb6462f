"""What is built: the same as before, valid for the clusters that are meant, restricted, and without a secret."""

import difflib
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from switchpoint.components.launch.component import IMAGE
from switchpoint.components.launch.site import Site
from switchpoint.components.store.opening import STORE_VARIABLE
from switchpoint.pipelines.site import CONFIG_MAP, MLFLOW_SETTINGS, SECRETS, SETTINGS
from tests.custom_resources import problems
from tests.k8s.built import FOLDER, OVERLAYS, PROFILE, kubectl, name, of_kind, one, pod_specs, resources, text
from tests.restricted import violations

GOLDEN = Path(__file__).parent / "golden"
DEFINITIONS = {"Queue": "scheduling.volcano.sh_queues"}
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.mark.parametrize("overlay", [*OVERLAYS, PROFILE])
def test_golden(overlay: str) -> None:
    path = GOLDEN / f"{overlay}.yaml"
    if os.environ.get("SWITCHPOINT_GOLDEN") == "write":
        path.write_text(text(overlay))
    diff = difflib.unified_diff(path.read_text().splitlines(), text(overlay).splitlines(), "golden", "built", n=1)
    assert not list(diff), "meant so? SWITCHPOINT_GOLDEN=write pytest tests/k8s/test_manifests.py"


@pytest.mark.parametrize("overlay", [*OVERLAYS, PROFILE])
@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_valid_for_kubernetes(overlay: str, version: str) -> None:
    for resource in resources(overlay):
        if resource["kind"] not in DEFINITIONS:
            assert kubernetes_validate.validate(resource, version, strict=True).startswith(version)


@every_overlay
def test_valid_for_volcano(overlay: str) -> None:
    queues = of_kind(overlay, *DEFINITIONS)
    assert [queue["metadata"]["name"] for queue in queues] == ["evaluation", "pretraining"]
    for queue in queues:
        assert problems(queue, DEFINITIONS[queue["kind"]]) == []
        assert "namespace" not in queue["metadata"]
    assert problems(queues[0] | {"spec": {"wieght": 1}}, DEFINITIONS["Queue"])


@every_overlay
def test_pods_meet_the_restricted_profile(overlay: str) -> None:
    for namespace in ("switchpoint", "switchpoint-jobs"):
        labels = one(overlay, f"Namespace/{namespace}")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = pod_specs(overlay)
    assert pods
    for spec in pods.values():
        assert violations(spec) == []
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
            for amounts in container["resources"].values():
                assert amounts.keys() == {"cpu", "memory"}
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")


@every_overlay
def test_no_secret_is_in_them(overlay: str) -> None:
    """None is made here: they are the operator's, by name. No plain value is one either."""
    assert of_kind(overlay, "Secret") == []
    for kind, spec in pod_specs(overlay).items():
        for container in spec["containers"]:
            for variable in container.get("env", []):
                secret = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "ACCESS_KEY", "TOKEN"))
                assert not (secret and "value" in variable), (kind, variable["name"])
    for config_map in of_kind(overlay, "ConfigMap"):
        for key in config_map["data"]:
            assert not any(word in key for word in ("PASSWORD", "SECRET", "ACCESS_KEY", "TOKEN")), key
    committed = [path for path in FOLDER.rglob("*") if path.is_file()]
    for path in committed:
        assert "kind: Secret\n" not in path.read_text(), path
        assert "secretGenerator" not in path.read_text(), path


@every_overlay
def test_secrets_are_named_key_by_key_and_the_guide_makes_each(overlay: str) -> None:
    """A pod without one says which is missing; none is optional."""
    guide = (FOLDER / "README.md").read_text()
    wanted: dict[str, set[str]] = {}
    for spec in pod_specs(overlay).values():
        for container in spec["containers"]:
            assert "envFrom" not in container
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert "optional" not in reference
                    wanted.setdefault(reference["name"], set()).add(reference["key"])
        for volume in spec["volumes"]:
            if "secret" in volume:
                assert "optional" not in volume["secret"]
                wanted.setdefault(volume["secret"]["secretName"], set())
    for secret, keys in wanted.items():
        for word in (secret, *keys):
            assert f"`{word}`" in guide, word


@every_overlay
def test_what_pods_name_is_there(overlay: str) -> None:
    built = {name(resource) for resource in resources(overlay)}
    for spec in pod_specs(overlay).values():
        assert f"ServiceAccount/switchpoint/{spec['serviceAccountName']}" in built
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert f"ConfigMap/switchpoint/{volume['configMap']['name']}" in built
        for container in spec["containers"]:
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("configMapKeyRef")
                if reference:
                    data = one(overlay, f"ConfigMap/switchpoint/{reference['name']}")["data"]
                    assert reference["key"] in data


@every_overlay
def test_the_site_that_tasks_and_training_pods_read(overlay: str) -> None:
    settings = one(overlay, f"ConfigMap/kubeflow/{CONFIG_MAP}")["data"]
    assert settings.keys() == {*SETTINGS, *MLFLOW_SETTINGS, STORE_VARIABLE}
    site = Site.model_validate(yaml.safe_load(settings["SWITCHPOINT_SITE"]))
    assert site.namespace == "switchpoint-jobs"
    one(overlay, f"ServiceAccount/switchpoint-jobs/{site.service_account}")
    for config_map in site.env_config_maps:
        store = one(overlay, f"ConfigMap/switchpoint-jobs/{config_map}")["data"]
        assert store == one(overlay, f"ConfigMap/switchpoint/{config_map}")["data"]  # MLflow's
        assert store.items() <= settings.items()
        assert store.keys() == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
    assert set(site.env_secrets) <= SECRETS.keys()
    address = settings["MLFLOW_TRACKING_URI"].removeprefix("http://")
    allowed = _environment(overlay)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert address in allowed


def _environment(overlay: str) -> dict[str, str]:
    (container,) = pod_specs(overlay)["Deployment/switchpoint/mlflow"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@every_overlay
def test_service_accounts(overlay: str) -> None:
    """Only the launcher's is bound to anything, in the namespace of runs and in that of jobs: not where Secrets are."""
    for account in of_kind(overlay, "ServiceAccount"):
        if account["metadata"]["name"] != "switchpoint-launcher":
            assert account["automountServiceAccountToken"] is False
    assert of_kind(overlay, "ClusterRole", "ClusterRoleBinding") == []
    for binding in of_kind(overlay, "RoleBinding"):
        assert binding["metadata"]["namespace"] in ("kubeflow", "switchpoint-jobs")
        (subject,) = binding["subjects"]
        assert subject == {"kind": "ServiceAccount", "name": "switchpoint-launcher", "namespace": "kubeflow"}
        rules = one(overlay, name(binding).replace("RoleBinding", "Role"))["rules"]
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert rule["resources"] != ["secrets"] or rule["resourceNames"]


@every_overlay
def test_the_namespace_of_jobs_holds_only_what_training_pods_need(overlay: str) -> None:
    held = {name(one).replace("/switchpoint-jobs", "") for one in resources(overlay)
            if one["metadata"].get("namespace") == "switchpoint-jobs"}  # fmt: skip
    assert held == {
        "ServiceAccount/switchpoint-trainer", "ConfigMap/switchpoint-store", "ConfigMap/switchpoint-admission",
        "Role/switchpoint-launcher", "RoleBinding/switchpoint-launcher", "ResourceQuota/switchpoint",
        "LimitRange/switchpoint", *(f"NetworkPolicy/{one}" for one in (
            "default-deny", "names", "training-to-training", "training-to-store",
        )),
    }  # fmt: skip


def test_one_more_namespace_of_runs() -> None:
    """What `kubeflow` has, under another name that is written once; and its launcher may make jobs."""
    profile = {name(one): one for one in resources(PROFILE)}
    file = yaml.safe_load((FOLDER / "overlays" / PROFILE / "kustomization.yaml").read_text())
    assert (FOLDER / "overlays" / PROFILE / "kustomization.yaml").read_text().split("resources:")[1].count(
        "team-a"
    ) == 1
    assert file["resources"] == ["../production/runs"]
    account = {"kind": "ServiceAccount", "name": "switchpoint-launcher", "namespace": "team-a"}
    binding = profile.pop("RoleBinding/switchpoint-jobs/switchpoint-launcher-of-team-a")
    assert binding["subjects"] == [account]
    of_jobs = one("production", "RoleBinding/switchpoint-jobs/switchpoint-launcher")
    assert binding["roleRef"] == of_jobs["roleRef"]
    assert profile["RoleBinding/team-a/switchpoint-launcher"]["subjects"] == [account]
    runs = {name(each): each for each in resources("production") if each["metadata"].get("namespace") == "kubeflow"}
    assert {called.replace("/kubeflow/", "/team-a/") for called in runs} == profile.keys()
    for called, resource in runs.items():
        there = profile[called.replace("/kubeflow/", "/team-a/")]
        assert there.get("data") == resource.get("data")
        assert there.get("rules") == resource.get("rules")


@every_overlay
def test_disruption_budgets_and_services_select_pods_that_are_there(overlay: str) -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(overlay, "Deployment", "StatefulSet")]
    selectors: list[dict[str, Any]] = [one["spec"]["selector"] for one in of_kind(overlay, "Service")]
    budgets = [one["spec"]["selector"]["matchLabels"] for one in of_kind(overlay, "PodDisruptionBudget")]
    assert sorted(map(str, budgets)) == sorted(map(str, labels))
    for selector in selectors + budgets:
        assert any(selector.items() <= pod.items() for pod in labels)


def test_the_queue_and_class_of_a_recipe(tmp_path: Path) -> None:
    """Those that the guide to training pods names."""
    guide = (FOLDER.parent / "docs" / "kubernetes.md").read_text()
    for overlay in OVERLAYS:
        names = {one["metadata"]["name"] for one in of_kind(overlay, "Queue", "PriorityClass")}
        assert names == {"pretraining", "evaluation", "switchpoint-training", "switchpoint-evaluation"}
    assert "queue: pretraining" in guide
    assert "priority_class: switchpoint-training" in guide


def test_a_shared_volume_in_place_of_an_object_store(tmp_path: Path) -> None:
    copy = tmp_path / "k8s" / "overlays" / "site"
    copy.mkdir(parents=True)
    relative = os.path.relpath(FOLDER, copy)
    (copy / "kustomization.yaml").write_text(
        f"resources: [{relative}/overlays/production]\ncomponents: [{relative}/components/shared-volume]\n"
    )
    built = list(yaml.safe_load_all(kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", copy)))
    claims = {name(one): one["spec"] for one in built if one["kind"] == "PersistentVolumeClaim"}
    volumes = {one["metadata"]["name"]: one["spec"] for one in built if one["kind"] == "PersistentVolume"}
    # A claim for jobs, one for the tasks of runs: each with a volume, both of one share.
    assert claims.keys() == {
        f"PersistentVolumeClaim/{one}/switchpoint-store" for one in ("switchpoint-jobs", "kubeflow")
    }
    for claim, spec in claims.items():
        assert spec["accessModes"] == ["ReadWriteMany"]
        assert spec["storageClassName"] == volumes[spec["volumeName"]].get("storageClassName", "") == ""
        _, namespace, called = claim.split("/")
        assert volumes[spec["volumeName"]]["claimRef"] == {"namespace": namespace, "name": called}
    first, second = (volume["nfs"] for volume in volumes.values())
    assert first == second
    for resource in built:
        if resource["kind"].startswith("PersistentVolume"):
            assert kubernetes_validate.validate(resource, "1.36", strict=True)
    assert of_kind("production", "PersistentVolume", "PersistentVolumeClaim") == []


def test_the_image_of_mlflows_server_has_what_it_needs() -> None:
    """It is that of the pipeline: with PostgreSQL's and the object store's clients, and what logins need."""
    (container,) = pod_specs("kind")["Deployment/switchpoint/mlflow"]["containers"]
    assert container["image"] == IMAGE
    recipe = (FOLDER.parent / "images" / "Containerfile").read_text().split(" AS pipeline\n")[0]
    (extras,) = [line.split()[-1] for line in recipe.splitlines() if "install.sh packages" in line]
    assert "mlflow-server" in extras.split(",")
    assert f"[{extras}]" in (FOLDER.parent / "images" / "wheels.sh").read_text()
