"""RBAC on a real API server, with service accounts' own tokens: the launcher may do what it does, and nothing else."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client

from tests.components.launch.controller import Controller
from tests.components.launch.test_cluster_job import Launcher
from tests.k8s.built import FOLDER, kubectl, one, resources
from tests.kube import Kube, kubeconfig_of

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]
JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/{}/jobs"
NUMBERS = count(1)


@dataclass(frozen=True)
class Account:
    """A service account by its token."""

    kube: Kube
    namespace: str
    name: str
    token: str

    def asks(self, method: str, path: str, body: Any = None) -> int:
        """The status of the answer."""
        answer = requests.request(
            method, self.kube.url + path, headers={"Authorization": f"Bearer {self.token}"}, json=body, verify=False,
            timeout=30,
        )  # fmt: skip
        return answer.status_code

    def may(self, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
        """By the server's own review."""
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        answer = requests.post(
            f"{self.kube.url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=review, verify=False,
            headers={"Authorization": f"Bearer {self.token}"}, timeout=30,
        )  # fmt: skip
        return bool(answer.json()["status"]["allowed"])

    def asked_for(self) -> set[tuple[str, str, str]]:
        """Verb, API group and resource of all its requests; each was allowed."""
        found = set()
        for line in self.kube.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] != f"system:serviceaccount:{self.namespace}:{self.name}":
                continue
            assert event["annotations"]["authorization.k8s.io/decision"] == "allow", event["requestURI"]
            what = event["objectRef"]
            assert what["namespace"] == "switchpoint"
            resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
            found.add((event["verb"], what.get("apiGroup", ""), resource))
        return found


@pytest.fixture(scope="module")
def cluster(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """With namespaces, accounts and roles as the overlay makes them."""
    core = client.CoreV1Api(kube.client)
    if "kubeflow" not in [one.metadata.name for one in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "kubeflow"}})
    wanted = ("Namespace", "ServiceAccount", "Role", "RoleBinding")
    manifests = tmp_path_factory.mktemp("manifests") / "accounts.yaml"
    manifests.write_text(yaml.safe_dump_all([one for one in resources("kind") if one["kind"] in wanted]))
    kubectl("--kubeconfig", kube.kubeconfig, "apply", "-f", manifests)
    if "default" not in [one.metadata.name for one in core.list_namespaced_service_account("switchpoint").items]:
        # A controller's work elsewhere; pods that a test makes need it.
        core.create_namespaced_service_account("switchpoint", {"metadata": {"name": "default"}})
    return kube


def account(cluster: Kube, namespace: str, name: str) -> Account:
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = client.CoreV1Api(cluster.client).create_namespaced_service_account_token(name, namespace, asked)
    return Account(cluster, namespace, name, made.status.token)


@pytest.fixture
def launcher(cluster: Kube) -> Account:
    return account(cluster, "kubeflow", "switchpoint-launcher")


def test_the_launcher_may_do_all_that_it_does_and_its_role_holds_nothing_else(
    cluster: Kube, launcher: Account, tmp_path: Path
) -> None:
    """A job that ends well, one that fails and is made anew, one that is aborted: with the account's own token."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubeconfig_of(cluster.url, launcher.token))
    as_launcher = replace(cluster, kubeconfig=kubeconfig)
    number = next(NUMBERS)
    controller = Controller(cluster.client, "switchpoint", f"gb-{number:016x}")

    failing = Launcher(as_launcher, controller, tmp_path / "first")
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Pending")
    controller.make_pods()
    controller.phase("Running")
    failing.wait_for(": Running")
    controller.phase("Failed", message="pods failed")
    assert "its Job ended as Failed" in failing.end()["reason"]

    again = Launcher(as_launcher, controller, tmp_path / "second")
    controller.wait_for_job(other_than=uid)
    controller.phase("Completed")
    assert again.end()["succeeded"]

    aborted = Controller(cluster.client, "switchpoint", f"qb-{number:016x}")
    terminated = Launcher(as_launcher, aborted, tmp_path / "third")
    aborted.phase("Running")
    terminated.wait_for(": Running")
    terminated.process.send_signal(signal.SIGTERM)
    assert terminated.process.wait(timeout=60) == 128 + signal.SIGTERM
    job = aborted.job()
    assert job is not None
    assert job["status"]["state"]["phase"] == "Aborted"

    rules = one("kind", "Role/switchpoint/switchpoint-launcher")["rules"]
    allowed = {
        (verb, group, resource)
        for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert launcher.asked_for() == allowed
    assert launcher.token not in "".join(one.said() for one in (failing, again, terminated))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/switchpoint/secrets"),
        ("GET", "/api/v1/namespaces/switchpoint/secrets/mlflow"),
        ("GET", "/api/v1/namespaces/switchpoint/secrets/switchpoint-store"),
        ("GET", "/api/v1/namespaces/kubeflow/secrets"),
        ("GET", "/api/v1/namespaces/kubeflow/secrets/switchpoint-mlflow"),
        ("GET", "/api/v1/namespaces/kube-system/secrets"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/switchpoint/configmaps"),
        ("POST", "/api/v1/namespaces/switchpoint/pods/mlflow-0/exec?command=sh"),
        ("GET", "/api/v1/namespaces/switchpoint/pods/mlflow-0/exec?command=sh"),
        ("POST", "/api/v1/namespaces/kubeflow/pods/any/exec?command=sh"),
        ("POST", "/api/v1/namespaces/switchpoint/pods/any/portforward"),
        ("POST", "/api/v1/namespaces/switchpoint/pods"),
        ("DELETE", "/api/v1/namespaces/switchpoint/pods/any"),
        ("POST", "/api/v1/namespaces/kubeflow/pods"),
        ("GET", JOBS.format("switchpoint")),
        ("PUT", JOBS.format("switchpoint") + "/any"),
        ("DELETE", JOBS.format("switchpoint")),
        ("GET", JOBS.format("default") + "/any"),
        ("POST", JOBS.format("kubeflow")),
        ("GET", "/apis/batch.volcano.sh/v1alpha1/jobs"),
        ("GET", "/api/v1/namespaces/default/pods"),
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/nodes"),
        ("GET", "/apis/scheduling.volcano.sh/v1beta1/queues"),
        ("POST", "/api/v1/namespaces/switchpoint/serviceaccounts/mlflow/token"),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/switchpoint/rolebindings"),
        ("GET", "/api/v1/namespaces"),
    ],
)  # fmt: skip
def test_the_launcher_is_refused(launcher: Account, method: str, path: str) -> None:
    assert launcher.asks(method, path, None if method == "GET" else {}) == 403


def test_what_kubeflow_pipelines_itself_needs_in_the_pods_of_a_run(launcher: Account) -> None:
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/configmaps/kfp-launcher") == 404
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/secrets/mlpipeline-minio-artifact") == 404
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/pods/any") == 404
    for verb, allowed in (("create", True), ("patch", True), ("get", False), ("delete", False)):
        assert launcher.may(verb, "argoproj.io", "workflowtaskresults", "kubeflow") is allowed
    assert not launcher.may("create", "argoproj.io", "workflows", "kubeflow")


@pytest.mark.parametrize("name", ["switchpoint-trainer", "mlflow", "postgresql", "seaweedfs"])
def test_other_accounts_may_nothing(cluster: Kube, name: str) -> None:
    nobody = account(cluster, "switchpoint", name)
    for path in ("/api/v1/namespaces/switchpoint/pods", JOBS.format("switchpoint") + "/any", "/api/v1/secrets"):
        assert nobody.asks("GET", path) == 403
    for namespace in ("switchpoint", "kubeflow"):
        for resource in ("pods", "secrets", "configmaps", "events", "services"):
            assert not nobody.may("get", "", resource, namespace)


def test_secrets_are_made_once_and_never_shown(cluster: Kube) -> None:
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [FOLDER / "overlays" / "kind" / "secrets.sh"], capture_output=True, text=True, check=False,
            env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        )  # fmt: skip

    def held() -> dict[str, dict[str, str]]:
        found = [
            secret
            for namespace in ("switchpoint", "kubeflow")
            for secret in client.CoreV1Api(cluster.client).list_namespaced_secret(namespace).items
        ]
        return {f"{secret.metadata.namespace}/{secret.metadata.name}": secret.data for secret in found}

    first = run()
    assert first.returncode == 0, first.stderr
    made = held()
    assert len(made) == len(first.stdout.splitlines()) == 6
    second = run()
    assert second.returncode == 0
    assert second.stdout.startswith("all are there already")
    assert held() == made
    client.CoreV1Api(cluster.client).delete_namespaced_secret("mlflow", "switchpoint")
    third = run()
    assert third.returncode == 1
    assert "not switchpoint/mlflow: they belong together" in third.stderr
    shown = "".join(one.stdout + one.stderr for one in (first, second, third))
    assert not any(value in shown for data in made.values() for value in data.values())
