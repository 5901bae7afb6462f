"""A test plays Volcano's controller and a kubelet on a real API server: pods are made, states are written."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes import client

GROUP, VERSION, JOBS = "batch.volcano.sh", "v1alpha1", "jobs"


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def creation_failed(pod: str, *told: str) -> str:
    """The message of Volcano's event about pods that the API server refused, which prints the error as Go does."""
    errors = [
        f'failed to create pod {pod}, err: &errors.StatusError{{ErrStatus:v1.Status{{TypeMeta:v1.TypeMeta{{Kind:"", '
        f'APIVersion:""}}, ListMeta:v1.ListMeta{{SelfLink:"", ResourceVersion:"", Continue:"", '
        f'RemainingItemCount:(*int64)(nil)}}, Status:"Failure", Message:{json.dumps(one)}, Reason:"Forbidden", '
        f"Details:(*v1.StatusDetails)(0xc00088a000), Code:403}}}}"
        for one in told
    ]
    return f"Error creating pods: [{' '.join(errors)}]"


def _ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Controller:
    api: Any
    namespace: str
    name: str

    def job(self) -> dict[str, Any] | None:
        """The Job, or None. Plays the garbage collector, which does not run here, on a Job that is deleted in the
        foreground: what it owns goes, and then the Job itself.
        """
        try:
            found: dict[str, Any] = client.CustomObjectsApi(self.api).get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, JOBS, self.name
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        if not found["metadata"].get("deletionTimestamp"):
            return found
        self.delete_pods()
        self.let_go(found)
        return None

    def let_go(self, job: dict[str, Any]) -> None:
        """Take the mark of a deletion in the foreground away, by which the Job goes."""
        job["metadata"]["finalizers"] = []
        with suppress(client.ApiException):
            client.CustomObjectsApi(self.api).replace_namespaced_custom_object(
                GROUP, VERSION, self.namespace, JOBS, self.name, job
            )

    def wait_for_job(self, other_than: str = "") -> dict[str, Any]:
        """The Job, once there is one; another one than that with the uid `other_than`."""

        def found() -> dict[str, Any] | None:
            job = self.job()
            return job if job and job["metadata"]["uid"] != other_than else None

        job: dict[str, Any] = wait_until(found)
        return job

    def phase(self, phase: str, retries: int = 0, message: str = "") -> None:
        """Writes the Job's status, also where the launcher has written it since it was read."""
        state = {"phase": phase, "lastTransitionTime": _ago(0)}
        state |= {"message": message} if message else {}

        def written() -> bool:
            job = self.wait_for_job()
            job["status"] = {"state": state, "retryCount": retries, "minAvailable": job["spec"]["minAvailable"]}
            try:
                client.CustomObjectsApi(self.api).replace_namespaced_custom_object_status(
                    GROUP, VERSION, self.namespace, JOBS, self.name, job
                )
            except client.ApiException as error:
                if error.status != 409:
                    raise
                return False
            return True

        wait_until(written)

    def make_pods(self, node: str | None = None) -> list[str]:
        """As Volcano does, one for each task; placed on `node` at once."""
        made = []
        for task in self.wait_for_job()["spec"]["tasks"]:
            template, name = task["template"], f"{self.name}-{task['name']}-0"
            labels = template["metadata"]["labels"] | {"volcano.sh/job-name": self.name}
            metadata = {"name": name, "labels": labels, "annotations": template["metadata"]["annotations"]}
            spec = template["spec"] | ({"nodeName": node} if node else {})
            body = {"metadata": metadata, "spec": spec}
            client.CoreV1Api(self.api).create_namespaced_pod(self.namespace, body)
            made.append(name)
        return made

    def pod_status(self, name: str, phase: str, **status: Any) -> None:
        client.CoreV1Api(self.api).patch_namespaced_pod_status(
            name, self.namespace, {"status": {"phase": phase, **status}}
        )

    def container(self, name: str, phase: str, state: dict[str, Any]) -> None:
        """The state of its one container."""
        container = name.removeprefix(f"{self.name}-").removesuffix("-0")
        status = {"name": container, "image": "registry/trainer:1", "imageID": "", "ready": False, "restartCount": 0}
        self.pod_status(name, phase, containerStatuses=[status | {"state": state}])

    def refuse_pods(self, *told: str) -> None:
        """Writes Volcano's event about pods that the API server refused with these messages."""
        uid = self.wait_for_job()["metadata"]["uid"]
        self.event("FailedCreate", creation_failed(f"{self.name}-train-0-0", *told), uid=uid)

    def end(self) -> None:
        """As TerminateJob does: pods that have not ended are deleted, then the Job is over."""
        self.phase("Terminating")
        self.phase("Terminated")

    def take_away(self, pod: str, reason: str = "PreemptionByScheduler") -> None:
        """Take a healthy pod away, as a kubelet since 1.27 and Volcano do.

        The API server here is older and there is no kubelet, so this writes what such a kubelet writes before the pod
        is deleted: the phase Failed, beside the condition DisruptionTarget of whoever takes it away. For Volcano the
        phase alone is the event PodFailed, and the Job's policy ends the Job.
        """
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        self.pod_status(pod, "Failed", conditions=[condition])
        self.end()

    def delete_pods(self) -> None:
        client.CoreV1Api(self.api).delete_collection_namespaced_pod(
            self.namespace, label_selector=f"volcano.sh/job-name={self.name}", grace_period_seconds=0
        )

    def delete_slowly(self, pods: list[str]) -> None:
        """They stay, marked for deletion, until their grace period is over and a kubelet says so: no kubelet does."""
        for pod in pods:
            client.CoreV1Api(self.api).delete_namespaced_pod(pod, self.namespace, grace_period_seconds=600)

    def delete_job(self) -> None:
        client.CustomObjectsApi(self.api).delete_namespaced_custom_object(
            GROUP, VERSION, self.namespace, JOBS, self.name
        )

    def event(self, reason: str, message: str, kind: str = "Warning", seconds_ago: float = 0, **involved: str) -> None:
        involved = {"kind": "Job", "name": self.name, "namespace": self.namespace} | involved
        body = {
            "metadata": {"generateName": f"{self.name}."}, "involvedObject": involved, "reason": reason,
            "message": message, "type": kind, "lastTimestamp": _ago(seconds_ago),
        }  # fmt: skip
        client.CoreV1Api(self.api).create_namespaced_event(self.namespace, body)
