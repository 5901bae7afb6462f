"""Pods that the API server refuses to create: a quota, an admission policy (pure: events in, a cause out).

Volcano keeps the refusal in an event of the Job alone: no pod exists, and the Job's state has no message. The event is
`FailedCreate` with "Error creating pods: [failed to create pod NAME, err: ...]", the error as Go prints a structure
(pkg/controllers/job/job_controller_actions.go:525 and :546 of 1.15.1). After 15 tries, some 164 s, Volcano terminates
the Job. Services and the PodGroup that are refused come as `PluginError` and `PodGroupError`, as plain text.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from switchpoint.components.launch.pods import Cause, Object

REASONS = ("FailedCreate", "PluginError", "PodGroupError")
MAY_PASS = ("exceeded quota", "cannot create resource")
"""A quota is freed; an API server that starts knows no roles yet."""
FINAL = ("denied the request", "is forbidden", "is invalid")
"""Phrases of an admission policy, a limit range or a quota that requires a limit: the same pods are refused again."""
_MESSAGE = re.compile(r'Message:"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What refuses pods, and since when, by the monotonic clock: of several Jobs, the first one's time."""

    cause: Cause
    since: float


def refused_by(events: Iterable[Object]) -> Cause | None:
    """Return what refused a Job's pods, by the newest event of the Job, or None where nothing did.

    `events`: the Job's own, oldest first. A quota may be freed, and a webhook may answer again: such a cause is polled
    (`at_once` is false). A policy stays: its cause is final.
    """
    newest = next((one for one in reversed(list(events)) if one.get("reason") in REASONS), None)
    if newest is None:
        return None
    told = _told(str(newest.get("message", "")))
    final = next((one for one in told if _is_final(one)), "")
    text = f"the cluster refuses its pods: {final or told[0]}"
    return Cause(reason=text, resume=not final, at_once=bool(final))


def _is_final(told: str) -> bool:
    return any(words in told for words in FINAL) and not any(words in told for words in MAY_PASS)


def _told(message: str) -> list[str]:
    """Return the API server's own messages in that of an event, which has one for each pod."""
    return [_unquoted(one) for one in _MESSAGE.findall(message)] or [message]


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:  # an escape of Go's that JSON lacks
        return text
