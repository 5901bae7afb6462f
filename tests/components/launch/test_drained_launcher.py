"""SIGTERM at a launcher against a real API server: its Job goes on where only its pod is taken away, as in a drain."""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from kubernetes import client

from tests.components.launch.controller import Controller, wait_until
from tests.components.launch.launcher_process import Launch
from tests.kube import Kube

pytestmark = pytest.mark.cluster
GROUP, VERSION, WORKFLOWS = "argoproj.io", "v1alpha1", "workflows"
POD, WORKFLOW = "study-x-system-container-impl-1234567890", "study-x"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{WORKFLOWS}.{GROUP}"},
    "spec": {
        "group": GROUP, "scope": "Namespaced",
        "names": {"plural": WORKFLOWS, "singular": "workflow", "kind": "Workflow", "listKind": "WorkflowList"},
        "versions": [{"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": OPEN}}],
    },
}  # fmt: skip


class Run:
    """What KFP and Argo make of a run: a Workflow, and the pod of a task, which stays a while once it is deleted."""

    def __init__(self, api: Any, namespace: str) -> None:
        self.core, self.custom, self.namespace = client.CoreV1Api(api), client.CustomObjectsApi(api), namespace
        body = {
            "apiVersion": f"{GROUP}/{VERSION}", "kind": "Workflow", "metadata": {"name": WORKFLOW}, "spec": {},
            "status": {"phase": "Running"},
        }  # fmt: skip
        self.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, WORKFLOWS, body)
        metadata = {"name": POD, "labels": {"workflows.argoproj.io/workflow": WORKFLOW}}
        # No kubelet ends it: on a node, it stays for its grace period.
        spec = {
            "nodeName": "node-7",
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "pipeline"}],
        }
        made = self.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})
        self.environment = {"KFP_POD_NAME": POD, "KFP_POD_UID": made.metadata.uid}

    def delete_pod(self) -> None:
        self.core.delete_namespaced_pod(POD, self.namespace, grace_period_seconds=600)

    def terminate(self) -> None:
        """As KFP does."""
        self._patch({"spec": {"activeDeadlineSeconds": 0}})

    def stop(self) -> None:
        """As Argo does."""
        self._patch({"spec": {"shutdown": "Stop"}})

    def delete(self) -> None:
        self.custom.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, WORKFLOWS, WORKFLOW)

    def delete_in_foreground(self) -> None:
        """Marked, and there until its pods are gone."""
        self._patch({"metadata": {"finalizers": ["example.com/waits"]}})
        self.delete()

    def _patch(self, body: dict[str, Any]) -> None:
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, self.namespace, WORKFLOWS, WORKFLOW, body)


@pytest.fixture(scope="module")
def workflows(kube: Kube) -> Iterator[None]:
    """The definition of Workflows, with an open schema."""
    extensions, custom = client.ApiextensionsV1Api(kube.client), client.CustomObjectsApi(kube.client)
    extensions.create_custom_resource_definition(DEFINITION)

    def is_served() -> bool:
        try:
            custom.list_cluster_custom_object(GROUP, VERSION, WORKFLOWS)
            return True
        except client.ApiException:
            return False

    wait_until(is_served)
    yield
    extensions.delete_custom_resource_definition(f"{WORKFLOWS}.{GROUP}")


@pytest.fixture
def run(kube: Kube, controller: Controller, workflows: None) -> Iterator[Run]:
    made = Run(kube.client, controller.namespace)
    yield made
    with suppress(client.ApiException):  # it may be gone
        made._patch({"metadata": {"finalizers": []}})


def ends(controller: Controller, launch: Launch, run: Run, before: list[Callable[[Run], None]]) -> str:
    """The Job's phase after a launcher got SIGTERM once that had happened."""
    launcher = launch(environment=run.environment)
    controller.phase("Running")
    launcher.wait_for(": Running")
    for happen in before:
        happen(run)
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(timeout=30) == 128 + signal.SIGTERM, launcher.said()
    job = controller.job()
    assert job is not None
    return str(job["status"]["state"]["phase"])


def test_a_drained_launcher_leaves_its_job_and_the_next_one_follows_it(
    controller: Controller, launch: Launch, run: Run
) -> None:
    assert ends(controller, launch, run, [Run.delete_pod]) == "Running"
    uid = controller.wait_for_job()["metadata"]["uid"]
    again = launch()
    again.wait_for("is there already (Running): followed from here")
    controller.phase("Completed")
    assert again.end()["succeeded"]
    assert controller.wait_for_job()["metadata"]["uid"] == uid


@pytest.mark.parametrize(
    "before",
    [
        [], [Run.terminate], [Run.stop], [Run.terminate, Run.delete_pod], [Run.stop, Run.delete_pod],
        [Run.delete, Run.delete_pod], [Run.delete_in_foreground, Run.delete_pod],
    ],
    ids=lambda before: "-".join(one.__name__ for one in before) or "signalled",
)  # fmt: skip
def test_a_run_that_is_over_takes_its_job_along(
    controller: Controller, launch: Launch, run: Run, before: list[Callable[[Run], None]]
) -> None:
    assert ends(controller, launch, run, before) == "Aborted"


def test_another_pod_of_the_name_is_not_the_launcher_s(controller: Controller, launch: Launch, run: Run) -> None:
    run.environment["KFP_POD_UID"] = "another"
    assert ends(controller, launch, run, [Run.delete_pod]) == "Aborted"


def test_what_may_not_be_read_ends_the_job(kube: Kube, controller: Controller, launch: Launch, run: Run) -> None:
    """A launcher whose role lacks `get` on Workflows."""
    client.CoreV1Api(kube.client).delete_namespaced_pod(POD, run.namespace, grace_period_seconds=0)
    assert ends(controller, launch, run, []) == "Aborted"
