"""Requests to a cluster's API server: Jobs, pods, events. A server that is away for a while is polled until it
answers.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential
from urllib3.exceptions import HTTPError

from switchpoint.components.recipe.errors import BadInput

GROUP, VERSION, JOBS = "batch.volcano.sh", "v1alpha1", "jobs"
AWAY_SECONDS = 6 * 3600.0
"""How long a launcher polls an API server that does not answer: training continues meanwhile."""
COMMAND_AWAY_SECONDS = 20.0
"""How long a command at a terminal waits for the API server."""
FIRST_SECONDS = 300.0
"""How long a launcher waits for a server that has never answered, and for a webhook that refuses every Job: nothing is
known to work yet."""
TIMEOUT_SECONDS = 30.0
"""The time limit of every answer, and of every part of one."""
LOG_SECONDS = 600.0
"""The time without a line after which a log that is followed is opened again."""
WARMING_SECONDS = 600.0
"""How long a server that has answered before may refuse: API servers do that while they start."""
SUCCEEDED = "Completed"
ENDED = (SUCCEEDED, "Failed", "Terminated", "Aborted")
ABORTED = re.compile(r"by Switchpoint, run (\S*): (.*)", re.DOTALL)
"""The message of a Job that we aborted: by which run, and why. A launcher of any other run makes the Job again."""


class ClusterAPI:
    """The part of the API that a launcher needs, in one namespace. Raise BadInput if a request is not allowed."""

    def __init__(self, namespace: str, away_seconds: float = AWAY_SECONDS) -> None:
        """`away_seconds`: how long a server that does not answer is polled; a person does not wait for hours."""
        self.namespace, self._away_seconds = namespace, away_seconds
        self.client = api_client()
        self._custom = client.CustomObjectsApi(self.client)
        self._core = client.CoreV1Api(self.client)
        self.over: BaseException | None = None
        """Once set, every request raises it: one raised by a signal's handler may be lost, since Python drops what is
        raised while it frees a response."""
        self._refused_since: float | None = None
        self._has_answered = self._may_warm = False

    def job(self, name: str) -> dict[str, Any] | None:
        """Return the Volcano Job, or None if there is none."""
        return self.asked(lambda: self._custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, JOBS, name))

    def delete_job(self, job: dict[str, Any]) -> None:
        """Delete this very Job, and not another one that has its name by now. It stays, marked, until what it owns is
        gone.

        In the foreground, since a Job that is made again at once would take over what the old one owns (the ConfigMap
        of Volcano's plugin `svc`), which the garbage collector then takes away from it: its pods never start (seen).
        """
        options = client.V1DeleteOptions(
            preconditions=client.V1Preconditions(uid=job["metadata"]["uid"]), propagation_policy="Foreground"
        )
        try:
            self.asked(
                lambda: self._custom.delete_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, JOBS, job["metadata"]["name"], body=options)
            )  # fmt: skip
        except ApiException as error:
            if error.status != 409:  # another launcher was first
                raise

    def abort_job(self, name: str, run_id: str, why: str) -> None:
        """End its pods, keep the Job and its logs; do nothing if it is over.

        The run that aborts it and the reason are written to its status.
        """
        while True:
            job = self.job(name)
            if job is None or phase(job) in ENDED:
                return
            job.setdefault("status", {})["state"] = {
                "phase": "Aborted", "message": f"by Switchpoint, run {run_id}: {why}",
            }  # fmt: skip
            try:
                self.asked(
                    lambda job=job: self._custom.replace_namespaced_custom_object_status(  # type: ignore[misc]
                        GROUP, VERSION, self.namespace, JOBS, name, job
                    )
                )
                return
            except ApiException as error:
                if error.status != 409:  # Volcano has written its status in between
                    raise

    def abort_jobs(self, selector: str, run_id: str, why: str) -> list[str]:
        """Abort the Jobs with a label that are not over; return their names."""
        found = self.asked(
            lambda: self._custom.list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, JOBS, label_selector=selector
            )
        )
        jobs = (found or {"items": []})["items"]
        going = [job for job in jobs if phase(job) not in ENDED]
        names = [str(job["metadata"]["name"]) for job in going]
        for name in names:
            self.abort_job(name, run_id, why)
        return names

    def pods(self, job_name: str) -> list[dict[str, Any]]:
        """Return the Job's pods, as the API sends them, by name."""
        return self.pods_by_label(f"volcano.sh/job-name={job_name}")

    def pods_by_label(self, selector: str) -> list[dict[str, Any]]:
        found = self.asked(lambda: self._core.list_namespaced_pod(self.namespace, label_selector=selector))
        pods = [self.client.sanitize_for_serialization(pod) for pod in found.items] if found else []
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def events(self, job_name: str) -> list[dict[str, Any]]:
        """Return the events of the Job, its PodGroup and its pods; none if events may not be read."""
        return [one for one in self._events() if str(one["involvedObject"].get("name", "")).startswith(job_name)]

    def _events(self, selector: str | None = None) -> list[dict[str, Any]]:
        given = {"field_selector": selector} if selector else {}
        try:
            found = self.asked(lambda: self._core.list_namespaced_event(self.namespace, **given))
        except BadInput:
            return []
        return [self.client.sanitize_for_serialization(event) for event in found.items] if found else []

    def events_of(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events of this very Job, and of no other Job that had its name; none if events may not be read."""
        return self._events(f"involvedObject.uid={job['metadata']['uid']}")

    def pod_log(self, pod: str, tail_lines: int) -> str:
        """Return the last lines of a pod's log; nothing if there are none."""
        try:
            return str(self._core.read_namespaced_pod_log(pod, self.namespace, tail_lines=tail_lines))
        except (ApiException, HTTPError):
            return ""

    def asked(self, ask: Callable[[], Any], *, is_first: bool = False) -> Any:
        """Return the answer; None for 404. Retry while the server is away. Raise BadInput for what it refuses.

        `is_first`: nothing of the kind was allowed before, so a refusal is final.
        """
        if self.over:
            raise self.over
        self._may_warm = self._has_answered and not is_first
        retrying = Retrying(
            retry=retry_if_exception(self._may_pass), stop=self._is_enough, before_sleep=_say_once,
            wait=wait_exponential(1, max=60), reraise=True,
        )  # fmt: skip
        with self.explained():
            for attempt in retrying:
                with attempt:
                    try:
                        answer = ask()
                    except ApiException as error:
                        if error.status != 404 or "could not find the requested resource" in _body(error):
                            raise
                        answer = None
                    self._has_answered, self._refused_since = True, None
                    return answer
        raise AssertionError("unreachable")

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, ApiException) and error.status in (401, 403):
            self._refused_since = self._refused_since or time.monotonic()
            return self._may_warm and time.monotonic() - self._refused_since < WARMING_SECONDS
        if isinstance(error, ApiException):
            return error.status == 429 or error.status >= 500 or error.status == 0
        return isinstance(error, HTTPError | OSError)

    def _is_enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        is_new = not self._has_answered or (isinstance(error, ApiException) and "webhook" in _body(error))
        limit = min(FIRST_SECONDS, self._away_seconds) if is_new else self._away_seconds
        return (state.seconds_since_start or 0.0) >= limit

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise BadInput, in plain words, for what the server refuses."""
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
            if "webhook" in _body(error):
                raise BadInput(f"the cluster takes no job ({_message(error)})", field="cluster") from None
            raise
        except (HTTPError, OSError) as error:
            if self._has_answered:
                raise
            raise BadInput(
                f"the API server does not answer ({error})", field="cluster", given=self.client.configuration.host
            ) from None


class _ImpatientClient(client.ApiClient):
    """A client with time limits: the library's own client, and TorchX with it, would wait for an answer for ever."""

    def request(self, method: str, url: str, *args: Any, _request_timeout: Any = None, **given: Any) -> Any:
        is_followed = not given.get("_preload_content", True)
        usual = (TIMEOUT_SECONDS, LOG_SECONDS if is_followed else TIMEOUT_SECONDS)
        return super().request(method, url, *args, _request_timeout=_request_timeout or usual, **given)


def api_client() -> client.ApiClient:
    """Return a client with the pod's service account, or the kubeconfig. Raise BadInput if there is neither."""
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
    return _ImpatientClient(configuration)


def or_none(ask: Callable[[], Any]) -> Any:
    """Return the answer, or None for what is not there, after one request. Raise ApiException."""
    try:
        return ask()
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def phase(job: Mapping[str, Any]) -> str:
    """Return the phase of a Volcano Job; empty if Volcano has not processed it yet."""
    return str(job.get("status", {}).get("state", {}).get("phase", ""))


def aborted_by(job: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return which run of the pipeline aborted the Job, and why; None where none of ours did."""
    found = ABORTED.fullmatch(str(job.get("status", {}).get("state", {}).get("message", "")))
    return (found[1], found[2]) if found else None


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 3:
        error = state.outcome.exception() if state.outcome else None
        said = _message(error) if isinstance(error, ApiException) else f"{type(error).__name__}: {error}"
        print(f"the API server does not answer ({said}): asked again", file=sys.stderr, flush=True)


def _body(error: ApiException) -> str:
    return error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(_body(error))["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
