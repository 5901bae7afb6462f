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

from components.launch.cluster_api import ABORTED, ClusterAPI
from components.launch.cluster_log import PodLog, write_logs
from components.launch.job import JobEnd, JobRequest, Superseded
from components.launch.pods import Cause, blocked_by, ended_by, exit_of, failed_pods, shown_events, waiting_for
from components.launch.site import Launched
from components.launch.volcano import CONTENT, NOTE, volcano_job
from components.recipe.errors import BadInput

POLL_SECONDS = 5.0
BLOCKED_SECONDS = 300.0
"""A registry or a secret may come back within."""
ENDING_SECONDS = 900.0
"""Pods that were told to end are gone by then, unless their node is."""
SUCCEEDED = "Completed"
ENDED = (SUCCEEDED, "Failed", "Terminated", "Aborted")
NOT_RUNNING = ("", "Pending")
ENDING = ("Terminating", "Aborting", "Restarting", "Completing")


class Cancelled(SystemExit):
    """SIGTERM: the run was terminated."""


def run_on_cluster(request: JobRequest, launched: Launched) -> JobEnd:
    """Runs the job to its end: makes it, or finds the one that is there.

    Raises BadInput where the cluster refuses it, Superseded where another's job of that name had to be waited for.
    """
    request.log_folder.mkdir(parents=True, exist_ok=True)
    api = ClusterAPI(launched.namespace)
    with get_runner(client=api.client) as runner, _aborted_by_sigterm(request, launched, api):
        job = _find_or_make(request, launched, runner, api)
        return _Following(request, launched, api, runner, job).to_the_end()


def _find_or_make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any]:
    """The Job that does what is asked for: one that runs, or that completed, or a new one."""
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
            _wait_for_another(request, api, job)
            raise Superseded(request.name)
        api.delete_job(job)
        time.sleep(min(1.0, POLL_SECONDS))


def _wait_for_another(request: JobRequest, api: ClusterAPI, job: dict[str, Any]) -> None:
    """Another study wants more of the same run, or less: its pods write where ours would.

    Raises BadInput where that one waits for pods longer than ours may.
    """
    uid, shown, since = job["metadata"]["uid"], "", time.monotonic()
    labels = job["metadata"].get("labels", {})
    whose = f"study {labels.get(NOTE + 'study', '?')}, KFP run {labels.get(NOTE + 'kfp-run', 'none')}"
    while job is not None and job["metadata"]["uid"] == uid and phase(job) not in ENDED:
        waits = phase(job) in NOT_RUNNING
        since = since if waits else time.monotonic()
        what = waiting_for(api.pods(request.name), len(job["spec"]["tasks"])) if waits else phase(job)
        if what != shown:
            _say(request.name, f"another job of this name runs ({whose}): waited for; {what}")
            shown = what
        if time.monotonic() - since > request.cluster.pending_seconds:
            raise BadInput(
                f"another job of this name ({whose}) has no pods: {what}", field="cluster", given=request.name,
                allowed=f"its end, or kubectl -n {api.namespace} delete vcjob {request.name}, if nobody follows it",
            )  # fmt: skip
        time.sleep(POLL_SECONDS)
        found = api.job(request.name)
        if found is None:
            return
        job = found
    time.sleep(3 * POLL_SECONDS)  # whoever follows it wants to see how it ended


def _make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any] | None:
    """None where another launcher was first."""
    info = volcano_job(request, launched, runner)
    try:
        api.asked(lambda: runner.schedule(info), is_first=True)
    except ValueError as error:
        if "already exists" not in str(error):
            raise
        return None
    nodes = request.cluster.num_nodes(request.num_processes)
    _say(request.name, f"made in namespace {launched.namespace}: {nodes} pods, queue {request.cluster.queue}")
    return api.job(request.name)


class _Following:
    """What is known of a Job while it is looked at again and again."""

    def __init__(
        self, request: JobRequest, launched: Launched, api: ClusterAPI, runner: Runner, job: dict[str, Any]
    ) -> None:
        self.request, self.launched, self.api, self.runner, self.job = request, launched, api, runner, job
        self.num_pods = len(job["spec"]["tasks"])
        self.pods: dict[str, dict[str, Any]] = {}
        """As they were last seen: those that are gone are asked too."""
        self.shown = ""
        self.retries = retries(job)
        self.waiting_since: float | None = None
        self.blocked_since: float | None = None
        self.ending_since: float | None = None
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
                    if is_own(self.job, self.launched):  # another study may have more patience
                        self.api.abort_job(self.request.name, f"{ABORTED}{given_up.reason}")
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
        now, state = time.monotonic(), phase(self.job)
        self.waiting_since = (self.waiting_since or now) if state in NOT_RUNNING else None
        self.ending_since = (self.ending_since or now) if state in ENDING else None
        line = state or "Pending"
        if state in NOT_RUNNING:
            line += f": {waiting_for(pods, self.num_pods)}"
        elif state in ENDING:
            line += f": waits for the end of {', '.join(self._left(pods)) or 'nothing that is there'}"
        if line != self.shown:
            _say(self.request.name, line)
            self.shown = line

    def _left(self, pods: list[dict[str, Any]]) -> list[str]:
        """Pods that have not ended, with their nodes."""
        left = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
        return [f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')}" for pod in left]

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
            text = f"its pods did not run within {limit:g} s (`cluster.pending_seconds`): {what}"
            return Cause(reason=text, resume=False)
        if self.ending_since and now - self.ending_since > ENDING_SECONDS:
            left = ", ".join(self._left(self.api.pods(self.request.name))) or "none that is there"
            text = (
                f"pods that were told to end have not ({left}): where a node is lost, delete the node, then try again"
            )
            return Cause(reason=text, resume=False)
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
            by_us = str(state.get("message", "")).startswith(ABORTED)
            why = state["message"].removeprefix(ABORTED) if by_us else "by somebody"
            # Another run's launcher gave it up: ours still wants it. Our own run's end is final.
            resume = by_us and not is_own(self.job, self.launched)
            cause = Cause(
                reason=f"its Job was aborted: {why}" if by_us else f"its Job was aborted {why}", resume=resume
            )
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


def is_own(job: dict[str, Any], launched: Launched) -> bool:
    """Whether the Job was made by this run of the pipeline, and not by another that wants the same."""
    return str(job["metadata"].get("labels", {}).get(NOTE + "kfp-run", "")) == launched.kfp_run_id


@contextmanager
def _aborted_by_sigterm(request: JobRequest, launched: Launched, api: ClusterAPI) -> Iterator[None]:
    """A run that is terminated must not go on costing: its own Job is aborted, and the trainer writes a checkpoint."""

    def abort(signal_number: int, frame: FrameType | None) -> None:
        job = api.job(request.name)
        same = job is not None and job["metadata"].get("annotations", {}).get(CONTENT) == request.content_digest
        if job is not None and same and is_own(job, launched):
            api.abort_job(request.name, f"{ABORTED}the run that made it was terminated")
            print(f"terminated: the Job {request.name} is aborted", file=sys.stderr, flush=True)
        else:
            print(f"terminated: the Job {request.name} is another run's, and goes on", file=sys.stderr, flush=True)
        raise Cancelled(128 + signal_number)

    before = signal.signal(signal.SIGTERM, abort)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", flush=True)
