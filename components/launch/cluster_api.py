"""What is asked of a cluster's API server: Jobs, pods, events. A server that is away for a while is waited for."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential
from urllib3.exceptions import HTTPError

from components.recipe.errors import BadInput

GROUP, VERSION, JOBS = "batch.volcano.sh", "v1alpha1", "jobs"
AWAY_SECONDS = 6 * 3600.0
"""Training goes on without the API server, and so does its launcher."""
TIMEOUT_SECONDS = 30


class ClusterAPI:
    """The part of the API that a launcher needs, in one namespace. Raises BadInput where it is not allowed."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.client = api_client()
        self._custom = client.CustomObjectsApi(self.client)
        self._core = client.CoreV1Api(self.client)

    def job(self, name: str) -> dict[str, Any] | None:
        """The Volcano Job, or None."""
        return self._asked(
            lambda: self._custom.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, JOBS, name, _request_timeout=TIMEOUT_SECONDS
            )
        )

    def delete_job(self, job: dict[str, Any]) -> None:
        """This one, and not another one that has its name by now; its pods go with it."""
        options = client.V1DeleteOptions(
            preconditions=client.V1Preconditions(uid=job["metadata"]["uid"]), propagation_policy="Background"
        )
        try:
            self._asked(
                lambda: self._custom.delete_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, JOBS, job["metadata"]["name"], body=options,
                    _request_timeout=TIMEOUT_SECONDS,
                )
            )  # fmt: skip
        except ApiException as error:
            if error.status != 409:  # another launcher was first
                raise

    def pods(self, job_name: str) -> list[dict[str, Any]]:
        """Of the Job, as the API sends them, by name."""
        return self.pods_by_label(f"volcano.sh/job-name={job_name}")

    def pods_by_label(self, selector: str) -> list[dict[str, Any]]:
        found = self._asked(
            lambda: self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=TIMEOUT_SECONDS
            )
        )
        pods = [self.client.sanitize_for_serialization(pod) for pod in found.items] if found else []
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def events(self, job_name: str) -> list[dict[str, Any]]:
        """Of the Job, its PodGroup and its pods; none where events may not be read."""
        try:
            found = self._asked(
                lambda: self._core.list_namespaced_event(self.namespace, _request_timeout=TIMEOUT_SECONDS)
            )
        except BadInput:
            return []
        events = [self.client.sanitize_for_serialization(event) for event in found.items] if found else []
        return [event for event in events if str(event["involvedObject"].get("name", "")).startswith(job_name)]

    def pod_log(self, pod: str, tail_lines: int) -> str:
        """The last lines; nothing where there are none to be had."""
        try:
            return str(
                self._core.read_namespaced_pod_log(
                    pod, self.namespace, tail_lines=tail_lines, _request_timeout=TIMEOUT_SECONDS
                )
            )
        except (ApiException, HTTPError):
            return ""

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """The answer; None for 404. Asked again while the server is away."""
        retrying = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_delay(AWAY_SECONDS), before_sleep=_say_once,
            wait=wait_exponential(1, max=60), reraise=True,
        )  # fmt: skip
        for attempt in retrying:
            with attempt:
                try:
                    with self.explained():
                        return ask()
                except ApiException as error:
                    if error.status == 404:
                        return None
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the server refuses, in words. Raises BadInput."""
        try:
            yield
        except ApiException as error:
            if error.status in (401, 403):
                raise BadInput(
                    f"the cluster refuses this ({_message(error)})", field="permissions",
                    allowed=f"a service account with the launcher's role in namespace {self.namespace}",
                ) from None  # fmt: skip
            if error.status in (400, 422):
                raise BadInput(f"the cluster does not take the job ({_message(error)})", field="cluster") from None
            if error.status == 404 and "could not find the requested resource" in _body(error):
                raise BadInput(
                    "the cluster knows no Volcano Jobs", field=f"{JOBS}.{GROUP}", allowed="Volcano 1.15, installed"
                ) from None
            raise


def api_client() -> client.ApiClient:
    """By the pod's service account, or the kubeconfig. Raises BadInput where there is neither."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        try:
            # The library reads the variable when it is imported.
            config.load_kube_config(os.environ.get("KUBECONFIG") or None, client_configuration=configuration)
        except config.ConfigException as error:
            raise BadInput(
                f"no cluster is known ({error})",
                field="KUBECONFIG",
                allowed="a pod with a service account, or a kubeconfig",
            ) from None
    return client.ApiClient(configuration)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiException):
        return error.status == 429 or error.status >= 500 or error.status == 0
    return isinstance(error, HTTPError | OSError)


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 3:
        print("the API server does not answer: asked again", file=sys.stderr, flush=True)


def _body(error: ApiException) -> str:
    return error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(_body(error))["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
