"""A training whose pods a cluster takes away again and again, with a real API server: it goes on until it is done."""

import threading
from itertools import count
from pathlib import Path

import pytest
import yaml

from switchpoint.components.launch import following
from switchpoint.components.recipe.cluster import Cluster
from switchpoint.components.recipe.training import Training
from switchpoint.components.stages.supervise import TrainingFailed, train_to_end
from switchpoint.components.store.plan_file import Planned
from tests.components.launch.controller import Controller
from tests.components.train.test_loop import job
from tests.kube import Kube

pytestmark = pytest.mark.cluster
NUMBERS = count(1)
MOST = 1


@pytest.fixture
def controller(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> Controller:
    namespace = kube.namespace(f"disruptions-{next(NUMBERS)}")
    site = {"namespace": namespace, "trainer_image": "registry/trainer:1"}
    monkeypatch.setenv("SWITCHPOINT_SITE", yaml.safe_dump(site))
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    monkeypatch.setattr(following, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(following, "GONE_SECONDS", 0.1)
    return Controller(kube.client, namespace, "gb-0123456789abcdef")


def train(prepared: Planned, folder: Path, name: str) -> None:
    one = job(prepared, folder / "run", training=Training(max_restarts=MOST))
    train_to_end(name, one, folder / "logs", 2, cluster=Cluster(device="none"))


def start(controller: Controller, before: str) -> tuple[str, list[str]]:
    """The next Job, whose pods run; its uid and its pods."""
    uid = controller.wait_for_job(other_than=before)["metadata"]["uid"]
    pods = controller.make_pods()
    for pod in pods:
        controller.container(pod, "Running", {"running": {}})
    controller.phase("Running")
    return uid, pods


def test_more_disruptions_than_restarts_end_with_the_training_done(
    prepared: Planned, tmp_path: Path, controller: Controller, capsys: pytest.CaptureFixture[str]
) -> None:
    """No checkpoint is written in between: each is a restart without progress."""
    reasons = ["PreemptionByScheduler", "EvictionByEvictionAPI", "DeletionByTaintManager", "PreemptionByScheduler"]
    assert len(reasons) > MOST + 1

    def play() -> None:
        uid = ""
        for reason in reasons:
            uid, pods = start(controller, uid)
            controller.take_away(pods[1], reason)
            controller.wait_for_job(other_than=uid)
            controller.delete_pods()
        start(controller, uid)
        controller.phase("Completed")

    volcano = threading.Thread(target=play)
    volcano.start()
    train(prepared, tmp_path, controller.name)
    volcano.join()
    said = capsys.readouterr().out
    assert said.count("started again from step 0") == len(reasons)
    assert "was pre-empted" in said
    assert "was evicted" in said


def test_failures_without_progress_are_still_bounded(prepared: Planned, tmp_path: Path, controller: Controller) -> None:
    """Pods that run out of memory, with a disruption in between."""
    played = []

    def play() -> None:
        uid = ""
        for reason in ("OOMKilled", "", "OOMKilled"):
            uid, pods = start(controller, uid)
            played.append(uid)
            if reason:
                controller.container(pods[0], "Failed", {"terminated": {"exitCode": 137, "reason": reason}})
                controller.end()
            else:
                controller.take_away(pods[0])
            if len(played) < 3:
                controller.wait_for_job(other_than=uid)
                controller.delete_pods()

    volcano = threading.Thread(target=play)
    volcano.start()
    with pytest.raises(TrainingFailed, match=f"ran out of memory.*; {MOST} restarts came no further"):
        train(prepared, tmp_path, controller.name)
    volcano.join()
    assert len(played) == 3
