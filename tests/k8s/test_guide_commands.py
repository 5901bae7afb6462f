"""Commands of the operator's guide as they stand there, on a real API server."""

import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from tests.k8s.built import FOLDER, kubectl, one
from tests.k8s.test_guide import blocks
from tests.kube import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]


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
    run(kube, "apply -f k8s/base/jobs/namespace.yaml")
    yield kube
    for secret in core.list_namespaced_secret("kubeflow").items:
        core.delete_namespaced_secret(secret.metadata.name, "kubeflow")


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
    assert run(cluster, "mlflow_upgrade.jq") == "job.batch/mlflow-upgrade created\n"
    job = client.BatchV1Api(cluster.client).read_namespaced_job("mlflow-upgrade", "switchpoint")
    (container,) = job.spec.template.spec.containers
    assert container.command == ["mlflow", "db", "upgrade", "postgresql:///"]
    assert "PGPASSWORD" in [variable.name for variable in container.env]


def test_secrets_of_production_are_made_from_files(cluster: Kube, tmp_path: Path) -> None:
    """Without a server's help: what the guide's two options may be used together with."""
    (tmp_path / "database.env").write_text("PGHOST=database\nPGPASSWORD=any\n")
    (tmp_path / "ca.crt").write_text("certificate")
    (block,) = [block for block in blocks("") if "mlflow-database-ca" in block]
    lines = [line for line in block.strip().splitlines() if "server.env" not in line]
    assert len(lines) == 2
    for line in lines:
        arguments = [*line.split()[1:], "--dry-run=client", "--output=yaml"]
        made = yaml.safe_load(kubectl("--kubeconfig", cluster.kubeconfig, *arguments, cwd=tmp_path))
        assert made["data"].keys() <= {"PGHOST", "PGPASSWORD", "ca.crt"}
