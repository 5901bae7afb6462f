"""A job on a cluster: TorchX's Kubernetes scheduler makes a Volcano Job, which is followed to its end.

Idempotent: the Job's name is the run's. A launcher that comes back finds the Job and goes on following it; of two at
once, one makes it and both follow.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torchx.runner import Runner, get_runner

from components.launch.cluster_api import ClusterAPI
from components.launch.cluster_log import PodLog, write_logs
from components.launch.job import JobEnd, JobRequest
from components.launch.pods import Cause, blocked_by, ended_by, exit_of, failed_pods, shown_events, waiting_for
from components.launch.site import Launched
from components.launch.volcano import CONTENT, volcano_job

POLL_SECONDS = 5.0
BLOCKED_SECONDS = 300.0
"""A registry or a secret may come back within."""
SUCCEEDED = "Completed"
ENDED = (SUCCEEDED, "Failed", "Terminated", "Aborted")
NOT_RUNNING = ("", "Pending")


class Cancelled(SystemExit):
    """SIGTERM: the run was terminated."""


def run_on_cluster(request: JobRequest, launched: Launched) -> JobEnd:
    """Runs the job to its end: makes it, or finds the one that is there. Raises BadInput where it is refused."""
    request.log_folder.mkdir(parents=True, exist_ok=True)
    api = ClusterAPI(launched.namespace)
    with get_runner(client=api.client) as runner:
        job = _find_or_make(request, launched, runner, api)
        with _cancelled_by_sigterm(runner, f"{launched.namespace}:{request.name}"):
            return _Following(request, api, runner, job).to_the_end()


def _find_or_make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any]:
    """The Job that does what is asked for: one that runs, or that completed, or a new one."""
    waited = False
    while True:
        job = api.job(request.name)
        if job is None:
            job = _make(request, launched, runner, api)
            if job is not None:
                return job
            continue
        same = job["metadata"].get("annotations", {}).get(CONTENT) == request.content_digest
        if same and phase(job) not in ENDED:
            _say(request.name, f"is there already ({phase(job) or 'just made'}): followed from here")
            return job
        if same and phase(job) == SUCCEEDED and request.is_done():
            return job
        if phase(job) not in ENDED:
            # Another study wants more of the same run, or less: its pods write where ours would.
            if not waited:
                _say(request.name, "another job of this name runs: waited for")
            waited = True
            time.sleep(POLL_SECONDS)
            continue
        if waited:
            time.sleep(3 * POLL_SECONDS)  # whoever follows it wants to see how it ended
            waited = False
            continue
        api.delete_job(job)
        time.sleep(min(1.0, POLL_SECONDS))


def _make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any] | None:
    """None where another launcher was first."""
    try:
        with api.explained():
            runner.schedule(volcano_job(request, launched, runner))
    except ValueError as error:
        if "already exists" not in str(error):
            raise
        return None
    nodes = request.cluster.num_nodes(request.num_processes)
    _say(request.name, f"made in namespace {launched.namespace}: {nodes} pods, queue {request.cluster.queue}")
    return api.job(request.name)


class _Following:
    """What is known of a Job while it is looked at again and again."""

    def __init__(self, request: JobRequest, api: ClusterAPI, runner: Runner, job: dict[str, Any]) -> None:
        self.request, self.api, self.runner, self.job = request, api, runner, job
        self.num_pods = len(job["spec"]["tasks"])
        self.pods: dict[str, dict[str, Any]] = {}
        """As they were last seen: those that are gone are asked too."""
        self.shown = ""
        self.retries = retries(job)
        self.waiting_since: float | None = None
        self.blocked_since: float | None = None
        self.handle = f"kubernetes://torchx/{api.namespace}:{request.name}"

    def to_the_end(self) -> JobEnd:
        with PodLog(
            self.runner, self.handle, self.request.role, self.request.log_folder / f"{self.request.name}.log"
        ) as log:
            while True:
                found = self.api.job(self.request.name)
                if found is None or found["metadata"]["uid"] != self.job["metadata"]["uid"]:
                    return self._end(Cause(reason="its Job was deleted from the cluster", resume=True), log.file)
                self.job = found
                self._look()
                if phase(found) in ENDED:
                    return self._end(None, log.file)
                given_up = self._given_up()
                if given_up is not None:
                    self.runner.cancel(self.handle)
                    return self._end(given_up, log.file)
                time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        """Takes in the pods, and says what has changed."""
        pods = self.api.pods(self.request.name)
        if retries(self.job) > self.retries:
            cause = ended_by([*self.pods.values(), *pods], self.api.events(self.request.name))
            _say(self.request.name, f"{cause.reason if cause else 'its pods were lost'}; Volcano starts them again")
            self.retries, self.pods = retries(self.job), {}
        self.pods |= {pod["metadata"]["uid"]: pod for pod in pods}
        running = phase(self.job) == "Running"
        if running:
            self.waiting_since = None
        elif phase(self.job) in (*NOT_RUNNING, "Restarting") and self.waiting_since is None:
            self.waiting_since = time.monotonic()
        line = phase(self.job) or "Pending"
        if not running and phase(self.job) not in ENDED:
            line += f": {waiting_for(pods, self.num_pods)}"
        if line != self.shown:
            _say(self.request.name, line)
            self.shown = line

    def _given_up(self) -> Cause | None:
        """What will not pass, or has not for too long."""
        pods = [pod for pod in self.pods.values() if pod.get("status", {}).get("phase") == "Pending"]
        blocked = blocked_by(pods)
        now = time.monotonic()
        self.blocked_since = (self.blocked_since or now) if blocked else None
        if blocked and self.blocked_since and (blocked.at_once or now - self.blocked_since > BLOCKED_SECONDS):
            return blocked
        limit = self.request.cluster.pending_seconds
        if self.waiting_since and now - self.waiting_since > limit:
            what = waiting_for(pods, self.num_pods)
            return Cause(
                reason=f"its pods did not run within {limit:g} s (`cluster.pending_seconds`): {what}", resume=False
            )
        return None

    def _end(self, cause: Cause | None, log: Path) -> JobEnd:
        if cause is None and phase(self.job) == SUCCEEDED:
            return JobEnd(succeeded=True, reason="", log=log)
        pods = list(self.pods.values())
        events = self.api.events(self.request.name)
        state = self.job.get("status", {}).get("state", {})
        if cause is None:
            cause = ended_by(pods, events)
        if cause is None and phase(self.job) == "Aborted":
            cause = Cause(reason="its Job was aborted by somebody", resume=False)
        said = f" ({state['message']})" if state.get("message") else ""
        reason = cause.reason if cause else exit_of(pods) or f"its Job ended as {phase(self.job)}{said}"
        for line in shown_events(events):
            _say(self.request.name, f"event: {line}")
        written = write_logs(self.api, failed_pods(pods), self.request.log_folder)
        return JobEnd(
            succeeded=False, reason=f"{self.request.name}: {reason}", log=written or log,
            cause=cause.reason if cause else "", may_resume=cause.resume if cause else True,
        )  # fmt: skip


def phase(job: dict[str, Any]) -> str:
    return str(job.get("status", {}).get("state", {}).get("phase", ""))


def retries(job: dict[str, Any]) -> int:
    return int(job.get("status", {}).get("retryCount", 0))


@contextmanager
def _cancelled_by_sigterm(runner: Runner, app_id: str) -> Iterator[None]:
    """A run that is terminated must not go on costing: its Job is aborted, and the trainer writes a checkpoint."""

    def cancel(signal_number: int, frame: FrameType | None) -> None:
        print(f"terminated: {app_id} is aborted", file=sys.stderr, flush=True)
        try:
            runner.cancel(f"kubernetes://torchx/{app_id}")
        finally:
            raise Cancelled(128 + signal_number)

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", flush=True)
