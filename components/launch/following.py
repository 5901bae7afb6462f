"""Poll a Volcano Job until it ends, or cannot start."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from torchx.runner import Runner

from switchpoint.components.launch.cluster_api import ENDED, SUCCEEDED, ClusterAPI, aborted_by, phase
from switchpoint.components.launch.cluster_log import PodLog, write_logs
from switchpoint.components.launch.job import JobEnd, JobRequest
from switchpoint.components.launch.pods import (
    Cause,
    Object,
    began,
    blocked_by,
    ended_by,
    events_since,
    exit_of,
    failed_pods,
    not_ended,
    shown_events,
    waiting_for,
)
from switchpoint.components.launch.refusal import Refusal, refused_by
from switchpoint.components.launch.site import Launched
from switchpoint.components.launch.volcano import NOTE, label_value

POLL_SECONDS = 5.0
BLOCKED_SECONDS = 300.0
"""How long a registry or a secret that a pod needs may be missing."""
GONE_SECONDS = 15.0
"""How long the garbage collector may take to remove what a Job owned, after somebody has deleted the Job."""
ENDING_SECONDS = 900.0
"""How long pods may take to end once they were told to: longer only if their node is gone."""
NOT_RUNNING = ("", "Pending")
ENDING = ("Terminating", "Aborting", "Restarting", "Completing")
ENDED_BY_VOLCANO = ("Terminated", "Failed")


class Following:
    """What is known of a Job while it is polled."""

    def __init__(
        self, request: JobRequest, launched: Launched, api: ClusterAPI, runner: Runner, job: dict[str, Any],
        refusal: Refusal | None = None,
    ) -> None:  # fmt: skip
        """`refusal`: what refused the pods of the Job before."""
        self.request, self.launched, self.api, self.runner, self.job = request, launched, api, runner, job
        self.num_pods = len(job["spec"]["tasks"])
        self.pods: dict[str, dict[str, Any]] = {}
        """The pods since the last restart, as they were when last polled: those that are gone are included."""
        self.there: list[dict[str, Any]] = []
        """The pods of the last poll."""
        self.history: set[str] = set()
        """Uids of pods before the last restart, which may be on their way out still."""
        self.shown = ""
        self.retries = retries(job)
        self.since = began(job, again=self.retries > 0)
        self.refusal = refusal
        self.is_refused = False
        """Whether this Job's pods are refused."""
        self.has_run = False
        """Whether the Job has run since the last restart."""
        self.waiting_since = refusal.since if refusal else None
        self.blocked_since: float | None = None
        self.ending_since: float | None = None
        self.handle = f"kubernetes://torchx/{api.namespace}:{request.name}"

    def to_the_end(self) -> JobEnd | None:
        """Follow the Job to its end; return None if Volcano ended it because its pods were refused, which may pass: the
        Job is then made again.
        """
        with PodLog(
            self.runner, self.handle, self.request.role, self.request.log_folder / f"{self.request.name}.log"
        ) as log:
            while True:
                found = self.api.job(self.request.name)
                if found is None or found["metadata"]["uid"] != self.job["metadata"]["uid"]:
                    if found is None:  # what it owns goes after it: a new one would take that over, and lose it
                        time.sleep(GONE_SECONDS)
                    return self._end(Cause(reason="its Job was deleted from the cluster", resume=True), log.file)
                self.job = found
                self._look()
                if phase(found) in ENDED:
                    if self._is_made_again():
                        say(self.request.name, f"{self._waits_for()}; Volcano ended the Job: it is made again")
                        return None
                    return self._end(self._refused_for_good(), log.file)
                given_up = self._given_up()
                if given_up is not None:
                    if is_own(self.job, self.request):  # another study may have more patience
                        self.api.abort_job(self.request.name, self.launched.kfp_run_id, given_up.reason)
                    return self._end(given_up, log.file)
                time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        """Poll the pods, and print what has changed."""
        self.there = pods = self.api.pods(self.request.name)
        # Once the Job is over, its last pods are the cause, however often it was restarted between two polls.
        if retries(self.job) > self.retries and phase(self.job) not in ENDED:
            cause = ended_by([*self.pods.values(), *pods], self._events())
            say(self.request.name, f"{cause.reason if cause else 'its pods were lost'}; Volcano starts them again")
            going = [pod["metadata"]["uid"] for pod in pods if pod["metadata"].get("deletionTimestamp")]
            self.history |= {*self.pods, *going}
            self.retries, self.pods, self.since = retries(self.job), {}, began(self.job, again=True)
            self.has_run = False
        self.pods |= {uid: pod for pod in pods if (uid := pod["metadata"]["uid"]) not in self.history}
        now, state = time.monotonic(), phase(self.job)
        self.waiting_since = (self.waiting_since or now) if state in NOT_RUNNING else None
        self.ending_since = (self.ending_since or now) if state in ENDING else None
        self._take_refusal(state)
        line = state or "Pending"
        if state in NOT_RUNNING:
            line += f": {self._waits_for()}"
        elif state in ENDING:
            line += f": waits for the end of {not_ended(pods) or 'nothing that is there'}"
        if line != self.shown:
            say(self.request.name, line)
            self.shown = line

    def _take_refusal(self, state: str) -> None:
        """Take in what refuses pods that are not there, and since when."""
        self.has_run = self.has_run or state == "Running"
        if state == "Running" or (state in NOT_RUNNING and len(self.there) >= self.num_pods):
            self.refusal = None
        is_missing = state in NOT_RUNNING and len(self.there) < self.num_pods
        is_over = state in ENDED_BY_VOLCANO and not self.has_run and not failed_pods(self.pods.values())
        events = self.api.events_of(self.job) if is_missing or is_over else []
        cause = refused_by(events_since(self.since, events))
        self.is_refused = cause is not None
        if cause:
            since = self.refusal.since if self.refusal else self.waiting_since or time.monotonic()
            self.refusal = Refusal(cause=cause, since=since)

    def _waits_for(self) -> str:
        return self.refusal.cause.reason if self.refusal else waiting_for(self.there, self.num_pods)

    def _is_made_again(self) -> bool:
        """Return whether the Job ended because of pods that were refused, which may pass within
        `cluster.pending_seconds`.
        """
        if not self.is_refused or self.refusal is None or self.refusal.cause.at_once:
            return False
        return time.monotonic() - self.refusal.since <= self._limit

    def _refused_for_good(self) -> Cause | None:
        """Return why a Job whose pods were refused is not made again; None if they were not refused."""
        if not self.is_refused or self.refusal is None:
            return None
        return self.refusal.cause if self.refusal.cause.at_once else self._not_started()

    @property
    def _limit(self) -> float:
        return self.request.cluster.pending_seconds

    def _not_started(self) -> Cause:
        text = f"its pods did not run within {self._limit:g} s (`cluster.pending_seconds`): {self._waits_for()}"
        return Cause(reason=text, resume=False)

    def _events(self) -> list[Object]:
        return events_since(self.since, self.api.events(self.request.name))

    def _given_up(self) -> Cause | None:
        """Return the problem that will not pass, or that has lasted too long; None if there is none."""
        if self.is_refused and self.refusal and self.refusal.cause.at_once:
            return self.refusal.cause
        waits = phase(self.job) in NOT_RUNNING  # of an elastic job that runs, pods may come later, or not
        pending = [pod for pod in self.there if pod.get("status", {}).get("phase") == "Pending"]
        blocked = blocked_by(pending) if waits else None
        now = time.monotonic()
        self.blocked_since = (self.blocked_since or now) if blocked else None
        if blocked and self.blocked_since and (blocked.at_once or now - self.blocked_since > BLOCKED_SECONDS):
            return blocked
        if self.waiting_since and now - self.waiting_since > self._limit:
            return self._not_started()
        if self.ending_since and now - self.ending_since > ENDING_SECONDS:
            return Cause(reason=stuck(self.there), resume=False)
        return None

    def _end(self, cause: Cause | None, log: Path) -> JobEnd:
        if cause is None and phase(self.job) == SUCCEEDED:
            return JobEnd(succeeded=True, reason="", log=log)
        pods = list(self.pods.values())
        events = self._events()
        state = self.job.get("status", {}).get("state", {})
        if cause is None:
            cause = ended_by(pods, events)
        if cause is None and phase(self.job) == "Aborted":
            by = aborted_by(self.job)
            # Another run aborted it, but ours still needs it. The end of our own run is final.
            resume = by is not None and by[0] != self.launched.kfp_run_id
            cause = Cause(reason=f"its Job was aborted{f': {by[1]}' if by else ' by somebody'}", resume=resume)
        said = f" ({state['message']})" if state.get("message") else ""
        reason = cause.reason if cause else exit_of(pods) or f"its Job ended as {phase(self.job)}{said}"
        for line in shown_events(events):
            say(self.request.name, f"event: {line}")
        written = write_logs(self.api, failed_pods(pods), self.request.log_folder)
        return JobEnd(
            succeeded=False, reason=f"{self.request.name}: {reason}", log=written or log,
            cause=cause.reason if cause else "", may_resume=cause.resume if cause else True,
            disrupted=cause.disrupted if cause else False,
        )  # fmt: skip


def kind_of(state: str) -> Literal["waits", "runs", "ends"]:
    """Return what the phase of a Job means to its launcher: it waits for its pods, for its work, or for its pods'
    end.
    """
    return "waits" if state in NOT_RUNNING else "ends" if state in ENDING else "runs"


def stuck(pods: Iterable[Object]) -> str:
    left = not_ended(pods) or "none that is there"
    return f"pods that were told to end have not ({left}): where a node is lost, delete the node, then try again"


def retries(job: dict[str, Any]) -> int:
    return int(job.get("status", {}).get("retryCount", 0))


def is_own(job: dict[str, Any], request: JobRequest) -> bool:
    """Return whether the Job was made by this run of the pipeline or another one of the study, not by another study's.

    Another run of the study has lost its launcher, or follows the Job and makes it again if this one aborts it.
    """
    return job["metadata"].get("labels", {}).get(NOTE + "study") == label_value(request.labels.get("study", ""))


def say(name: str, what: str) -> None:
    print(f"{name}: {what}", flush=True)
