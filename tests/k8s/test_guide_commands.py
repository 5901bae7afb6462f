"""Commands of the operator's guide as they stand there, on a real API server."""

import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from tests.k8s.built import FOLDER, kubectl, one, resources, served
from tests.k8s.test_guide import blocks
from tests.k8s.test_permissions import JOBS, account, stealing
from tests.kube import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]


NAMESPACES = "k8s/base/services/namespace.yaml -f k8s/base/jobs/namespace.yaml"


def run(kube: Kube, words: str, until: str = "\n") -> str:
    """The guide's command that contains `words`, up to `until`, in a shell."""
    (block,) = [block for block in blocks("") if words in block]
    start = block.rindex("\nkubectl", 0, block.index(words))
    command = block[start : block.index(until, block.index(words))]
    environment = os.environ | {"KUBECONFIG": str(kube.kubeconfig)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, cwd=FOLDER.parent, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cluster(kube: Kube) -> Iterator[Kube]:
    """With both namespaces, as the guide makes them; afterwards without the Secrets that a test made."""
    core = client.CoreV1Api(kube.client)
    if "kubeflow" not in [one.metadata.name for one in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "kubeflow"}})
    run(kube, NAMESPACES + "\nk8s/overlays/kind/secrets.sh")
    _delete_secrets(core)
    yield kube
    _delete_secrets(core)


def _delete_secrets(core: client.CoreV1Api) -> None:
    for namespace in ("kubeflow", "switchpoint", "switchpoint-jobs"):
        for secret in core.list_namespaced_secret(namespace).items:
            core.delete_namespaced_secret(secret.metadata.name, namespace)


def test_kubeflow_pipelines_plugin_gets_the_login_of_runs(cluster: Kube) -> None:
    login = {"MLFLOW_TRACKING_USERNAME": "switchpoint", "MLFLOW_TRACKING_PASSWORD": "never-shown-anywhere"}
    core = client.CoreV1Api(cluster.client)
    secret = {"metadata": {"name": "switchpoint-mlflow"}, "stringData": login}
    core.create_namespaced_secret("kubeflow", secret)
    said = run(cluster, "kfp-mlflow-credentials", until="\nkubectl -n kubeflow exec")
    made = core.read_namespaced_secret("kfp-mlflow-credentials", "kubeflow")
    encoded = [b64encode(value.encode()).decode() for value in login.values()]
    assert [made.data["username"], made.data["password"]] == encoded
    assert not made.metadata.annotations  # `kubectl apply` by itself would keep the password there, too
    assert "never-shown" not in said
    assert encoded[1] not in said


def test_mlflows_schema_is_upgraded_by_a_job_of_its_deployment(cluster: Kube, tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(one("kind", "Deployment/switchpoint/mlflow")))
    kubectl("--kubeconfig", cluster.kubeconfig, "apply", "-f", tmp_path / "deployment.yaml")
    assert run(cluster, "delete job mlflow-upgrade") == ""
    assert run(cluster, "mlflow_upgrade.jq") == "job.batch/mlflow-upgrade created\n"
    # One that failed is made anew: to apply it again would change nothing.
    assert "deleted" in run(cluster, "delete job mlflow-upgrade")
    assert run(cluster, "mlflow_upgrade.jq") == "job.batch/mlflow-upgrade created\n"
    job = client.BatchV1Api(cluster.client).read_namespaced_job("mlflow-upgrade", "switchpoint")
    (container,) = job.spec.template.spec.containers
    assert container.command == ["mlflow", "db", "upgrade", "postgresql:///"]
    assert "PGPASSWORD" in [variable.name for variable in container.env]


def test_an_installation_with_jobs_beside_the_passwords_is_split(cluster: Kube, tmp_path: Path) -> None:
    """As an earlier version made it: a run could read any Secret, until the guide's commands have run."""
    core, access = client.CoreV1Api(cluster.client), client.RbacAuthorizationV1Api(cluster.client)
    of_launcher = [one("kind", f"{kind}/switchpoint-jobs/switchpoint-launcher") for kind in ("Role", "RoleBinding")]
    old = [each | {"metadata": {"name": "switchpoint-launcher", "namespace": "switchpoint"}} for each in of_launcher]
    old += [one("kind", "ServiceAccount/kubeflow/switchpoint-launcher")]
    old += [{"apiVersion": "v1", "kind": "ServiceAccount",
             "metadata": {"name": "switchpoint-trainer", "namespace": "switchpoint"}}]  # fmt: skip
    for name in ("training-to-training", "training-to-store"):
        policy = one("kind", f"NetworkPolicy/switchpoint-jobs/{name}")
        old.append(policy | {"metadata": {"name": name, "namespace": "switchpoint"}})
    (tmp_path / "old.yaml").write_text(yaml.safe_dump_all(old))
    kubectl("--kubeconfig", cluster.kubeconfig, "apply", "-f", tmp_path / "old.yaml")
    login = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "never-shown"}
    core.create_namespaced_secret("switchpoint", {"metadata": {"name": "switchpoint-store"}, "stringData": login})
    launcher = account(cluster, "kubeflow", "switchpoint-launcher")
    assert launcher.asks("POST", JOBS.format("switchpoint"), stealing("switchpoint", "mlflow-database")) == 201

    (block,) = [block for block in blocks("") if "delete rolebinding/switchpoint-launcher" in block]
    kinds = served(cluster.kubeconfig)
    (tmp_path / "new.yaml").write_text(yaml.safe_dump_all(
        each for each in resources("kind") if f"{each['apiVersion']}/{each['kind']}" in kinds
    ))  # fmt: skip
    here = block.replace("apply -k k8s/overlays/kind", f"apply -f {tmp_path / 'new.yaml'}")
    here = here.replace(".venv/bin/switchpoint doctor --cluster", "")  # tests/pipelines/test_doctor_cluster.py
    assert "-k " not in here
    assert "doctor" not in here
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here], capture_output=True, text=True, cwd=FOLDER.parent, check=False,
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "never-shown" not in done.stdout + done.stderr
    assert launcher.asks("POST", JOBS.format("switchpoint"), stealing("switchpoint", "mlflow-database")) == 403
    assert core.read_namespaced_secret("switchpoint-store", "switchpoint-jobs").data.keys() == login.keys()
    held = [secret.metadata.name for secret in core.list_namespaced_secret("switchpoint").items]
    assert "switchpoint-store" not in held
    assert access.list_namespaced_role_binding("switchpoint").items == []
    assert client.CustomObjectsApi(cluster.client).list_namespaced_custom_object(
        "batch.volcano.sh", "v1alpha1", "switchpoint", "jobs"
    )["items"] == []  # fmt: skip


def test_secrets_of_production_are_made_from_files(cluster: Kube, tmp_path: Path) -> None:
    """Without a server's help: what the guide's two options may be used together with. The namespace is made before."""
    (block,) = [block for block in blocks("") if "mlflow-database-ca" in block]
    first, *lines = block.strip().splitlines()
    assert first == f"kubectl apply -f {NAMESPACES}"
    made = set()
    for line in lines:
        command, _, _ = line.partition(" #")
        file = tmp_path / command.split()[-1]
        file.write_text("KEY=value\n")
        arguments = [*command.split()[1:], "--dry-run=client", "--output=yaml"]
        secret = yaml.safe_load(kubectl("--kubeconfig", cluster.kubeconfig, *arguments, cwd=tmp_path))
        assert secret["data"].keys() == {"KEY" if file.suffix == ".env" else "ca.crt"}
        made.add(f"{secret['metadata']['namespace']}/{secret['metadata']['name']}")
    # What overlays and the site name, but for the ingress's certificate.
    assert made == {
        "switchpoint/mlflow-database", "switchpoint/mlflow-database-ca", "switchpoint/mlflow",
        "switchpoint-jobs/switchpoint-store", "kubeflow/switchpoint-store", "kubeflow/switchpoint-mlflow",
    }  # fmt: skip


@pytest.mark.parametrize("words", ["pg_dump", "pg_restore"])
def test_backup_and_restore_each_run_in_a_new_shell(words: str, tmp_path: Path) -> None:
    """All that they call is a program or made by themselves; every copy has its bucket's own login."""
    (block,) = [block for block in blocks("") if words in block]
    (tmp_path / "kubectl").write_text(
        "#!/bin/sh\n"
        'case "$*" in *jsonpath=*) printf %s "$2/$5 $7" | base64 -w0;; *port-forward*) exec sleep 60;; esac\n'
    )
    (tmp_path / "aws").write_text('#!/bin/sh\necho "$AWS_ENDPOINT_URL|$AWS_ACCESS_KEY_ID|$*" >>copied\n')
    for program in ("kubectl", "aws"):
        (tmp_path / program).chmod(0o755)
    (tmp_path / "mlflow.dump").touch()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], capture_output=True, text=True, cwd=tmp_path, timeout=30,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "copied").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        address, login, command = line.split("|")
        assert address == "http://localhost:8333"
        secret = login.split()[0]
        assert secret in ("switchpoint/mlflow", "kubeflow/switchpoint-store")
        assert f"s3://{'mlflow' if secret == 'switchpoint/mlflow' else 'switchpoint'}" in command
