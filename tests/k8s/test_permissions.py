"""RBAC on a real API server, with service accounts' own tokens: the launcher may do what it does, and nothing else."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client

from switchpoint.components.launch.site import Site
from tests.components.launch.controller import Controller, wait_until
from tests.components.launch.launcher_process import Launcher
from tests.k8s.admission import job_of_the_site, volcano_pods
from tests.k8s.built import FOLDER, kubectl, one, resources, served
from tests.k8s.test_admission import ATTACKS
from tests.kube import ADMIN, Kube, kubeconfig_of

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]
JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/{}/jobs"
NAMESPACES = ("switchpoint", "switchpoint-jobs", "kubeflow", "kube-system")
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

    def asked_for(self, since: int) -> set[tuple[str, str, str]]:
        """Verb, API group and resource of its requests after so many lines of the audit log; each was allowed."""
        found = set()
        for line in audited(self.kube)[since:]:
            event = json.loads(line)
            if event["user"]["username"] != f"system:serviceaccount:{self.namespace}:{self.name}":
                continue
            assert event["annotations"]["authorization.k8s.io/decision"] == "allow", event["requestURI"]
            what = event["objectRef"]
            assert what["namespace"] == "switchpoint-jobs"
            resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
            found.add((event["verb"], what.get("apiGroup", ""), resource))
        return found


def audited(kube: Kube) -> list[str]:
    """The lines of the audit log, which is not there before the first."""
    return kube.audit_log.read_text().splitlines() if kube.audit_log.exists() else []


@pytest.fixture(scope="module")
def cluster(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """With namespaces, accounts and roles as the overlay makes them."""
    core = client.CoreV1Api(kube.client)
    if "kubeflow" not in [one.metadata.name for one in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "kubeflow"}})
    wanted = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap")
    manifests = tmp_path_factory.mktemp("manifests") / "accounts.yaml"
    manifests.write_text(yaml.safe_dump_all([one for one in resources("kind") if one["kind"] in wanted]))
    kubectl("--kubeconfig", kube.kubeconfig, "apply", "-f", manifests)
    if "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding" in served(kube.kubeconfig):
        # Another test's: the launcher of these tests has an image of its own.
        arguments = ("delete", "validatingadmissionpolicybinding", "switchpoint-jobs", "--ignore-not-found")
        kubectl("--kubeconfig", kube.kubeconfig, *arguments)
    for namespace in ("switchpoint", "switchpoint-jobs"):
        if "default" not in [one.metadata.name for one in core.list_namespaced_service_account(namespace).items]:
            # A controller's work elsewhere; pods that a test makes need it.
            core.create_namespaced_service_account(namespace, {"metadata": {"name": "default"}})
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
    as_launcher, since = replace(cluster, kubeconfig=kubeconfig), len(audited(cluster))
    number = next(NUMBERS)
    controller = Controller(cluster.client, "switchpoint-jobs", f"gb-{number:016x}")

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

    aborted = Controller(cluster.client, "switchpoint-jobs", f"qb-{number:016x}")
    terminated = Launcher(as_launcher, aborted, tmp_path / "third")
    aborted.phase("Running")
    terminated.wait_for(": Running")
    terminated.process.send_signal(signal.SIGTERM)
    assert terminated.process.wait(timeout=60) == 128 + signal.SIGTERM
    job = aborted.job()
    assert job is not None
    assert job["status"]["state"]["phase"] == "Aborted"

    rules = one("kind", "Role/switchpoint-jobs/switchpoint-launcher")["rules"]
    allowed = {
        (verb, group, resource)
        for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    assert launcher.asked_for(since) == allowed
    assert launcher.token not in "".join(one.said() for one in (failing, again, terminated))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((verb, path) for namespace in NAMESPACES for verb, path in (
            ("GET", f"/api/v1/namespaces/{namespace}/secrets"),
            ("GET", f"/api/v1/namespaces/{namespace}/secrets/switchpoint-store"),
            ("GET", f"/api/v1/namespaces/{namespace}/secrets/mlflow"),
            ("GET", f"/api/v1/namespaces/{namespace}/secrets/switchpoint-mlflow"),
            ("GET", f"/api/v1/namespaces/{namespace}/configmaps"),
            ("GET", f"/api/v1/namespaces/{namespace}/pods/any/exec?command=sh"),
            ("POST", f"/api/v1/namespaces/{namespace}/pods/any/exec?command=sh"),
            ("POST", f"/api/v1/namespaces/{namespace}/pods/any/portforward"),
            ("POST", f"/api/v1/namespaces/{namespace}/pods"),
            ("DELETE", f"/api/v1/namespaces/{namespace}/pods/any"),
            ("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"),
            ("PUT", JOBS.format(namespace) + "/any"),
            ("GET", JOBS.format(namespace)),
            ("DELETE", JOBS.format(namespace)),
        )),
        *((verb, path) for namespace in ("switchpoint", "default") for verb, path in (
            ("GET", f"/api/v1/namespaces/{namespace}/pods"),
            ("GET", f"/api/v1/namespaces/{namespace}/pods/any"),
            ("GET", f"/api/v1/namespaces/{namespace}/pods/any/log"),
            ("GET", f"/api/v1/namespaces/{namespace}/events"),
            ("GET", JOBS.format(namespace) + "/any"),
            ("DELETE", JOBS.format(namespace) + "/any"),
        )),
        ("POST", JOBS.format("kubeflow")),
        ("PUT", "/api/v1/namespaces/switchpoint-jobs/configmaps/switchpoint-admission"),
        ("GET", "/apis/batch.volcano.sh/v1alpha1/jobs"),
        ("GET", "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/nodes"),
        ("GET", "/apis/scheduling.volcano.sh/v1beta1/queues"),
        ("POST", "/api/v1/namespaces/switchpoint/serviceaccounts/mlflow/token"),
        ("POST", "/api/v1/namespaces/switchpoint-jobs/serviceaccounts/switchpoint-trainer/token"),
        ("GET", "/api/v1/namespaces"),
    ],
)  # fmt: skip
def test_the_launcher_is_refused(launcher: Account, method: str, path: str) -> None:
    assert launcher.asks(method, path, None if method == "GET" else {}) == 403


def stealing(namespace: str, secret: str) -> dict[str, Any]:
    """A Job as a launcher makes it, whose pod prints a Secret of its namespace."""
    job = job_of_the_site("kind", 1)
    job["metadata"] |= {"namespace": namespace, "name": f"steal-{next(NUMBERS)}"}
    (container,) = job["spec"]["tasks"][0]["template"]["spec"]["containers"]
    return job | {"spec": job["spec"] | {"tasks": [job["spec"]["tasks"][0] | {"template": {"spec": {
        "restartPolicy": "Never",
        "containers": [container | {"command": ["env"], "envFrom": [{"secretRef": {"name": secret}}]}],
    }}}]}}  # fmt: skip


def test_no_job_can_be_made_where_the_passwords_are(cluster: Kube, launcher: Account) -> None:
    """The launcher's token, or a pipeline that somebody uploads, in the shape of a training Job."""
    for namespace in ("switchpoint", "kubeflow", "default"):
        assert launcher.asks("POST", JOBS.format(namespace), stealing(namespace, "mlflow-database")) == 403
    assert launcher.asks("POST", JOBS.format("switchpoint-jobs"), job_of_the_site("kind", 1)) == 201
    made = client.CustomObjectsApi(cluster.client).list_namespaced_custom_object(
        "batch.volcano.sh", "v1alpha1", "switchpoint", "jobs"
    )
    assert made["items"] == []


def test_the_namespace_where_jobs_can_be_made_has_no_secret_but_the_stores(cluster: Kube) -> None:
    """Whoever may make Jobs there can read all of them: what the script and the guide put there is what pods need."""
    site = Site.model_validate(
        yaml.safe_load(one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["SWITCHPOINT_SITE"])
    )
    script = FOLDER / "overlays" / "kind" / "secrets.sh"
    made = set(re.findall(r"\b(?:switchpoint-jobs)/([\w-]+)", script.read_text()))
    guide = (FOLDER / "README.md").read_text()
    made |= set(re.findall(r"-n switchpoint-jobs create secret \w+ ([\w-]+)", guide))
    listed = [row for row in guide.split("## Secrets")[1].split("\n## ")[0].splitlines() if "switchpoint-jobs" in row]
    assert [row.split("`")[1] for row in listed if row.startswith("|")] == ["switchpoint-store"]
    assert made == set(site.env_secrets) == {"switchpoint-store"}


@pytest.fixture
def admission(cluster: Kube, tmp_path: Path) -> Iterator[None]:
    """The policy of the overlay, on a server that has such policies (1.30 and newer)."""
    if "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" not in served(cluster.kubeconfig):
        pytest.skip("the API server is too old for ValidatingAdmissionPolicy")
    manifests = tmp_path / "admission.yaml"
    manifests.write_text(yaml.safe_dump_all(
        one for one in resources("kind") if one["kind"].startswith("ValidatingAdmissionPolicy")
    ))  # fmt: skip
    kubectl("--kubeconfig", cluster.kubeconfig, "apply", "-f", manifests)
    yield
    kubectl("--kubeconfig", cluster.kubeconfig, "delete", "-f", manifests, "--ignore-not-found")


@pytest.mark.usefixtures("admission")
@pytest.mark.parametrize("attack", ["image", "a whole Secret", "a projected token", "a folder of the node"])
def test_a_job_with_more_than_ours_is_refused_at_once(cluster: Kube, launcher: Account, attack: str) -> None:
    """By the admission policy, and so is a pod that comes another way."""
    change, words = ATTACKS[attack]

    def ask(kind: str, body: dict[str, Any]) -> Any:
        path = JOBS.format("switchpoint-jobs") if kind == "Job" else "/api/v1/namespaces/switchpoint-jobs/pods"
        headers = {"Authorization": f"Bearer {launcher.token if kind == 'Job' else ADMIN}"}
        return requests.post(cluster.url + path, json=body, headers=headers, verify=False, timeout=30)

    job = job_of_the_site("kind")
    job["metadata"]["name"] = f"attack-{next(NUMBERS)}"
    bad = deepcopy(job)
    change(bad["spec"]["tasks"][1]["template"]["spec"])
    wait_until(
        lambda: ask("Job", bad | {"metadata": bad["metadata"] | {"name": f"a-{next(NUMBERS)}"}}).status_code == 422
    )
    answer = ask("Job", bad)
    assert answer.status_code == 422
    assert words in answer.json()["message"]
    assert ask("Job", job).status_code == 201
    for number, pod in enumerate(volcano_pods(job)):
        assert ask("Pod", pod).status_code == 201, ask("Pod", pod).text
        pod["metadata"]["name"] += f"-more-{number}"
        change(pod["spec"])
        answer = ask("Pod", pod)
        assert answer.status_code in (403, 422), answer.text  # PodSecurity may have come first


def test_what_kubeflow_pipelines_itself_needs_in_the_pods_of_a_run(launcher: Account) -> None:
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/configmaps/kfp-launcher") == 404
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/secrets/mlpipeline-minio-artifact") == 404
    assert launcher.asks("GET", "/api/v1/namespaces/kubeflow/pods/any") == 404
    for verb, allowed in (("create", True), ("patch", True), ("get", False), ("delete", False)):
        assert launcher.may(verb, "argoproj.io", "workflowtaskresults", "kubeflow") is allowed
    for verb, allowed in (("get", True), ("list", False), ("create", False), ("patch", False), ("delete", False)):
        assert launcher.may(verb, "argoproj.io", "workflows", "kubeflow") is allowed


@pytest.mark.parametrize("name", ["switchpoint-trainer", "mlflow", "postgresql", "seaweedfs"])
def test_other_accounts_may_nothing(cluster: Kube, name: str) -> None:
    nobody = account(cluster, "switchpoint-jobs" if name == "switchpoint-trainer" else "switchpoint", name)
    for namespace in ("switchpoint", "switchpoint-jobs"):
        for path in (f"/api/v1/namespaces/{namespace}/pods", JOBS.format(namespace) + "/any", "/api/v1/secrets"):
            assert nobody.asks("GET", path) == 403
    for namespace in ("switchpoint", "switchpoint-jobs", "kubeflow"):
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
            for namespace in ("switchpoint", "switchpoint-jobs", "kubeflow")
            for secret in client.CoreV1Api(cluster.client).list_namespaced_secret(namespace).items
        ]
        return {f"{secret.metadata.namespace}/{secret.metadata.name}": secret.data for secret in found}

    first = run()
    assert first.returncode == 0, first.stderr
    made = held()
    assert len(made) == len(first.stdout.splitlines()) == 6
    assert [name for name in made if name.startswith("switchpoint-jobs/")] == ["switchpoint-jobs/switchpoint-store"]
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
