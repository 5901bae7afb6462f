"""Pods that a quota or a policy refuses, against a real API server: the event is the cause, and a quota may pass."""

import pytest

from tests.components.launch.controller import Controller, wait_until
from tests.components.launch.launcher_process import Launch

pytestmark = pytest.mark.cluster
QUOTA = 'pods "gb-1-train-0-0" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8'
DENIED = 'admission webhook "images.example.com" denied the request: no image of this registry'


def phase(controller: Controller) -> str:
    job = controller.job()
    assert job is not None
    return str(job["status"]["state"]["phase"])


def test_a_job_is_made_again_until_the_quota_is_free(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    first = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Pending")
    controller.refuse_pods(QUOTA)
    launcher.wait_for(f"Pending: the cluster refuses its pods: {QUOTA}")
    controller.end()
    second = controller.wait_for_job(other_than=first)["metadata"]["uid"]
    controller.phase("Pending")
    controller.refuse_pods(QUOTA)
    controller.end()  # the event is there before the launcher sees the Job
    assert controller.wait_for_job(other_than=second)
    controller.phase("Running")
    launcher.wait_for(": Running")
    controller.phase("Completed")
    assert launcher.end()["succeeded"]
    assert launcher.said().count("Volcano ended the Job: it is made again") == 2


def test_a_quota_that_stays_is_the_cause(controller: Controller, launch: Launch) -> None:
    """However often Volcano ends the Job: the time counts from the first refusal."""
    launcher = launch(pending_seconds=4)
    while launcher.process.poll() is None:
        job = controller.job()
        if job and not job.get("status", {}).get("state"):
            controller.phase("Pending")
            controller.refuse_pods(QUOTA)
            controller.end()
        wait_until(lambda: launcher.process.poll() is not None or phase_of_new(controller))
    end = launcher.end()
    assert "its pods did not run within 4 s (`cluster.pending_seconds`)" in end["cause"]
    assert QUOTA in end["cause"]
    assert not end["may_resume"]
    assert not end["disrupted"]
    assert "it is made again" in launcher.said()


def phase_of_new(controller: Controller) -> bool:
    job = controller.job()
    return job is not None and not job.get("status", {}).get("state")


def test_a_quota_that_stays_ends_a_job_that_volcano_keeps(controller: Controller, launch: Launch) -> None:
    launcher = launch(pending_seconds=2)
    controller.phase("Pending")
    controller.refuse_pods(QUOTA)
    assert QUOTA in launcher.end()["cause"]
    assert phase(controller) == "Aborted"


def test_a_policy_that_refuses_ends_the_run_at_once(controller: Controller, launch: Launch) -> None:
    launcher = launch(pending_seconds=7200)
    controller.phase("Pending")
    controller.refuse_pods(DENIED)
    end = launcher.end()
    assert end["cause"] == f"the cluster refuses its pods: {DENIED}"
    assert not end["may_resume"]
    assert phase(controller) == "Aborted"


def test_a_policy_names_the_end_of_a_job_that_volcano_has_ended(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Terminating")
    launcher.wait_for(": Terminating")
    controller.refuse_pods(DENIED)
    controller.phase("Terminated")
    end = launcher.end()
    assert end["cause"] == f"the cluster refuses its pods: {DENIED}"
    assert not end["may_resume"]


def test_a_refusal_that_has_passed_is_no_cause(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Pending")
    controller.refuse_pods(QUOTA)
    launcher.wait_for("exceeded quota")
    pods = controller.make_pods()
    launcher.wait_for("0 of 2 pods run")
    controller.container(pods[0], "Failed", {"terminated": {"exitCode": 1, "message": "ValueError: no such file"}})
    controller.end()
    end = launcher.end()
    assert end["cause"] == ""
    assert "ended with exit code 1: ValueError: no such file" in end["reason"]


def test_an_earlier_job_s_refusal_is_none_of_its_successor(controller: Controller, launch: Launch) -> None:
    first = launch()
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.refuse_pods(DENIED)
    assert not first.end()["succeeded"]
    second = launch()
    assert controller.wait_for_job(other_than=uid)
    controller.phase("Pending")
    second.wait_for("no pod was made")
    controller.phase("Completed")
    assert second.end()["succeeded"]
