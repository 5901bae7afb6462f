"""What somebody at a terminal sees of a cluster, and does to it: pods, their logs, the end of a run's Jobs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner

from switchpoint.pipelines.commands.cli import app
from switchpoint.pipelines.commands.command import checked
from tests.components.launch.controller import Controller
from tests.components.launch.kubelet_logs import NODE, kubelet
from tests.components.launch.launcher_process import Launcher
from tests.kfp_stub import TOKEN, KFPStub, running_stub
from tests.kube import Kube

pytestmark = pytest.mark.cluster
NAMESPACE = "followed"


@pytest.fixture(scope="module")
def namespace(kube: Kube) -> str:
    return kube.namespace(NAMESPACE)


@pytest.fixture
def kfp(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[KFPStub]:
    site = {"trainer_image": "registry/trainer:1", "namespace": namespace}
    with running_stub() as stub:
        for name, value in {
            "SWITCHPOINT_SITE": yaml.safe_dump(site), "KUBECONFIG": str(kube.kubeconfig),
            "SWITCHPOINT_KFP_URL": stub.url, "SWITCHPOINT_KFP_TOKEN": TOKEN,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield stub


@pytest.fixture
def submitted(kfp: KFPStub, study: dict[str, Any], tmp_path: Path) -> list[str]:
    """The study's recipe and store, as arguments."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(study, sort_keys=False))
    arguments = [str(recipe), "--store", str(tmp_path / "store")]
    assert command("submit", *arguments)["run_id"] == "run-0"
    kfp.states = ["RUNNING"]
    return arguments


def command(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def pod(kube: Kube, name: str, digest: str) -> None:
    """Of a GB run, on the node that answers for logs."""
    labels = {"switchpoint/study": "tiny", "switchpoint/output": digest}
    container = {"name": "train-0", "image": "registry/trainer:1"}
    spec = {"nodeName": NODE, "containers": [container], "automountServiceAccountToken": False}
    client.CoreV1Api(kube.client).create_namespaced_pod(
        NAMESPACE, {"metadata": {"name": name, "labels": labels}, "spec": spec}
    )
    client.CoreV1Api(kube.client).patch_namespaced_pod_status(name, NAMESPACE, {"status": {"phase": "Running"}})


def test_status_and_logs_show_the_pods_of_an_arm(kube: Kube, submitted: list[str], tmp_path: Path) -> None:
    rung, _ = checked(submitted[0], None, None, submitted[2])
    arm = rung.plan.arms[0]
    with kubelet(kube.client, tmp_path) as logs:
        pod(kube, "gb-pod", arm.gb_run.digest)
        logs.add("gb-pod", "step 1", "step 2")
        listed = {one["arm"]: one["pods"] for one in command("status", *submitted)["arms"]}
        assert listed[arm.run_name] == ["gb-pod Running"]
        shown = command("logs", submitted[0], arm.run_name, *submitted[1:])["logs"]
    assert [(one["log"], one["text"].split("\n")[0]) for one in shown] == [("gb-pod", "step 1")]


def test_without_the_cluster_status_goes_on_with_a_note(
    submitted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("switchpoint.components.launch.cluster_api.COMMAND_AWAY_SECONDS", 0.5)
    dead = {
        "apiVersion": "v1", "kind": "Config", "current-context": "dead",
        "clusters": [{"name": "dead", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "dead", "context": {"cluster": "dead", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(dead))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    result = CliRunner().invoke(app, ["status", *submitted], catch_exceptions=False)
    assert result.exit_code == 0
    assert "note: pods cannot be looked at" in result.output
    assert "KFP:     RUNNING" in result.output


def test_cancel_ends_the_jobs_of_the_run_and_its_launcher_makes_none_anew(
    kube: Kube, kfp: KFPStub, submitted: list[str], tmp_path: Path
) -> None:
    controllers = [Controller(kube.client, NAMESPACE, name) for name in ("gb-of-the-run", "gb-of-another")]
    launchers = [
        Launcher(kube, controller, tmp_path / controller.name, kfp_run=run)
        for controller, run in zip(controllers, ("run-0", "run-9"), strict=True)
    ]
    try:
        for controller, launcher in zip(controllers, launchers, strict=True):
            controller.phase("Running")
            launcher.wait_for(": Running")
        assert command("cancel", *submitted)["aborted"] == ["gb-of-the-run"]
        assert "POST runs/run-0:terminate" in kfp.calls
        end = launchers[0].end()
        assert "its Job was aborted: the run was cancelled" in end["cause"]
        assert not end["may_resume"]
        assert launchers[1].process.poll() is None
        # A second time it finds nothing that goes on, and is no error.
        assert command("cancel", *submitted)["aborted"] == []
    finally:
        for launcher in launchers:
            launcher.process.kill()
            launcher.process.wait()


def test_cancel_ends_a_job_that_an_earlier_run_made(
    kube: Kube, kfp: KFPStub, submitted: list[str], tmp_path: Path
) -> None:
    """Its launcher was lost, and the one of the new run follows the Job, whose label names the earlier run."""
    controller = Controller(kube.client, NAMESPACE, "gb-left")
    first = Launcher(kube, controller, tmp_path / "logs", kfp_run="run-0")
    launchers = [first]
    try:
        controller.phase("Running")
        first.wait_for(": Running")
        first.process.kill()
        kfp.states = ["FAILED"]
        assert command("retry", *submitted)["run_id"] == "run-1"
        kfp.states = ["RUNNING"]
        launchers.append(Launcher(kube, controller, tmp_path / "logs", kfp_run="run-1"))
        launchers[1].wait_for("is there already (Running): followed from here")
        assert command("cancel", *submitted)["aborted"] == ["gb-left"]
        assert "POST runs/run-1:terminate" in kfp.calls
        end = launchers[1].end()
        assert "its Job was aborted: the run was cancelled" in end["cause"]
        assert not end["may_resume"]
    finally:
        for launcher in launchers:
            launcher.process.kill()
            launcher.process.wait()
