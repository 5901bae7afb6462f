"""`doctor --cluster` against a real API server: everything there, and each thing missing, with its mend."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner

from pipelines import doctor_cluster
from pipelines.cli import app
from pipelines.doctor import Check
from pipelines.doctor_cluster import cluster_checks
from tests.kfp_stub import TOKEN, running_stub
from tests.kube import Kube, client_of, kubeconfig_of

pytestmark = pytest.mark.cluster
PASSWORD = "of-mlflow-and-never-shown"
NAMESPACE = "doctor"


@pytest.fixture(scope="module")
def equipped(kube: Kube) -> Kube:
    """A cluster with all that is looked for."""
    kube.namespace(NAMESPACE)
    core, custom = client.CoreV1Api(kube.client), client.CustomObjectsApi(kube.client)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.patch_namespace(NAMESPACE, {"metadata": {"labels": labels}})
    queue = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": "doctor-queue"}}
    custom.create_cluster_custom_object("scheduling.volcano.sh", "v1beta1", "queues", queue | {"spec": {"weight": 1}})
    core.create_node({"metadata": {"name": "gpu-node"}})
    gpus = {"status": {"allocatable": {"nvidia.com/gpu": "8", "cpu": "96"}, "capacity": {"nvidia.com/gpu": "8"}}}
    core.patch_node_status("gpu-node", gpus)
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "never-shown"}
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "switchpoint-store"}, "stringData": keys})
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    core.create_namespaced_persistent_volume_claim(NAMESPACE, {"metadata": {"name": "shared"}, "spec": claim})
    return kube


@pytest.fixture
def mlflow() -> Iterator[str]:
    """Asks for a password; nothing else of it is looked at."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("Authorization") else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture
def environment(equipped: Kube, mlflow: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """All well; yields the store."""
    site = {
        "trainer_image": "registry/trainer:1", "namespace": NAMESPACE, "env_secrets": ["switchpoint-store"],
        "store_volume": {"claim": "shared", "path": "/store"},
    }  # fmt: skip
    with running_stub() as kfp:
        for name, value in {
            "SWITCHPOINT_SITE": yaml.safe_dump(site), "KUBECONFIG": str(equipped.kubeconfig),
            "SWITCHPOINT_KFP_URL": kfp.url, "SWITCHPOINT_KFP_TOKEN": TOKEN, "MLFLOW_TRACKING_URI": mlflow,
            "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield str(tmp_path)


def found(store: str) -> dict[str, Check]:
    return {check.name: check for check in cluster_checks(store)}


def changed_site(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    site = yaml.safe_load(os.environ["SWITCHPOINT_SITE"]) | changes
    monkeypatch.setenv("SWITCHPOINT_SITE", yaml.safe_dump(site))


def test_a_cluster_with_everything_passes_and_shows_no_secret(environment: str) -> None:
    result = CliRunner().invoke(app, ["doctor", "--cluster", "--store", environment, "--json"])
    checks = json.loads(result.stdout)["checks"]
    assert result.exit_code == 0, [check for check in checks if not check["ok"]]
    assert {check["name"] for check in checks} >= {
        "site", "API server", "namespace", "jobs.batch.volcano.sh", "queue", "quota", "GPUs", "storage", "permissions",
        "secret switchpoint-store", "KFP", "MLflow", "store",
    }  # fmt: skip
    for secret in (TOKEN, PASSWORD, "never-shown"):
        assert secret not in result.output


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"namespace": "not-there"}, "namespace", "not-there: missing"),
        ({"env_secrets": ["another"]}, "secret another", "missing"),
        ({"store_volume": {"claim": "none", "path": "/store"}}, "storage", "none: missing"),
    ],
)
def test_what_the_site_names_and_is_not_there(
    environment: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], name: str, words: str
) -> None:
    changed_site(monkeypatch, **changes)
    check = found(environment)[name]
    assert not check.ok
    assert words in check.found
    assert check.mend


def test_volcano_that_is_missing_or_old(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crds = {"trainjobs.trainer.kubeflow.org": ("v1", "it"), "jobs.batch.volcano.sh": ("v2", "Volcano 9")}
    monkeypatch.setattr(doctor_cluster, "CRDS", crds)
    checks = found(environment)
    assert checks["trainjobs.trainer.kubeflow.org"].found == "missing"
    assert checks["jobs.batch.volcano.sh"].found == "v1alpha1"
    assert not checks["jobs.batch.volcano.sh"].ok
    assert "install Volcano 9" in checks["jobs.batch.volcano.sh"].mend


def test_a_quota_that_is_used_up(equipped: Kube, environment: str) -> None:
    core = client.CoreV1Api(equipped.client)
    core.create_namespaced_resource_quota(
        NAMESPACE, {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "8"}}}
    )
    status = {"status": {"hard": {"requests.nvidia.com/gpu": "8"}, "used": {"requests.nvidia.com/gpu": "8"}}}
    core.patch_namespaced_resource_quota_status("gpus", NAMESPACE, status)
    try:
        assert found(environment)["quota"].found == "requests.nvidia.com/gpu 8 of 8"
    finally:
        core.delete_namespaced_resource_quota("gpus", NAMESPACE)


def test_nodes_without_gpus(equipped: Kube, environment: str) -> None:
    core = client.CoreV1Api(equipped.client)
    core.patch_node("gpu-node", {"spec": {"unschedulable": True}})
    try:
        result = CliRunner().invoke(app, ["doctor", "--cluster", "--store", environment, "--json"])
        (check,) = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "GPUs"]
        assert not check["ok"]
        assert check["found"] == "none"
        assert "device: none" in check["mend"]
        # A study for CPUs runs there.
        assert result.exit_code == 0
    finally:
        core.patch_node("gpu-node", {"spec": {"unschedulable": False}})


def test_a_service_account_that_may_too_little(
    equipped: Kube, environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked with its own token; what it may not look at is said, not raised."""
    token = (
        client.CoreV1Api(equipped.client)
        .create_namespaced_service_account_token("default", NAMESPACE, {"spec": {}})
        .status.token
    )
    client_of(equipped.url, token)
    (tmp_path / "kubeconfig").write_text(kubeconfig_of(equipped.url, token))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    checks = found(environment)
    assert "may not get jobs" in checks["permissions"].found
    assert "get pods/log" in checks["permissions"].found
    assert "403" in checks["GPUs"].found
    assert checks["secret switchpoint-store"].ok


@pytest.mark.parametrize(
    ("variable", "value", "name", "words"),
    [
        ("SWITCHPOINT_KFP_URL", "http://127.0.0.1:9", "KFP", "does not answer"),
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "MLflow", "127.0.0.1:9"),
        ("MLFLOW_TRACKING_USERNAME", "", "MLflow", "401"),
        ("MLFLOW_TRACKING_URI", "", "MLflow", "not set"),
        ("SWITCHPOINT_SITE", "{trainer_image: }", "site", "valid string"),
        ("SWITCHPOINT_SITE", "", "site", "not given"),
        ("KUBECONFIG", "/nowhere", "API server", "no cluster is known"),
    ],
)
def test_what_does_not_answer(
    environment: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    check = found(environment)[name]
    assert not check.ok
    assert words in check.found
    assert check.mend


def test_a_store_that_no_pod_could_reach(environment: str) -> None:
    assert not found(".switchpoint")["store"].ok
    Path(environment, "a-file").touch()
    assert not found(f"{environment}/a-file/store")["store"].ok
