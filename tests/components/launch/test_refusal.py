"""What refuses a Job's pods is read from Volcano's events, as Volcano 1.15 writes them."""

from typing import Any

import pytest

from switchpoint.components.launch.refusal import refused_by
from tests.components.launch.controller import creation_failed

QUOTA = (
    'pods "gb-1-train-3-0" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, '
    "used: requests.nvidia.com/gpu=24, limited: requests.nvidia.com/gpu=24"
)
DENIED = 'admission webhook "images.example.com" denied the request: the image is not from "registry.example.com"'


def event(message: str, reason: str = "FailedCreate") -> dict[str, Any]:
    return {"type": "Warning", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("told", "is_final"),
    [
        (QUOTA, False),
        ('Internal error occurred: failed calling webhook "pods.example.com": connection refused', False),
        ("etcdserver: request timed out", False),
        ('pods is forbidden: User "system:serviceaccount:v:c" cannot create resource "pods" in API group ""', False),
        (DENIED, True),
        ('pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', True),
        ('pods "a" is forbidden: maximum memory usage per Pod is 8Gi, but limit is 17179869184', True),
        ('pods "a" is forbidden: failed quota: all: must specify limits.ephemeral-storage', True),
        ('Pod "a" is invalid: spec.containers[0].image: Required value', True),
    ],
)
def test_a_quota_is_waited_for_and_a_policy_is_final(told: str, is_final: bool) -> None:
    cause = refused_by([event(creation_failed("gb-1-train-3-0", told))])
    assert cause is not None
    assert cause.reason == f"the cluster refuses its pods: {told}"
    assert (cause.at_once, cause.resume) == (is_final, not is_final)


def test_of_several_pods_what_is_final_is_told() -> None:
    cause = refused_by([event(creation_failed("a", QUOTA, DENIED))])
    assert cause is not None
    assert cause.reason.endswith(DENIED)
    assert cause.at_once


def test_the_newest_event_counts_and_others_are_left_out() -> None:
    scheduled = event("0/3 nodes are available", "FailedScheduling")
    assert refused_by([]) is None
    assert refused_by([scheduled]) is None
    cause = refused_by([event(creation_failed("a", DENIED)), event(creation_failed("a", QUOTA)), scheduled])
    assert cause is not None
    assert "exceeded quota: gpus" in cause.reason


def test_events_that_the_recorder_combined_and_those_of_services_and_pod_groups() -> None:
    combined = event(f"(combined from similar events): {creation_failed('a', QUOTA)}")
    plain = 'Execute plugin when job add failed, err: services "gb-1" is forbidden: exceeded quota: services'
    for one in (
        combined,
        event(plain, "PluginError"),
        event(f"Failed to create PodGroup, err: {QUOTA}", "PodGroupError"),
    ):
        cause = refused_by([one])
        assert cause is not None
        assert "exceeded quota" in cause.reason
        assert not cause.at_once
