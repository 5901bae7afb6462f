"""Whether a launcher that gets SIGTERM ends its Job: always, except where only its own pod is taken away.

A drained node deletes the pod: the Job trains on, and the next launcher finds it by its name and follows it, or finds
what it made. A run that is terminated keeps its pods: KFP sets the Workflow's `activeDeadlineSeconds` to 0
(backend/src/common/util/execution_spec.go:299 of 2.17.0), Argo's own stop and terminate set `shutdown`
(workflow/util/util.go:1429 of 4.0.5), and Argo signals the containers (workflow/controller/exec_control.go). A run or a
Workflow that is deleted takes its pods along, through garbage collection: the Workflow is marked, or gone already.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any

from kubernetes import client
from kubernetes.client.rest import ApiException

from switchpoint.components.launch.cluster_api import or_none
from switchpoint.components.launch.pods import Object

POD_NAME_VARIABLE, POD_UID_VARIABLE = "KFP_POD_NAME", "KFP_POD_UID"
"""KFP gives both to every task (backend/src/v2/compiler/argocompiler/common.go:42). A hostname is cut at 63 letters."""
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
GROUP, VERSION, WORKFLOWS = "argoproj.io", "v1alpha1", "workflows"
READ_SECONDS = 3.0
"""The time limit for both reads. SIGKILL may come within a second: KFP's launcher dies of the same signal, and Argo's
emissary, the container's first process, checks for that once a second
(workflow/executor/osspecific/signal_linux.go:31)."""


def why_end(pod: Object | None, workflow: Object | None, pod_uid: str = "") -> str:
    """Return why the Job ends with its launcher, or nothing if it is left running.

    `pod`, `workflow`: the launcher's own, as the API sends them, None where there is none. `pod_uid`: the uid that the
    launcher knows of its pod; empty if it knows none.
    """
    if pod is None:
        return "its pod is not there"
    if pod_uid and pod["metadata"].get("uid") != pod_uid:
        return "another pod has its name by now"
    if not pod["metadata"].get("deletionTimestamp"):
        return "its pod is not deleted, so the run was terminated"
    if workflow is None:
        return "its Workflow is gone"
    if workflow["metadata"].get("deletionTimestamp"):
        return "its Workflow is deleted"
    spec = workflow.get("spec") or {}
    if spec.get("shutdown") or spec.get("activeDeadlineSeconds") == 0:
        return "the run was terminated"
    phase = (workflow.get("status") or {}).get("phase", "")
    if phase in ("Succeeded", "Failed", "Error"):
        return f"its Workflow has ended ({phase})"
    return ""


def read_why_end(api: client.ApiClient, namespace: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read the launcher's own pod and Workflow in `namespace`, and decide. What cannot be read ends the Job.

    In a thread of its own: the library tries requests that fail several times, and the pod has little time left.
    """
    name = environment.get(POD_NAME_VARIABLE)
    if not name:
        return "it runs in no pod of Kubeflow Pipelines"
    found = [f"its pod and Workflow were not read within {READ_SECONDS:g} s"]

    def read() -> None:
        try:
            pod = _pod(api, namespace, name)
            workflow = _workflow(api, namespace, pod) if pod else None
            found.append(why_end(pod, workflow, environment.get(POD_UID_VARIABLE, "")))
        except Exception as error:  # whatever the error: it is not known whether the run continues
            said = f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
            found.append(f"its pod and Workflow cannot be read ({said})")

    reader = threading.Thread(target=read, name="own-pod", daemon=True)
    reader.start()
    reader.join(READ_SECONDS)
    return found[-1]


def _pod(api: client.ApiClient, namespace: str, name: str) -> dict[str, Any] | None:
    core = client.CoreV1Api(api)
    found = or_none(lambda: core.read_namespaced_pod(name, namespace, _request_timeout=READ_SECONDS))
    return api.sanitize_for_serialization(found) if found else None


def _workflow(api: client.ApiClient, namespace: str, pod: Object) -> dict[str, Any] | None:
    name = (pod["metadata"].get("labels") or {}).get(WORKFLOW_LABEL)
    if not name:
        return None
    custom = client.CustomObjectsApi(api)
    return or_none(
        lambda: custom.get_namespaced_custom_object(
            GROUP, VERSION, namespace, WORKFLOWS, name, _request_timeout=READ_SECONDS
        )
    )
