"""The launcher against a real API server: made once, followed, found again; every way to end in its own words."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.launch.controller import Controller, wait_until
from tests.components.launch.kubelet_logs import NODE, kubelet
from tests.components.launch.launcher_process import Launch, all_running
from tests.kube import Kube
from tests.restricted import violations

pytestmark = pytest.mark.cluster


def test_a_job_is_made_followed_and_ends_well(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    job = controller.wait_for_job()
    assert job["metadata"]["labels"]["switchpoint/study"] == "tiny"
    assert job["metadata"]["annotations"]["switchpoint/arms"] == "a, b"
    for task in job["spec"]["tasks"]:
        assert violations(task["template"]["spec"]) == []
    launcher.wait_for("no pod was made")
    controller.phase("Pending")
    first, second = controller.make_pods()
    launcher.wait_for("0 of 2 pods run")
    for pod in (first, second):
        controller.container(pod, "Running", {"running": {}})
    controller.phase("Running")
    launcher.wait_for(": Running")
    controller.phase("Completed")
    assert launcher.end()["succeeded"]
    assert "never-shown" not in launcher.said()
    assert "never-shown" not in json.dumps(job)


def test_what_the_first_pod_writes_comes_as_it_is_written(
    kube: Kube, controller: Controller, launch: Launch, tmp_path: Path
) -> None:
    """Through the API server and a node's kubelet; a stream that breaks goes on where it was, no line twice."""
    with kubelet(kube.client, tmp_path) as logs:
        launcher = launch()
        controller.wait_for_job()
        first, second = controller.make_pods(NODE)
        logs.cut_after = 2
        logs.add(first, "step 1/100 | loss 4.2", "step 2/100 | loss 4.1")
        for pod in (first, second):
            controller.container(pod, "Running", {"running": {}})
        controller.phase("Running")
        launcher.wait_for("step 2/100 | loss 4.1")
        logs.add(first, "step 3/100 | loss 4.0")
        launcher.wait_for("step 3/100 | loss 4.0")
        assert launcher.said().count("step 1/100") == 1
        logs.add(second, "Traceback (most recent call last):", "ValueError: a shard is missing")
        controller.container(second, "Failed", {"terminated": {"exitCode": 1}})
        logs.over = True
        controller.phase("Terminated")
        end = launcher.end()
        assert Path(end["log"]).name == f"{second}.log"
        assert "ValueError: a shard is missing" in Path(end["log"]).read_text()
        assert "step 3/100 | loss 4.0" in (launcher.logs / f"{controller.name}.log").read_text()


def test_a_launcher_that_was_killed_comes_back_and_finds_its_job(controller: Controller, launch: Launch) -> None:
    first = launch()
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Running")
    first.wait_for(": Running")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = launch()
    second.wait_for("is there already (Running): followed from here")
    controller.phase("Completed")
    assert second.end()["succeeded"]
    job = controller.job()
    assert job is not None
    assert job["metadata"]["uid"] == uid


def test_two_launchers_at_once_make_one_job(controller: Controller, launch: Launch) -> None:
    launchers = [launch(), launch()]
    controller.wait_for_job()
    controller.phase("Running")
    for launcher in launchers:
        launcher.wait_for(": Running")
    controller.phase("Completed")
    assert all(launcher.end()["succeeded"] for launcher in launchers)
    assert sum("made in namespace" in launcher.said() for launcher in launchers) == 1


def test_a_finished_job_is_not_run_again_unless_its_output_is_gone(
    controller: Controller, launch: Launch, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.touch()
    first = launch(done=output)
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Completed")
    assert first.end()["succeeded"]
    assert launch(done=output).end()["succeeded"]
    output.unlink()
    again = launch(done=output)
    assert controller.wait_for_job(other_than=uid)
    controller.phase("Completed")
    assert again.end()["succeeded"]


def test_a_failed_job_is_made_anew_and_one_that_does_something_else_is_waited_for(
    controller: Controller, launch: Launch
) -> None:
    first = launch(content="one")
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Running")
    other = launch(content="another")
    other.wait_for("another job of this name runs (study tiny, KFP run none): waited for; Running")
    controller.phase("Failed", message="pods failed")
    end = first.end()
    assert not end["succeeded"]
    assert end["may_resume"]
    assert "its Job ended as Failed (pods failed)" in end["reason"]
    assert controller.wait_for_job(other_than=uid)
    assert "superseded" in other.said()
    controller.phase("Completed")
    assert other.end()["succeeded"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "low on resource: memory"),
        ({"reason": "NodeLost", "message": "Node node-7 is not answering"}, "was lost (NodeLost: Node node-7"),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "was pre-empted",
        ),
    ],
)
def test_pods_that_are_taken_away(controller: Controller, launch: Launch, status: dict[str, Any], words: str) -> None:
    """Volcano starts them again and that is told; where it gives up, the cause is the end's."""
    launcher = launch()
    pods = all_running(controller, launcher)
    controller.pod_status(pods[0], "Failed", **status)
    controller.event("Evict", "Pod is evicted, because of preempt")
    controller.phase("Restarting", retries=1)
    launcher.wait_for(words)
    launcher.wait_for("Volcano starts them again")
    controller.delete_pods()
    pods = wait_until(lambda: _made_again(controller))
    controller.pod_status(pods[1], "Failed", **status)
    controller.event("Evict", "Pod is evicted, once more", seconds_ago=-1)
    controller.phase("Failed", retries=3, message="job reached its retries")
    end = launcher.end()
    assert words in end["cause"]
    assert end["may_resume"]
    assert "event: Evict: Pod is evicted, once more" in launcher.said()


def test_restarts_between_two_looks_do_not_hide_the_cause(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    pods = all_running(controller, launcher)
    controller.pod_status(pods[0], "Failed", reason="Evicted", message="The node was low on resource: memory.")
    controller.phase("Failed", retries=3, message="job reached its retries")
    assert "low on resource: memory" in launcher.end()["cause"]


def test_what_took_pods_away_before_is_no_cause_of_what_fails_now(controller: Controller, launch: Launch) -> None:
    """Neither of an earlier Job of the same name nor before its own restart; and pods on their way out are history."""
    launcher = launch()
    controller.wait_for_job()
    controller.event("Evict", "Pod is evicted, an hour ago", seconds_ago=3600)
    pods = controller.make_pods(NODE)
    for pod in pods:
        controller.container(pod, "Running", {"running": {}})
    controller.phase("Running")
    launcher.wait_for(": Running")
    controller.event("Evict", "Pod is evicted, because of preempt")
    taken = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    controller.pod_status(pods[0], "Running", conditions=taken)
    controller.delete_slowly(pods)
    controller.phase("Restarting", retries=1)
    launcher.wait_for("was pre-empted; Volcano starts them again")
    controller.phase("Running", retries=1)
    controller.phase("Failed", retries=1, message="the tracker was full")
    end = launcher.end()
    assert end["cause"] == ""
    assert "its Job ended as Failed (the tracker was full)" in end["reason"]
    assert "event: Evict" not in launcher.said()


def _made_again(controller: Controller) -> list[str] | None:
    from kubernetes.client import ApiException

    try:
        return controller.make_pods()
    except ApiException:  # the old ones are on their way out
        return None


def test_memory_that_ran_out(controller: Controller, launch: Launch) -> None:
    launcher = launch(memory_gib_per_node=4)
    controller.phase("Running")
    pods = controller.make_pods()
    controller.container(pods[1], "Failed", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    controller.phase("Terminated")
    end = launcher.end()
    assert "ran out of memory (its limit is 4295M: `cluster.memory_gib_per_node`)" in end["cause"]
    assert end["may_resume"]


def test_an_image_that_is_not_there(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Pending")
    pod, _ = controller.make_pods()
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
    controller.container(pod, "Pending", state)
    end = launcher.end()
    assert "the image registry/trainer:1 cannot be pulled" in end["cause"]
    assert "manifest unknown" in end["cause"]
    assert not end["may_resume"]
    job = controller.job()
    assert job is not None
    assert job["status"]["state"]["phase"] == "Aborted"


def test_a_job_that_runs_is_not_ended_for_a_pod_that_does_not(controller: Controller, launch: Launch) -> None:
    """Of an elastic job, pods that are more than it needs; and a pod that is gone waits for nothing any more."""
    launcher = launch(min_nodes=1)
    controller.phase("Running")
    first, late = controller.make_pods()
    controller.container(first, "Running", {"running": {}})
    state = {"waiting": {"reason": "InvalidImageName", "message": "on this node only"}}
    controller.container(late, "Pending", state)
    launcher.wait_for(": Running")
    time.sleep(3)
    assert launcher.process.poll() is None, launcher.said()
    controller.delete_pods()
    controller.phase("Pending")
    launcher.wait_for("no pod was made")
    time.sleep(1)
    controller.phase("Completed")
    assert launcher.end()["succeeded"]


def test_pods_that_find_no_place_for_too_long(controller: Controller, launch: Launch) -> None:
    launcher = launch(pending_seconds=2)
    controller.phase("Pending")
    _, pod = controller.make_pods()
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
    controller.pod_status(pod, "Pending", conditions=[condition])
    controller.event("FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    end = launcher.end()
    assert "its pods did not run within 2 s (`cluster.pending_seconds`)" in end["cause"]
    assert "0/3 nodes: no GPU" in end["cause"]
    assert "event: FailedScheduling: 0/3 nodes are available" in launcher.said()
    assert not end["may_resume"]


def test_a_job_that_vanishes_may_be_made_again(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Running")
    launcher.wait_for(": Running")
    controller.delete_job()
    end = launcher.end()
    assert "was deleted from the cluster" in end["cause"]
    assert end["may_resume"]


def test_a_container_that_fails_by_itself(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Running")
    pods = controller.make_pods()
    ended = {"exitCode": 1, "reason": "Error", "message": "Traceback\nValueError: the batch cannot be divided"}
    controller.container(pods[0], "Failed", {"terminated": ended})
    controller.phase("Terminated")
    end = launcher.end()
    assert end["cause"] == ""
    assert "ended with exit code 1: ValueError: the batch cannot be divided" in end["reason"]


def test_a_launcher_that_is_terminated_aborts_its_job(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Running")
    launcher.wait_for(": Running")
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(timeout=30) == 128 + signal.SIGTERM
    job = controller.job()
    assert job is not None
    assert job["status"]["state"]["phase"] == "Aborted"
    again = launch()
    assert controller.wait_for_job(other_than=job["metadata"]["uid"])
    controller.phase("Completed")
    assert again.end()["succeeded"]


def test_a_job_that_somebody_aborts_is_not_started_again(controller: Controller, launch: Launch) -> None:
    launcher = launch()
    controller.phase("Running")
    launcher.wait_for(": Running")
    controller.phase("Aborted")
    end = launcher.end()
    assert "aborted by somebody" in end["cause"]
    assert not end["may_resume"]


def test_a_job_of_another_run_of_the_pipeline_is_left_alone(controller: Controller, launch: Launch) -> None:
    """Two studies share a GB run: the second one's end must not be the first one's."""
    first = launch(kfp_run="run-a")
    controller.phase("Running")
    first.wait_for(": Running")
    second = launch(kfp_run="run-b", study="another")
    second.wait_for("is there already (Running): followed from here")
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(timeout=30) == 128 + signal.SIGTERM
    assert "is another study's, and goes on" in second.said()
    controller.phase("Completed")
    assert first.end()["succeeded"]


def test_a_job_that_its_own_run_aborts_is_made_anew_by_the_other(controller: Controller, launch: Launch) -> None:
    first = launch(kfp_run="run-a")
    controller.phase("Running")
    first.wait_for(": Running")
    second = launch(kfp_run="run-b")
    second.wait_for("followed from here")
    first.process.send_signal(signal.SIGTERM)
    first.process.wait(timeout=30)
    end = second.end()
    assert "its Job was aborted: the run that followed it was terminated" in end["cause"]
    assert end["may_resume"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_an_earlier_run_of_the_study_left_ends_with_the_run_that_follows_it(
    controller: Controller, launch: Launch, sent: signal.Signals
) -> None:
    """As after a drained launcher and `retry`. The label names the earlier run. One that is there still resumes."""
    first = launch(kfp_run="run-a")
    controller.phase("Running")
    first.wait_for(": Running")
    second = launch(kfp_run="run-b")
    second.wait_for("is there already (Running): followed from here")
    second.process.send_signal(sent)
    assert second.process.wait(timeout=30) == 128 + sent, second.said()
    state = controller.wait_for_job()["status"]["state"]
    assert (state["phase"], state["message"]) == (
        "Aborted", "by Switchpoint, run run-b: the run that followed it was terminated",
    )  # fmt: skip
    assert first.end()["may_resume"]


@pytest.mark.parametrize(
    "changed", [{"memory_gib_per_node": 32}, {"content": "more"}, {"environment": {"SWITCHPOINT_SITE": "another"}}],
    ids=["memory", "content", "image"],
)  # fmt: skip
def test_a_job_that_waits_with_settings_that_were_put_right_is_made_anew(
    controller: Controller, launch: Launch, changed: dict[str, Any]
) -> None:
    first = launch(kfp_run="run-a", content="same")
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Pending")
    first.wait_for("Pending")
    first.process.kill()
    same = launch(kfp_run="run-b", content="same")
    same.wait_for("is there already (Pending): followed from here")
    same.process.kill()
    if "environment" in changed:
        site = {"namespace": controller.namespace, "trainer_image": "registry/trainer:2"}
        changed = {"environment": {"SWITCHPOINT_SITE": yaml.safe_dump(site)}}
    time.sleep(1)  # the API server tells times in whole seconds
    second = launch(kfp_run="run-c", **{"content": "same", **changed})
    job = controller.wait_for_job(other_than=uid)
    assert "was made with other settings: it is made anew" in second.said()
    # One that runs is followed, whatever it asked for.
    controller.phase("Running")
    time.sleep(1)
    third = launch(kfp_run="run-d", memory_gib_per_node=64, content=changed.get("content", "same"))
    third.wait_for("is there already (Running): followed from here")
    controller.phase("Completed")
    assert second.end()["succeeded"]
    assert controller.wait_for_job()["metadata"]["uid"] == job["metadata"]["uid"]


def test_launchers_that_began_before_a_job_was_made_do_not_replace_it(controller: Controller, launch: Launch) -> None:
    """Two runs of a study with other settings, at the same time: the later one's Job stays."""
    # As in a cluster, it waits longer for what a deleted Job leaves than the one that deleted it waits to replace it.
    first = launch(kfp_run="run-a", tries=2, gone_seconds=10)
    uid = controller.wait_for_job()["metadata"]["uid"]
    controller.phase("Pending")
    first.wait_for("Pending")
    time.sleep(1)
    second = launch(kfp_run="run-b", memory_gib_per_node=32)
    uid = controller.wait_for_job(other_than=uid)["metadata"]["uid"]
    first.wait_for("followed from here")
    controller.phase("Completed")
    assert first.end()["succeeded"]
    assert second.end()["succeeded"]
    assert controller.wait_for_job()["metadata"]["uid"] == uid


def test_pods_on_a_lost_node_do_not_keep_a_launcher_for_ever(controller: Controller, launch: Launch) -> None:
    launcher = launch(ending_seconds=1)
    controller.phase("Running")
    _, pod = controller.make_pods("dead-node")
    controller.phase("Terminating")
    end = launcher.end()
    assert "pods that were told to end have not" in end["cause"]
    assert f"{pod} on dead-node" in end["cause"]
    assert not end["may_resume"]


def test_a_job_that_nobody_follows_and_that_finds_no_place_is_named(controller: Controller, launch: Launch) -> None:
    first = launch(content="one")
    controller.phase("Pending")
    first.wait_for("Pending")
    first.process.kill()
    other = launch(content="another", study="another", pending_seconds=1)
    other.process.wait(timeout=60)
    assert "another job of this name (study tiny, KFP run none) has no pods" in other.said()
    assert f"delete vcjob {controller.name}" in other.said()


def test_another_job_that_does_not_end_is_not_waited_for_for_ever(controller: Controller, launch: Launch) -> None:
    first = launch(content="one")
    controller.phase("Running")
    first.wait_for(": Running")
    _, pod = controller.make_pods("dead-node")
    first.process.kill()
    controller.phase("Restarting")
    other = launch(content="another", ending_seconds=1)
    other.process.wait(timeout=60)
    assert "another job of this name (study tiny, KFP run none): pods that were told to end have not" in other.said()
    assert f"{pod} on dead-node" in other.said()
