"""A job on a cluster: TorchX's Kubernetes scheduler makes a Volcano Job, which is followed to its end.

Idempotent: the Job's name is the run's. A launcher that is restarted finds the Job and follows it again; of two at
once, one makes it and both follow.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Any

import psutil
from torchx.runner import Runner, get_runner

from switchpoint.components.launch import following
from switchpoint.components.launch.cluster_api import ENDED, SUCCEEDED, ClusterAPI, phase
from switchpoint.components.launch.following import Following, is_own, say
from switchpoint.components.launch.job import JobEnd, JobRequest, Superseded
from switchpoint.components.launch.pods import waiting_for
from switchpoint.components.launch.refusal import Refusal
from switchpoint.components.launch.site import Launched, own_namespace
from switchpoint.components.launch.termination import read_why_end
from switchpoint.components.launch.volcano import CONTENT, NOTE, PODS, volcano_job
from switchpoint.components.recipe.errors import BadInput


class Cancelled(SystemExit):
    """SIGTERM or SIGINT: the run was terminated, or the launcher's pod is taken away."""


def run_on_cluster(request: JobRequest, launched: Launched) -> JobEnd:
    """Run the job to its end: make it, or find the one that is there.

    Raise BadInput if the cluster refuses it, Superseded if another study's job of that name had to end first.
    """
    request.log_folder.mkdir(parents=True, exist_ok=True)
    api = ClusterAPI(launched.namespace)
    with get_runner(client=api.client) as runner, _aborted_by_sigterm(request, launched, api):
        refusal: Refusal | None = None
        while True:
            job = _find_or_make(request, launched, runner, api)
            followed = Following(request, launched, api, runner, job, refusal)
            end = followed.to_the_end()
            if end is not None:
                return end
            refusal = followed.refusal


def _find_or_make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any]:
    """Return the Job that does what is requested: one that runs, or that completed, or a new one."""
    while True:
        job = api.job(request.name)
        if job is None:
            job = _make(request, launched, runner, api)
            if job is not None:
                return job
            continue
        if job["metadata"].get("deletionTimestamp"):
            _wait_until_gone(api, job)
            continue
        if _is_outdated(job, request, launched, runner):
            say(request.name, "is there already, waits for pods, and was made with other settings: it is made anew")
            _delete(api, job)
            continue
        same = job["metadata"].get("annotations", {}).get(CONTENT) == request.content_digest
        if same and phase(job) not in ENDED:
            say(request.name, f"is there already ({phase(job) or 'just made'}): followed from here")
            return job
        if same and phase(job) == SUCCEEDED and request.is_done():
            return job
        if phase(job) not in ENDED:
            _wait_for_another(request, api, job)
            raise Superseded(request.name)
        _delete(api, job)


def _is_outdated(job: dict[str, Any], request: JobRequest, launched: Launched, runner: Runner) -> bool:
    """Return whether a Job of an earlier run of the study waits for pods with a specification that is no longer
    requested.

    Then somebody has fixed what kept them from starting: a node selector, the memory, the image. A Job that was made
    since this launcher began stays, so that two runs of a study do not replace each other's for ever.
    """
    if following.kind_of(phase(job)) != "waits" or not is_own(job, request):
        return False
    made = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    if made.timestamp() >= psutil.Process().create_time():
        return False
    wanted = volcano_job(request, launched, runner).request.resource["metadata"]["annotations"]
    notes = job["metadata"].get("annotations", {})
    return any(notes.get(name) != wanted[name] for name in (CONTENT, PODS))


def _delete(api: ClusterAPI, job: dict[str, Any]) -> None:
    """Delete a Job, and wait until another one may have its name."""
    api.delete_job(job)
    _wait_until_gone(api, job)


def _wait_until_gone(api: ClusterAPI, job: dict[str, Any]) -> None:
    """Wait until a Job that is deleted is gone with all that it owns. Raise BadInput if that takes too long.

    Volcano's controller removes a deleted Job from its cache by name. While the Job's pods are there it retries that,
    at intervals that double (pkg/controllers/cache/cache.go:364 of 1.15.1; seen there), so the last retry comes within
    the time that the pods took to go. A Job that is made before is removed instead of the old one, and never gets a
    pod.
    """
    name, began = job["metadata"]["name"], time.monotonic()
    while (found := api.job(name)) is not None and found["metadata"]["uid"] == job["metadata"]["uid"]:
        if time.monotonic() - began > following.ENDING_SECONDS:
            raise BadInput(
                f"the Job is deleted and not gone: {following.stuck(api.pods(name))}", field="cluster", given=name
            )
        time.sleep(min(1.0, following.POLL_SECONDS))
    time.sleep(max(time.monotonic() - began, min(2.0, following.POLL_SECONDS)))


def _wait_for_another(request: JobRequest, api: ClusterAPI, job: dict[str, Any]) -> None:
    """Wait for the Job of another study that requests more of the same run, or less: its pods write to the same files
    as ours would.

    Raise BadInput if that Job waits for pods, or for their end, longer than ours may.
    """
    uid, shown, before, since = job["metadata"]["uid"], "", "", 0.0
    labels = job["metadata"].get("labels", {})
    whose = f"study {labels.get(NOTE + 'study', '?')}, KFP run {labels.get(NOTE + 'kfp-run', 'none')}"
    while job is not None and job["metadata"]["uid"] == uid and phase(job) not in ENDED:
        state, what = following.kind_of(phase(job)), phase(job)
        if state != before:
            before, since = state, time.monotonic()
        if state == "waits":
            what = waiting_for(api.pods(request.name), len(job["spec"]["tasks"]))
        if what != shown:
            say(request.name, f"another job of this name runs ({whose}): waited for; {what}")
            shown = what
        if state == "ends" and time.monotonic() - since > following.ENDING_SECONDS:
            raise BadInput(
                f"another job of this name ({whose}): {following.stuck(api.pods(request.name))}", field="cluster",
                given=request.name,
            )  # fmt: skip
        if state == "waits" and time.monotonic() - since > request.cluster.pending_seconds:
            raise BadInput(
                f"another job of this name ({whose}) has no pods: {what}", field="cluster", given=request.name,
                allowed=f"its end, or kubectl -n {api.namespace} delete vcjob {request.name}, if nobody follows it",
            )  # fmt: skip
        time.sleep(following.POLL_SECONDS)
        found = api.job(request.name)
        if found is None:
            return
        job = found
    time.sleep(3 * following.POLL_SECONDS)  # those who follow it need to know how it ended


def _make(request: JobRequest, launched: Launched, runner: Runner, api: ClusterAPI) -> dict[str, Any] | None:
    """Make the Job; return None if another launcher was first."""
    info = volcano_job(request, launched, runner)
    try:
        api.asked(lambda: runner.schedule(info), is_first=True)
    except ValueError as error:
        if "already exists" not in str(error):
            raise
        return None
    nodes = request.cluster.num_nodes(request.num_processes)
    say(request.name, f"made in namespace {launched.namespace}: {nodes} pods, queue {request.cluster.queue}")
    return api.job(request.name)


@contextmanager
def _aborted_by_sigterm(request: JobRequest, launched: Launched, api: ClusterAPI) -> Iterator[None]:
    """Abort the run's own Job on SIGTERM or Ctrl-C, so that a run that is terminated costs nothing more; its trainer
    writes a checkpoint. If only the launcher's pod is taken away, the Job continues, and the next launcher follows it.
    """

    def end(signal_number: int, frame: FrameType | None) -> None:
        for number in before:  # Argo signals the whole process group, a parent once more
            signal.signal(number, signal.SIG_IGN)
        _leave_or_abort(request, launched, api)
        api.over = Cancelled(128 + signal_number)
        raise api.over

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_or_abort(request: JobRequest, launched: Launched, api: ClusterAPI) -> None:
    """Decide what becomes of the Job of a launcher that was told to end."""
    why = read_why_end(api.client, own_namespace() or launched.namespace)
    if not why:
        told = f"terminated with its pod: the run goes on, so the Job {request.name} does; the next launcher follows it"
        print(told, file=sys.stderr, flush=True)
        return
    job = api.job(request.name)
    same = job is not None and job["metadata"].get("annotations", {}).get(CONTENT) == request.content_digest
    if job is not None and same and is_own(job, request):
        api.abort_job(request.name, launched.kfp_run_id, "the run that followed it was terminated")
        print(f"terminated: the Job {request.name} is aborted ({why})", file=sys.stderr, flush=True)
    else:
        print(f"terminated: the Job {request.name} is another study's, and goes on", file=sys.stderr, flush=True)
