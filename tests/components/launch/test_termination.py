"""When a launcher that gets SIGTERM leaves its Job running: only where its own pod alone is taken away."""

from typing import Any

import pytest

from switchpoint.components.launch.termination import why_end

UID = "5f0e"


def pod(*, deleted: bool, uid: str = UID) -> dict[str, Any]:
    metadata = {"name": "study-x-impl-1", "uid": uid, "labels": {"workflows.argoproj.io/workflow": "study-x"}}
    return {"metadata": metadata | ({"deletionTimestamp": "2026-11-28T00:00:00Z"} if deleted else {})}


def workflow(*, deleted: bool = False, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "study-x"} | ({"deletionTimestamp": "2026-11-28T00:00:00Z"} if deleted else {})
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("own_pod", "own_workflow", "words"),
    [
        (pod(deleted=True), workflow(), ""),
        (pod(deleted=True), workflow(shutdown="", activeDeadlineSeconds=None), ""),
        (pod(deleted=True), workflow(activeDeadlineSeconds=86_400), ""),
        (pod(deleted=True), {"metadata": {"name": "study-x"}}, ""),
        (pod(deleted=False), workflow(), "its pod is not deleted"),
        (pod(deleted=False), workflow(activeDeadlineSeconds=0), "its pod is not deleted"),
        (pod(deleted=True), workflow(activeDeadlineSeconds=0), "the run was terminated"),
        (pod(deleted=True), workflow(shutdown="Terminate"), "the run was terminated"),
        (pod(deleted=True), workflow(shutdown="Stop"), "the run was terminated"),
        (pod(deleted=True), workflow(deleted=True), "its Workflow is deleted"),
        (pod(deleted=True), None, "its Workflow is gone"),
        (pod(deleted=True), workflow(phase="Failed"), "its Workflow has ended (Failed)"),
        (pod(deleted=True, uid="another"), workflow(), "another pod has its name"),
        (None, workflow(), "its pod is not there"),
    ],
)
def test_every_case(own_pod: dict[str, Any] | None, own_workflow: dict[str, Any] | None, words: str) -> None:
    why = why_end(own_pod, own_workflow, UID)
    assert words in why
    assert bool(words) == bool(why)


def test_a_launcher_that_knows_no_uid_of_its_pod_takes_the_name() -> None:
    assert why_end(pod(deleted=True, uid="another"), workflow()) == ""
