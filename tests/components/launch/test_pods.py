"""What a cluster says of pods, in words: from states as kubelets, Volcano and node controllers write them."""

from typing import Any

import pytest

from switchpoint.components.launch.pods import blocked_by, ended_by, exit_of, shown_events, waiting_for


def pod(name: str = "gb-1-train-0-0", phase: str = "Running", **status: Any) -> dict[str, Any]:
    spec = {"nodeName": "node-7", "containers": [{"resources": {"limits": {"memory": "16G"}}}]}
    return {"metadata": {"name": name, "uid": name}, "spec": spec, "status": {"phase": phase, **status}}


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {"containerStatuses": [{"image": "registry/trainer:1", "state": state}]}


def disruption(reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (disruption("PreemptionByScheduler", "for a more important pod"), "was pre-empted: for a more important pod"),
        (disruption("DeletionByTaintManager"), "the node node-7 of pod gb-1-train-0-0 was lost"),
        ({"reason": "NodeLost"}, "was lost (NodeLost)"),
        ({"reason": "Evicted", "message": "low on ephemeral-storage"}, "was evicted from node-7: low on ephemeral"),
        (container({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), "ran out of memory (its limit is 16G"),
    ],
)
def test_what_a_cluster_does_to_a_pod_is_recognised_and_may_pass(status: dict[str, Any], words: str) -> None:
    cause = ended_by([pod("gb-1-train-1-0"), pod(phase="Failed", **status)])
    assert cause is not None
    assert words in cause.reason
    assert cause.resume


@pytest.mark.parametrize(
    ("status", "disrupted"),
    [
        (disruption("PreemptionByScheduler"), True), (disruption("EvictionByEvictionAPI"), True),
        (disruption("DeletionByTaintManager"), True), (disruption("DeletionByPodGC"), True),
        (disruption("TerminationByKubelet", "The node was low on resource: memory."), True),
        ({"reason": "NodeLost"}, True), ({"reason": "Terminated", "message": "Pod was terminated by a shutdown"}, True),
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, True),
        ({"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}, False),
        ({"reason": "Evicted", "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "50Gi".'}, False),
        ({"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the total limit"}, False),
        (disruption("TerminationByKubelet", "The node was low on resource: ephemeral-storage."), False),
        (container({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), False),
    ],
)  # fmt: skip
def test_what_is_done_to_healthy_pods_is_a_disruption(status: dict[str, Any], disrupted: bool) -> None:
    """Memory and disk that a pod used up itself are failures: the next pod would do the same."""
    cause = ended_by([pod(phase="Failed", **status)])
    assert cause is not None
    assert cause.disrupted == disrupted


def test_pre_emption_goes_before_what_followed_from_it() -> None:
    killed = pod("a", "Failed", **container({"terminated": {"reason": "OOMKilled", "exitCode": 137}}))
    cause = ended_by([killed, pod("b", **disruption("PreemptionByScheduler"))])
    assert cause is not None
    assert "pre-empted" in cause.reason


def test_events_tell_of_pods_that_are_gone() -> None:
    cause = ended_by([], [{"reason": "Evict", "message": "Pod is evicted, because of preempt"}])
    assert cause is not None
    assert "because of preempt" in cause.reason
    assert cause.disrupted
    assert ended_by([pod(phase="Failed")], [{"reason": "Scheduled", "message": ""}]) is None


def test_images_and_configuration_that_keep_a_pod_from_starting() -> None:
    pulling = pod(phase="Pending", **container({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}))
    cause = blocked_by([pulling])
    assert cause is not None
    assert "the image registry/trainer:1 cannot be pulled" in cause.reason
    assert "not found" in cause.reason
    assert not cause.resume
    assert not cause.at_once
    wrong = blocked_by([pod(phase="Pending", **container({"waiting": {"reason": "InvalidImageName"}}))])
    assert wrong is not None
    assert wrong.at_once
    state = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "switchpoint-store" not found'}}
    missing = blocked_by([pod(phase="Pending", **container(state))])
    assert missing is not None
    assert 'secret "switchpoint-store" not found' in missing.reason
    assert blocked_by([pod(phase="Pending", **container({"waiting": {"reason": "ContainerCreating"}}))]) is None


def test_what_is_waited_for() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient gpu"}
    line = waiting_for([pod("a"), pod("b", "Pending", conditions=[condition])], 2)
    assert line == "1 of 2 pods run; b is not scheduled: 0/3 nodes are available: 3 Insufficient gpu"
    assert "queue" in waiting_for([], 2)


def test_the_last_words_of_a_container_that_failed_by_itself() -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "Traceback\nValueError: no such file\n"}}
    assert exit_of([pod("a"), pod("b", "Failed", **container(ended))]) == (
        "pod b ended with exit code 1: ValueError: no such file"
    )


def test_warnings_are_shown_once_in_their_order() -> None:
    def event(reason: str, second: int, kind: str = "Warning") -> dict[str, Any]:
        return {"type": kind, "reason": reason, "message": "m", "lastTimestamp": f"2026-01-01T00:00:{second:02d}Z"}

    events = [event("B", 2), event("A", 1), event("A", 3), event("Pulled", 4, "Normal")]
    assert shown_events(events) == ["A: m", "B: m"]
