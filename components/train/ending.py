"""How a job of one or more processes ended, from what they left in its folder; no exit code tells that alone."""

import re
import shutil
import signal
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from switchpoint.components.launch.job import JobEnd
from switchpoint.components.launch.local import tail
from switchpoint.components.recipe.errors import reason_of
from switchpoint.components.store.location import Location, names_in, read_json, remove_files, write_json
from switchpoint.components.store.lock import Locked

FINAL = ("BadInput", "BadBatch", "BadModel")
"""Errors that say all that there is to say, and that a restart repeats; by name, so that nothing heavy is imported."""
RESUME_ME = 75
"""EX_TEMPFAIL: the exit code of a trainer that asks to be restarted."""
STATUS = "status.json"
LOST_PEER = re.compile(
    r"closed by peer|connection reset|connection refused|broken pipe|connection was (likely )?closed|"
    r"NCCL (remote|watchdog|operation)|timed out waiting", re.IGNORECASE,
)  # fmt: skip
"""What communication says in the processes that are left when another one ends."""


HARDWARE = re.compile(
    r"NCCL|CUDA error|CUDA driver|cudaError|uncorrectable|\bECC\b|Dist(Backend|Network|Store)?Error|"
    r"Rendezvous\w*Error|TCPStore|socket has timed out", re.IGNORECASE,
)  # fmt: skip
"""What a device or the network between processes says when it fails. `max_restarts` bounds how often it may."""


@dataclass(frozen=True)
class Ending:
    """Why a job ended before its end, and whether starting it again may help."""

    reason: str
    resume: bool
    disrupted: bool = False
    """The cluster took healthy pods away: such ends are not counted as failures."""


def write_status(folder: Path, state: str, reason: str, step: int | None, *, resume: bool) -> None:
    """Write the state of the run. `resume`: the trainer asks to be restarted."""
    write_json(folder / STATUS, {"state": state, "reason": reason, "step": step, "resume": resume})


def write_failure(folder: Path, rank: int, error: BaseException) -> None:
    """Write why this process failed. A full disk keeps that from being written; the log has it too."""
    is_final = type(error).__name__ in FINAL
    reason = str(error) if is_final else reason_of(error)
    try:
        write_json(
            failure_file(folder, rank),
            {
                "reason": reason,
                "lost_peer": bool(LOST_PEER.search(str(error))),
                "resume": _may_pass(error),
                "is_final": is_final,
            },
        )
    except OSError:
        return


def _may_pass(error: BaseException) -> bool:
    """Return whether a retry may succeed: a full disk, a storage or a network that does not answer, a device that
    failed, an earlier trainer that still writes. Not: a wrong path, or a model that is too large.
    """
    if isinstance(error, Locked):
        return True
    if _is_of_hardware(f"{type(error).__name__}: {error}"):
        return True
    wrong = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
    return isinstance(error, OSError) and not isinstance(error, wrong)


def _is_of_hardware(said: str) -> bool:
    return "out of memory" not in said.lower() and HARDWARE.search(said) is not None


def failure_file(folder: Path, rank: int) -> Path:
    return folder / f"failure-{rank}.json"


def is_of_ending(name: str) -> bool:
    """Return whether a file tells why a process ended."""
    return fnmatchcase(name, "failure-*.json") or fnmatchcase(name, "stacks-*.txt")


def forget_ending(place: Location) -> None:
    """Remove, before a start, what an earlier one left: it is history, and so is the fact that it stopped."""
    stopped = (read_json(f"{place}/{STATUS}") or {}).get("resume")
    remove_files(place, [*filter(is_of_ending, names_in(place)), *([STATUS] if stopped else [])])


def keep_stacks(folder: Path, log_folder: Path) -> Path | None:
    """Move the stacks that a hang left to a folder of their own beside the logs; return None if there are none."""
    written = [path for path in sorted(folder.glob("stacks-*.txt")) if path.stat().st_size]
    if not written:
        return None
    kept = log_folder / time.strftime("hang-%Y%m%d-%H%M%S")
    kept.mkdir(parents=True, exist_ok=True)
    for path in written:
        shutil.move(path, kept / path.name)
    return kept


def ending(folder: Path, stacks: Path | None, end: JobEnd) -> Ending:
    """Return how a job that did not finish ended: the cause ranks before what followed from it in other processes.

    `stacks`: the folder of a hang's stacks. `end`: what is known from outside, a signal or what a cluster did, and its
    log.
    """
    status = read_json(folder / STATUS) or {}
    if stacks is not None:
        reason = status["reason"] if status.get("resume") else "no step for too long"
        return Ending(f"{reason}; stacks of its processes: {stacks}", True)
    failures = [read_json(path) for path in sorted(folder.glob("failure-*.json"))]
    causes = [failure for failure in failures if not failure["lost_peer"]]
    final = [failure for failure in causes if failure.get("is_final")]
    if final:
        return Ending(final[0]["reason"], False)
    if end.cause:  # what is left of a job whose node is gone fails in ways of its own
        return Ending(end.cause, end.may_resume, end.disrupted)
    if causes:
        return Ending(causes[0]["reason"], causes[0]["resume"])
    if status.get("resume"):
        return Ending(f"stopped after step {status['step']} ({status['reason']})", True)
    return ending_outside(end, "a training process", is_told=bool(failures))


def ending_outside(end: JobEnd, process: str, *, is_told: bool = False) -> Ending:
    """Return how a job ended whose processes left no file about it: by what a cluster did, the last words of a process,
    or a signal.

    `process`: what the job is made of, in words. `is_told`: a process has reported that it lost another one; the last
    words in the log may then be of such a process, too.
    """
    if end.cause:
        return Ending(end.cause, end.may_resume, end.disrupted)
    said = "" if is_told else _traceback(end.log)
    if said:
        return Ending(said, "No space left" in said or _is_of_hardware(said))
    killed_by = end.killed_by or _signal_in(end.log)
    if end.reason and not killed_by:
        return Ending(end.reason, True)
    hint = ", often for want of memory" if killed_by == "SIGKILL" else ""
    return Ending(f"{process} was killed ({killed_by or 'by whom is not known'}{hint})", True)


def _traceback(log: Path) -> str:
    """Return the last words of a process. torchrun's own error only says that one of them ended."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return tail(log) if "Traceback" in text and "ChildFailedError" not in text else ""


def _signal_in(log: Path) -> str:
    """Return the signal that ended a process, as torchrun reports it for the first one that failed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    codes = [int(code) for code in re.findall(r"exitcode\s*:\s*(-\d+)", text)]
    return signal.Signals(-codes[0]).name if codes and -codes[0] in set(signal.Signals) else ""
