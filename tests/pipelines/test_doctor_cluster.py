"""`doctor --cluster` against a real API server: everything there, and each thing missing, with its remedy."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner

from switchpoint.components.store import retries
from switchpoint.pipelines.commands import doctor_cluster
from switchpoint.pipelines.commands.cli import app
from switchpoint.pipelines.commands.doctor import Check
from switchpoint.pipelines.commands.doctor_cluster import cluster_checks
from tests.kfp_stub import TOKEN, running_stub
from tests.kube import Kube, client_of, kubeconfig_of

pytestmark = pytest.mark.cluster
PASSWORD = "of-mlflow-and-never-shown"
NAMESPACE, RUNS = "doctor", "doctor-runs"
BASE = Path(__file__).parents[2] / "k8s" / "base"
ROLES = {NAMESPACE: BASE / "jobs" / "launcher_role.yaml", RUNS: BASE / "runs" / "role.yaml"}
LISTS = {
    "images": "an-older-one,registry/trainer:1", "service_account": "trainer", "secrets": "switchpoint-store",
    "config_maps": "", "claims": "shared,alone,waiting,unbound,unmade", "image_pull_secrets": "",
}  # fmt: skip


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
    kube.namespace(RUNS)
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "never-shown"}
    for namespace in (NAMESPACE, RUNS):
        core.create_namespaced_secret(namespace, {"metadata": {"name": "switchpoint-store"}, "stringData": keys})
        claimed(kube, "shared", namespace=namespace)
        core.patch_namespaced_persistent_volume_claim_status("shared", namespace, {"status": {"phase": "Bound"}})
    login = {"MLFLOW_TRACKING_USERNAME": "switchpoint", "MLFLOW_TRACKING_PASSWORD": "never-shown"}
    core.create_namespaced_secret(RUNS, {"metadata": {"name": "switchpoint-mlflow"}, "stringData": login})
    core.create_namespaced_config_map(RUNS, {"metadata": {"name": "switchpoint"}, "data": {"SWITCHPOINT_SITE": "{}"}})
    core.create_namespaced_service_account(RUNS, {"metadata": {"name": "switchpoint-launcher"}})
    for namespace, file in ROLES.items():
        role, binding = yaml.safe_load_all(file.read_text())
        binding["subjects"][0]["namespace"] = RUNS
        access = client.RbacAuthorizationV1Api(kube.client)
        access.create_namespaced_role(namespace, role)
        access.create_namespaced_role_binding(namespace, binding)
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "switchpoint-admission"}, "data": LISTS})
    core.patch_namespace(RUNS, {"metadata": {"labels": {"switchpoint.io/runs": "true"}}})
    return kube


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is bound, also on a server that knows no policies."""
    monkeypatch.setattr(
        client.AdmissionregistrationV1Api, "read_validating_admission_policy_binding", lambda self, name: name
    )


def claimed(kube: Kube, name: str, mode: str = "ReadWriteMany", of: str = "", namespace: str = NAMESPACE) -> None:
    """A claim for a volume, of a storage class if one is given."""
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    spec |= {"storageClassName": of} if of else {}
    core = client.CoreV1Api(kube.client)
    core.create_namespaced_persistent_volume_claim(namespace, {"metadata": {"name": name}, "spec": spec})


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
        "service_account": "trainer",
        "store_volume": {"claim": "shared", "path": "/store"},
    }  # fmt: skip
    with running_stub() as kfp:
        for name, value in {
            "SWITCHPOINT_SITE": yaml.safe_dump(site), "KUBECONFIG": str(equipped.kubeconfig),
            "SWITCHPOINT_KFP_NAMESPACE": RUNS,
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
        "secret switchpoint-store", "KFP", "MLflow", "store", "storage of runs", "permissions of runs",
        "ConfigMap switchpoint", "secret switchpoint-store of runs", "secret switchpoint-mlflow of runs",
        "service account", "secrets of jobs", "reach of runs", "admission", "network of runs",
    }  # fmt: skip
    assert [check["name"] for check in checks if not check["ok"]] in ([], ["admission"])  # of servers before 1.30
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
    assert check.remedy


def test_volcano_that_is_missing_or_old(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crds = {"trainjobs.trainer.kubeflow.org": ("v1", "it"), "jobs.batch.volcano.sh": ("v2", "Volcano 9")}
    monkeypatch.setattr(doctor_cluster, "CRDS", crds)
    checks = found(environment)
    assert checks["trainjobs.trainer.kubeflow.org"].found == "missing"
    assert checks["jobs.batch.volcano.sh"].found == "v1alpha1"
    assert not checks["jobs.batch.volcano.sh"].ok
    assert "install Volcano 9" in checks["jobs.batch.volcano.sh"].remedy


def test_kfps_own_resources_are_not_needed_but_of_its_version(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pipelineversions.pipelines.kubeflow.org"
    assert found(environment)[name] == Check(name, True, "v2beta1", found(environment)[name].remedy, is_needed=False)
    monkeypatch.setattr(doctor_cluster, "OPTIONAL_CRDS", {name: ("v3", "KFP"), "none.kubeflow.org": ("v1", "KFP")})
    checks = found(environment)
    assert (checks[name].ok, checks[name].is_needed, checks[name].found) == (False, False, "v2beta1")
    assert checks["none.kubeflow.org"].found == "missing: only KFP has it"


def test_no_queue_or_none_that_is_open(equipped: Kube, environment: str) -> None:
    custom = client.CustomObjectsApi(equipped.client)
    kind = ("scheduling.volcano.sh", "v1beta1", "queues")
    queues = custom.list_cluster_custom_object(*kind)["items"]
    for queue in queues:
        closed = queue | {"status": {"state": "Closed"}}
        custom.patch_cluster_custom_object_status(*kind, queue["metadata"]["name"], closed)
    check = found(environment)["queue"]
    assert not check.ok
    assert "doctor-queue Closed" in check.found
    for queue in queues:
        custom.delete_cluster_custom_object(*kind, queue["metadata"]["name"])
    try:
        check = found(environment)["queue"]
        assert (check.ok, check.found) == (False, "none")
        assert "kubectl apply" in check.remedy
    finally:
        for queue in queues:
            named = {"metadata": {"name": queue["metadata"]["name"]}, "spec": queue["spec"]}
            custom.create_cluster_custom_object(*kind, {"apiVersion": "/".join(kind[:2]), "kind": "Queue"} | named)


def test_a_claim_that_one_node_mounts_or_that_has_no_volume(
    equipped: Kube, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = client.StorageV1Api(equipped.client)
    for name, mode in (("with-pod", "WaitForFirstConsumer"), ("at-once", "Immediate")):
        storage.create_storage_class(
            {"metadata": {"name": name}, "provisioner": "example.com/nfs", "volumeBindingMode": mode}
        )
    claimed(equipped, "alone", mode="ReadWriteOnce")
    claimed(equipped, "waiting", of="with-pod")
    claimed(equipped, "unbound", of="at-once")
    claimed(equipped, "unmade", of="not-there")
    for claim, ok, words in (
        ("alone", False, "alone: ReadWriteOnce, Pending"), ("waiting", True, "Pending until the first pod"),
        ("unbound", False, "unbound: ReadWriteMany, Pending"), ("unmade", False, "ReadWriteMany, Pending"),
    ):  # fmt: skip
        changed_site(monkeypatch, store_volume={"claim": claim, "path": "/store"})
        checks = found(environment)
        assert checks["storage"].ok is ok
        assert words in checks["storage"].found
        assert checks["storage of runs"].found == f"{RUNS}/{claim}: missing"
    changed_site(monkeypatch, store_volume=None)
    assert "at-once" in found(environment)["storage"].found


@pytest.mark.parametrize(
    ("kind", "named", "name", "words"),
    [
        ("config_map", "switchpoint", "ConfigMap switchpoint", "missing: jobs would run inside the launcher's own pod"),
        ("secret", "switchpoint-mlflow", "secret switchpoint-mlflow of runs", "missing"),
        ("service_account", "switchpoint-launcher", "service account", "missing"),
    ],
)
def test_what_is_not_there_where_runs_are(
    equipped: Kube, environment: str, kind: str, named: str, name: str, words: str
) -> None:
    core = client.CoreV1Api(equipped.client)
    before = getattr(core, f"read_namespaced_{kind}")(named, RUNS)
    getattr(core, f"delete_namespaced_{kind}")(named, RUNS)
    try:
        check = found(environment)[name]
        assert not check.ok
        assert words in check.found
        assert RUNS in check.found
        assert check.remedy
    finally:
        before.metadata = client.V1ObjectMeta(name=named)
        getattr(core, f"create_namespaced_{kind}")(RUNS, before)


def test_settings_without_a_site(equipped: Kube, environment: str) -> None:
    core = client.CoreV1Api(equipped.client)
    core.patch_namespaced_config_map("switchpoint", RUNS, {"data": {"SWITCHPOINT_SITE": None}})
    try:
        check = found(environment)["ConfigMap switchpoint"]
        assert not check.ok
        assert "lacks SWITCHPOINT_SITE" in check.found
    finally:
        core.patch_namespaced_config_map("switchpoint", RUNS, {"data": {"SWITCHPOINT_SITE": "{}"}})


@pytest.mark.parametrize(("namespace", "name"), [(NAMESPACE, ""), (RUNS, " of runs")])
def test_a_secret_that_lacks_a_key(equipped: Kube, environment: str, namespace: str, name: str) -> None:
    core = client.CoreV1Api(equipped.client)
    core.patch_namespaced_secret("switchpoint-store", namespace, {"data": {"AWS_ACCESS_KEY_ID": None}})
    try:
        check = found(environment)[f"secret switchpoint-store{name}"]
        assert not check.ok
        assert check.found == f"{namespace}: lacks AWS_ACCESS_KEY_ID"
        assert f"kubectl -n {namespace} create secret" in check.remedy
    finally:
        core.patch_namespaced_secret("switchpoint-store", namespace, {"stringData": {"AWS_ACCESS_KEY_ID": "k"}})


def test_a_launcher_that_nothing_is_bound_to(equipped: Kube, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks may anything; the account that runs have is what counts."""
    access = client.RbacAuthorizationV1Api(equipped.client)
    before = access.read_namespaced_role_binding("switchpoint-launcher", NAMESPACE)
    access.delete_namespaced_role_binding("switchpoint-launcher", NAMESPACE)
    try:
        checks = found(environment)
        assert checks["permissions"].ok
        assert not checks["permissions of runs"].ok
        assert f"may not get jobs in {NAMESPACE}, create jobs in {NAMESPACE}" in checks["permissions of runs"].found
        assert f"{RUNS}/switchpoint-launcher" in checks["permissions of runs"].remedy
    finally:
        before.metadata = client.V1ObjectMeta(name="switchpoint-launcher")
        access.create_namespaced_role_binding(NAMESPACE, before)
    assert found(environment)["permissions of runs"].ok
    monkeypatch.setenv("SWITCHPOINT_KFP_SERVICE_ACCOUNT", "default")
    assert not found(environment)["permissions of runs"].ok


def test_what_the_account_of_runs_needs_where_runs_are(equipped: Kube, environment: str) -> None:
    """Of KFP's own parts, and of a launcher that is stopped."""
    access = client.RbacAuthorizationV1Api(equipped.client)
    role = access.read_namespaced_role("switchpoint-launcher", RUNS)
    rules, less = role.rules, [rule for rule in role.rules if rule.resources not in (["workflows"], ["secrets"])]
    access.patch_namespaced_role("switchpoint-launcher", RUNS, {"rules": less})
    try:
        check = found(environment)["permissions of runs"]
        assert not check.ok
        lacking = f"get workflows in {RUNS}, get secrets/mlpipeline-minio-artifact in {RUNS}"
        assert check.found == f"may not {lacking}"
        assert found(environment)["permissions"].ok
    finally:
        access.patch_namespaced_role("switchpoint-launcher", RUNS, {"rules": rules})


def test_a_secret_that_any_run_could_read(equipped: Kube, environment: str) -> None:
    core = client.CoreV1Api(equipped.client)
    assert found(environment)["secrets of jobs"].ok
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "mlflow-database"}, "stringData": {"k": "v"}})
    try:
        check = found(environment)["secrets of jobs"]
        assert (check.ok, check.is_needed) == (False, False)
        assert check.found == f"{NAMESPACE}: any run can read mlflow-database"
        assert "move them" in check.remedy
    finally:
        core.delete_namespaced_secret("mlflow-database", NAMESPACE)


def test_a_launcher_that_may_make_jobs_where_the_passwords_are(equipped: Kube, environment: str) -> None:
    """As an earlier version of the manifests let it."""
    core, access = client.CoreV1Api(equipped.client), client.RbacAuthorizationV1Api(equipped.client)
    assert found(environment)["reach of runs"].ok
    if "switchpoint" not in [one.metadata.name for one in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "switchpoint"}})
    role, binding = yaml.safe_load_all(ROLES[NAMESPACE].read_text())
    for each in (role, binding):
        each["metadata"]["name"] = "old-launcher"
    binding["roleRef"]["name"], binding["subjects"][0]["namespace"] = "old-launcher", RUNS
    access.create_namespaced_role("switchpoint", role)
    access.create_namespaced_role_binding("switchpoint", binding)
    try:
        result = CliRunner().invoke(app, ["doctor", "--cluster", "--store", environment, "--json"])
        (check,) = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "reach of runs"]
        assert not check["ok"]
        assert check["found"] == "may make Jobs in switchpoint, and so read every Secret there"
        assert "kubectl -n switchpoint delete rolebinding/switchpoint-launcher" in check["remedy"]
        assert result.exit_code == 0  # a warning
    finally:
        access.delete_namespaced_role("old-launcher", "switchpoint")
        access.delete_namespaced_role_binding("old-launcher", "switchpoint")


@pytest.mark.usefixtures("bound")
def test_jobs_that_the_admission_policy_would_refuse(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(environment)["admission"] == Check(
        "admission", True, "admits the site's jobs", found(environment)["admission"].remedy
    )
    changed_site(monkeypatch, trainer_image="registry/trainer:2", image_pull_secrets=["registry"])
    check = found(environment)["admission"]
    assert (check.ok, check.is_needed) == (False, True)
    assert "images of switchpoint-admission lacks registry/trainer:2" in check.found
    assert "image_pull_secrets of switchpoint-admission lacks registry" in check.found
    assert "admission.env" in check.remedy


def test_no_admission_policy(equipped: Kube, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any, name: str) -> None:
        raise client.ApiException(status=404)

    monkeypatch.setattr(client.AdmissionregistrationV1Api, "read_validating_admission_policy_binding", missing)
    core = client.CoreV1Api(equipped.client)
    check = found(environment)["admission"]
    assert (check.ok, check.is_needed) == (False, False)
    assert check.found.startswith("ValidatingAdmissionPolicy switchpoint-jobs: missing")
    core.delete_namespaced_config_map("switchpoint-admission", NAMESPACE)
    try:
        check = found(environment)["admission"]
        assert check.found.startswith(f"ConfigMap {NAMESPACE}/switchpoint-admission: missing")
    finally:
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "switchpoint-admission"}, "data": LISTS})


def test_a_profile_that_network_policies_do_not_know(
    equipped: Kube, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = client.CoreV1Api(equipped.client)
    assert found(environment)["network of runs"].ok
    core.patch_namespace(RUNS, {"metadata": {"labels": {"switchpoint.io/runs": None}}})
    try:
        check = found(environment)["network of runs"]
        assert (check.ok, check.is_needed) == (False, False)
        assert f"kubectl label namespace {RUNS} switchpoint.io/runs=true" in check.remedy
        monkeypatch.delenv("SWITCHPOINT_KFP_NAMESPACE")
        assert found(environment)["network of runs"].ok
    finally:
        core.patch_namespace(RUNS, {"metadata": {"labels": {"switchpoint.io/runs": "true"}}})


def test_a_token_that_kubeflow_pipelines_does_not_know(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its health is told to anybody."""
    with running_stub() as kfp:
        kfp.tells_health = True
        monkeypatch.setenv("SWITCHPOINT_KFP_URL", kfp.url)
        assert found(environment)["KFP"].ok
        monkeypatch.setenv("SWITCHPOINT_KFP_TOKEN", "another-token")
        check = found(environment)["KFP"]
        assert not check.ok
        assert "401" in check.found
        assert "SWITCHPOINT_KFP_TOKEN" in check.remedy


def test_an_object_store_that_does_not_answer(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "never-shown",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    # Its patience is not what is tested here.
    monkeypatch.setattr(retries, "ATTEMPTS", 1)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"retries": {"max_attempts": 1}}})
    check = found("s3://not-reached/store")["store"]
    assert not check.ok
    assert "never-shown" not in check.found
    assert "credentials" in check.remedy


@pytest.mark.parametrize(
    ("resource", "used", "hard", "is_left"),
    [
        ("requests.nvidia.com/gpu", "8", "8", False),
        ("requests.nvidia.com/gpu", "9", "8", False),
        ("requests.nvidia.com/gpu", "7", "8", True),
        ("requests.nvidia.com/gpu", "0", "0", True),
        ("requests.memory", "3Gi", "2Gi", False),
        ("requests.cpu", "900m", "1", True),
    ],
)
def test_a_quota_that_is_used_up(
    equipped: Kube, environment: str, resource: str, used: str, hard: str, is_left: bool
) -> None:
    core = client.CoreV1Api(equipped.client)
    core.create_namespaced_resource_quota(NAMESPACE, {"metadata": {"name": "gpus"}, "spec": {"hard": {resource: hard}}})
    status = {"status": {"hard": {resource: hard}, "used": {resource: used}}}
    core.patch_namespaced_resource_quota_status("gpus", NAMESPACE, status)
    try:
        check = found(environment)["quota"]
        assert check.ok is is_left
        assert check.found == ("1 quotas, none used up" if is_left else f"{resource} {used} of {hard}")
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
        assert "device: none" in check["remedy"]
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
    for name in (
        "secret switchpoint-store", "secret switchpoint-store of runs", "ConfigMap switchpoint", "service account",
        "permissions of runs", "secrets of jobs", "reach of runs", "admission", "network of runs",
    ):  # fmt: skip
        assert checks[name].ok
        assert "not visible from here" in checks[name].found


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
    assert check.remedy


def test_a_store_that_no_pod_could_reach(environment: str) -> None:
    assert not found(".switchpoint")["store"].ok
    Path(environment, "a-file").touch()
    assert not found(f"{environment}/a-file/store")["store"].ok
