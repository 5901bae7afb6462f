"""Why pods do not run, or ran no longer, from what the cluster says of them (pure: plain data in, words out).

Pods and events are mappings as the API sends them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Object = Mapping[str, Any]

BAD_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
BAD_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
NEVER_PASSES = ("InvalidImageName", "ErrImageNeverPull")
LOST_NODE = (
    "NodeLost",
    "DeletionByTaintManager",
    "DeletionByPodGC",
    "NodeShutdown",
    "Terminated",
    "TerminationByKubelet",
)
PREEMPTED = ("PreemptionByScheduler", "Preempting", "Preempted")
OWN_DISK = ("ephemeral-storage", "ephemeral local storage", "ephemeral storage", "EmptyDir volume")
"""Phrases in the kubelet's message about an eviction: the pod used more disk than its limit, or than its node had. The
next pod would do the same, so it is a failure and no disruption."""
MAX_EVENTS = 5


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What the cluster did to a job."""

    reason: str
    resume: bool
    """Whether a restart may succeed."""
    at_once: bool = True
    """Whether the job ends at once. False: the cause may pass by itself, and is polled."""
    disrupted: bool = False
    """Whether healthy pods were affected: by a pre-emption, an eviction, a drain, the loss of a node."""


def blocked_by(pods: Iterable[Object]) -> Cause | None:
    """Return what keeps a pod from starting that the scheduler has assigned to a node: its image, or its
    configuration.
    """
    for pod in pods:
        for status in _containers(pod):
            waiting = status.get("state", {}).get("waiting") or {}
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if reason in BAD_IMAGE:
                image = status.get("image", "")
                text = f"the image {image} cannot be pulled for pod {_name(pod)} ({reason}{_more(message)})"
                return Cause(reason=text, resume=False, at_once=reason in NEVER_PASSES)
            if reason in BAD_CONFIG:
                text = f"pod {_name(pod)} cannot start ({reason}{_more(message)})"
                return Cause(reason=text, resume=False, at_once=False)
    return None


def waiting_for(pods: Sequence[Object], num_pods: int) -> str:
    """Return what pods that do not run yet wait for."""
    if not pods:
        return (
            "no pod was made: the queue has no room for the job, Volcano does not run, or it lost the Job (then delete "
            "the Job: it is made anew)"
        )
    running = sum(_phase(pod) == "Running" for pod in pods)
    blocked = blocked_by(pods)
    if blocked:
        return blocked.reason
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return (
                    f"{running} of {num_pods} pods run; {_name(pod)} is not scheduled: {condition.get('message', '')}"
                )
    return f"{running} of {num_pods} pods run"


def ended_by(pods: Iterable[Object], events: Iterable[Object] = ()) -> Cause | None:
    """Return what ended pods from outside: pre-emption, eviction, the loss of a node, lack of memory. None: nothing
    did.
    """
    found: list[tuple[int, Cause]] = []
    for pod in pods:
        status, name = pod.get("status", {}), _name(pod)
        node = pod.get("spec", {}).get("nodeName", "its node")
        told = status.get("message", "")
        disruption: Object = next(
            (one for one in status.get("conditions") or []
             if one["type"] == "DisruptionTarget" and one["status"] == "True"), {},
        )  # fmt: skip
        why = disruption.get("reason") or status.get("reason", "")
        message = disruption.get("message") or told
        is_own_disk = _used_up_disk(f"{message} {told}")
        if why in PREEMPTED:
            text = f"pod {name} was pre-empted{_more(message)}"
            found.append((0, Cause(reason=text, resume=True, disrupted=True)))
        elif why in LOST_NODE and not is_own_disk:
            text = f"the node {node} of pod {name} was lost ({why}{_more(message)})"
            found.append((1, Cause(reason=text, resume=True, disrupted=True)))
        elif why in (*LOST_NODE, "Evicted", "EvictionByEvictionAPI"):
            text = f"pod {name} was evicted from {node}{_more(message)}"
            found.append((2, Cause(reason=text, resume=True, disrupted=not is_own_disk)))
        for container in _containers(pod):
            ended = container.get("state", {}).get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                limit = _memory_limit(pod)
                text = f"pod {name} ran out of memory (its limit is {limit}: `cluster.memory_gib_per_node`)"
                found.append((3, Cause(reason=text, resume=True)))
    if found:
        return min(found, key=lambda one: one[0])[1]
    for event in events:
        if event.get("reason") in ("Evict", "Preempt", "Preempted", "Evicted", "Preempting"):
            message = event.get("message", "")
            text = f"pods were evicted or pre-empted: {message}"
            return Cause(reason=text, resume=True, disrupted=not _used_up_disk(message))
        if event.get("reason") in ("NodeNotReady", "TaintManagerEviction"):
            return Cause(reason=f"a node was lost: {event.get('message', '')}", resume=True, disrupted=True)
    return None


def _used_up_disk(message: str) -> bool:
    return any(words in message for words in OWN_DISK)


def exit_of(pods: Iterable[Object]) -> str:
    """Return how the first pod that failed by itself ended, with its last words."""
    for pod in pods:
        for container in _containers(pod):
            ended = container.get("state", {}).get("terminated") or {}
            if ended.get("exitCode"):
                said = _more(_last_line(ended.get("message", "")))
                return f"pod {_name(pod)} ended with exit code {ended['exitCode']}{said}"
    return ""


def not_ended(pods: Iterable[Object]) -> str:
    """Return the names of pods that have not ended, with their nodes."""
    left = [pod for pod in pods if _phase(pod) not in ("Succeeded", "Failed")]
    return ", ".join(f"{_name(pod)} on {pod.get('spec', {}).get('nodeName', 'no node')}" for pod in left)


def failed_pods(pods: Iterable[Object]) -> list[str]:
    return [_name(pod) for pod in pods if _phase(pod) == "Failed"]


def began(job: Object, *, again: bool) -> datetime:
    """Return when the Job's pods were requested: it was made, or its state changed for their restart. Times are whole
    seconds.
    """
    state = job.get("status", {}).get("state", {})
    if again and state.get("lastTransitionTime"):
        return _time(state["lastTransitionTime"]) + timedelta(seconds=1)
    return _time(job["metadata"].get("creationTimestamp"))


def events_since(moment: datetime, events: Iterable[Object]) -> list[Object]:
    """Return the events since `moment`, oldest first. Earlier ones are about other pods: a Job that is made again has
    the same name.
    """
    return sorted((one for one in events if _time_of(one) >= moment), key=_time_of)


def shown_events(events: Iterable[Object]) -> list[str]:
    """Return the newest warnings, oldest first, one line each."""
    warnings = [one for one in events if one.get("type") == "Warning"]
    lines = [
        f"{one.get('reason', '')}: {' '.join(one.get('message', '').split())}" for one in sorted(warnings, key=_time_of)
    ]
    return list(dict.fromkeys(lines))[-MAX_EVENTS:]


def _time_of(event: Object) -> datetime:
    series = event.get("series") or {}
    told = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return _time(next(filter(None, told), event.get("metadata", {}).get("creationTimestamp")))


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _containers(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _memory_limit(pod: Object) -> str:
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return str(limits.get("memory", "not set"))


def _more(message: str) -> str:
    return f": {' '.join(message.split())}" if message else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
