"""The operator's guide: its commands are commands, what it names is there, what it starts fits the cluster it makes."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from components.launch.job import JobRequest
from components.launch.site import Launched, Site
from components.launch.volcano import volcano_job
from components.plan.run import check_study
from components.recipe.cluster import Cluster
from components.recipe.load import load_study
from tests.k8s.built import FOLDER, kubectl, name, of_kind, one, pod_specs
from tests.restricted import violations

GUIDE = (FOLDER / "README.md").read_text()
PROJECT = FOLDER.parent
QUICKSTART = PROJECT / "pipelines" / "recipes" / "quickstart.yaml"
IN_KIND = FOLDER / "overlays" / "kind" / "quickstart.yaml"


def blocks(language: str) -> list[str]:
    """The guide's fenced blocks of one language; `` for commands."""
    start = language or "\n"
    return [block.removeprefix(language) for block in GUIDE.split("```")[1::2] if block.startswith(start)]


def test_commands_are_bash() -> None:
    assert len(blocks("")) > 8
    for block in blocks(""):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
        assert not done.stderr, (block, done.stderr)


def test_what_it_names_is_there() -> None:
    paths = set(re.findall(r"[\s`](k8s/[\w./-]+\w|pipelines/[\w./-]+\w)", GUIDE))
    assert len(paths) >= 8
    for path in paths:
        assert (PROJECT / path).exists(), path
    for folder in re.findall(r"^\| `([\w/-]+)` \|", GUIDE.split("## ")[0], re.MULTILINE):
        assert (FOLDER / folder).is_dir(), folder
    kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service"}
    named = set(re.findall(r"-n switchpoint [\w -]*?(deployment|statefulset|service)/([\w-]+)", GUIDE))
    assert len(named) >= 4
    for kind, called in named:
        one("kind", f"{kinds[kind]}/switchpoint/{called}")


def test_overlays_for_another_namespace_of_runs(tmp_path: Path) -> None:
    """Those of the guide, built."""
    copy = tmp_path / "k8s"
    shutil.copytree(FOLDER, copy)
    built = []
    for number, block in enumerate(blocks("yaml\n")):
        folder = copy / "overlays" / f"own-{number}"
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(block)
        built += list(yaml.safe_load_all(kubectl("kustomize", folder)))
    found = {name(resource): resource for resource in built}
    account = {"kind": "ServiceAccount", "name": "switchpoint-launcher", "namespace": "team-a"}
    assert "ServiceAccount/team-a/switchpoint-launcher" in found
    assert found["RoleBinding/team-a/switchpoint-launcher"]["subjects"] == [account]
    assert account in found["RoleBinding/switchpoint/switchpoint-launcher"]["subjects"]
    assert "team-a" in str(found["NetworkPolicy/switchpoint/runs-to-mlflow"]["spec"]["ingress"])


def request() -> JobRequest:
    cluster = Cluster.model_validate(yaml.safe_load(IN_KIND.read_text())["cluster"])
    return JobRequest(
        name="gb-0123456789abcdef", module="components.train.app", arguments=("job.json",), log_folder=Path("logs"),
        num_processes=2, cluster=cluster, labels={"study": "quickstart", "step": "gb"},
    )  # fmt: skip


def test_its_first_run_fits_the_cluster() -> None:
    """Four jobs at once within the queue, and with all else within the quota; the queue and class are there."""
    from torchx.runner import get_runner

    site = Site.model_validate(
        yaml.safe_load(one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["SWITCHPOINT_SITE"])
    )
    with get_runner() as runner:
        job = volcano_job(request(), Launched(site=site, namespace="switchpoint"), runner).request.resource
    assert job["metadata"]["namespace"] == "switchpoint"
    queues = {queue["metadata"]["name"]: queue["spec"] for queue in of_kind("kind", "Queue")}
    classes = {one["metadata"]["name"] for one in of_kind("kind", "PriorityClass")}
    assert job["spec"]["priorityClassName"] in classes
    (task,) = job["spec"]["tasks"]
    pod = task["template"]["spec"]
    assert violations(pod) == []
    assert pod["serviceAccountName"] == "switchpoint-trainer"
    quota = one("kind", "ResourceQuota/switchpoint/switchpoint")["spec"]["hard"]
    for resource in ("cpu", "memory"):
        job_takes = parse_quantity(pod["containers"][0]["resources"]["limits"][resource])
        assert 4 * job_takes <= parse_quantity(queues[job["spec"]["queue"]]["capability"][resource])
        for part in ("requests", "limits"):
            others = sum(
                parse_quantity(container["resources"][part][resource])
                for spec in pod_specs("kind").values() for container in spec["containers"]
            )  # fmt: skip
            assert 4 * job_takes + others <= parse_quantity(quota[f"{part}.{resource}"])


@contextmanager
def pretended_api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The part of KFP's API that a run needs; the address, and the runs that were asked for."""
    runs: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"experiments": [{"experiment_id": "1", "display_name": "Default"}], "experiment_id": "1"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/runs"):
                runs.append(body)
            self.answer({"run_id": "a-run", "experiment_id": "1"})

        def answer(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", runs
    finally:
        server.shutdown()


def test_its_first_run_is_asked_for_with_the_launchers_account(tmp_path: Path) -> None:
    with pretended_api() as (host, runs):
        command = [sys.executable, FOLDER / "start_run.py", QUICKSTART, "--added", IN_KIND, "--host", host]
        done = subprocess.run(
            [*map(str, command), "--store", "s3://switchpoint/store"], capture_output=True, text=True, check=False,
            timeout=120, cwd=PROJECT,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run a-run" in done.stdout
    (run,) = runs
    assert run["service_account"] == "switchpoint-launcher"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["store"] == "s3://switchpoint/store"
    study = load_study(QUICKSTART) | yaml.safe_load(IN_KIND.read_text())
    assert parameters["study"] == study
    plan, _ = check_study(study, str(QUICKSTART), tmp_path / "store")
    assert plan.recipe.cluster == request().cluster


def test_kubeflow_pipelines_plugin_logs_to_the_same_server() -> None:
    settings = json.loads((FOLDER / "kfp-mlflow" / "plugins.json").read_text())["plugins"]["mlflow"]
    assert settings["endpoint"] == one("kind", "ConfigMap/kubeflow/switchpoint")["data"]["MLFLOW_TRACKING_URI"]
    assert settings["endpoint"] == one("production", "ConfigMap/kubeflow/switchpoint")["data"]["MLFLOW_TRACKING_URI"]
    assert settings["settings"]["authType"] == "basic-auth"
    assert settings["settings"]["credentialSecretRef"] == {"usernameKey": "username", "passwordKey": "password"}
    assert {"username", "password"} == set(re.findall(r"(\w+): \.data\.MLFLOW_TRACKING", GUIDE))
    patch = yaml.safe_load((FOLDER / "kfp-mlflow" / "deployment_patch.yaml").read_text())
    (volume,) = patch["spec"]["template"]["spec"]["volumes"]
    assert f"create configmap {volume['configMap']['name']} --from-file config.json" in GUIDE


@pytest.mark.parametrize("overlay", ["kind", "production"])
def test_the_job_that_upgrades_mlflow(overlay: str) -> None:
    if shutil.which("jq") is None:
        pytest.skip("no jq")
    deployment = one(overlay, "Deployment/switchpoint/mlflow")
    done = subprocess.run(
        ["jq", "-f", FOLDER / "mlflow_upgrade.jq"],
        input=json.dumps(deployment),
        capture_output=True,
        text=True,
        check=True,
    )
    job = json.loads(done.stdout)
    assert kubernetes_validate.validate(job, "1.36", strict=True)
    spec = job["spec"]["template"]["spec"]
    assert violations(spec) == []
    (container,) = spec["containers"]
    (served,) = pod_specs(overlay)["Deployment/switchpoint/mlflow"]["containers"]
    assert container["env"] == served["env"]
    assert container["image"] == served["image"]
    assert container["command"] == ["mlflow", "db", "upgrade", "postgresql:///"]
