"""Run a training job to its end: what stopped, was killed or hung is restarted from its newest checkpoint.

So is what a cluster evicted or pre-empted. Volcano does not restart that: see `policies` in `launch/volcano.py`.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from switchpoint.components.launch.job import ON_ONE_MACHINE, JobRequest
from switchpoint.components.launch.launcher import run_job
from switchpoint.components.recipe.cluster import Cluster
from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.store.location import Location
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.retries import is_permanent
from switchpoint.components.train.checkpoint import has_model, is_kept, steps_in
from switchpoint.components.train.ending import Ending, ending, forget_ending, keep_stacks
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.job_files import fetch_ending, write_job
from switchpoint.components.train.metrics import last_step

AWAY_SECONDS = 6 * 3600.0
"""How long a launcher retries an object store that does not answer: no trained work is lost because of a short
outage."""
Result = TypeVar("Result")


class TrainingFailed(RuntimeError):
    """A training job ended without its output."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def train_to_end(
    name: str, job: TrainJob, log_folder: Path, num_processes: int, *, cluster: Cluster = ON_ONE_MACHINE,
    labels: Mapping[str, str] | None = None, notes: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Train a job to its end. Raise TrainingFailed, with the cause and the step, if a restart cannot help or if too
    many restarts made no progress.

    `labels` and `notes` say in a cluster what the job belongs to.
    """
    request = JobRequest(
        name=name, module="switchpoint.components.train.app", arguments=(write_job(job),), log_folder=log_folder,
        num_processes=num_processes, cluster=cluster, max_restarts=job.training.max_restarts, labels=labels or {},
        notes=notes or {}, content=digest_of(job.model_dump(mode="json")), is_done=lambda: _is_trained(job),
    )  # fmt: skip
    reached, without_progress = _reached(job), 0
    while True:
        patiently(job.folder, lambda: forget_ending(job.folder))
        end = run_job(request)
        if end.succeeded:
            return
        folder = patiently(job.folder, lambda: fetch_ending(job))
        found = ending(folder, keep_stacks(folder, log_folder), end)
        before, reached = reached, max(reached, _reached(job))
        if reached > before:
            without_progress = 0
        elif not found.disrupted:  # however often a cluster takes healthy pods away, the training has not failed
            without_progress += 1
        if not found.resume or without_progress > job.training.max_restarts:
            raise TrainingFailed(_failure(job, folder, found, without_progress), end.log)
        print(f"{name}: {found.reason}; started again from step {max(reached, job.start_step)}", flush=True)


def _is_trained(job: TrainJob) -> bool:
    """Return whether everything that the job must leave is there."""

    def look() -> bool:
        kept = all(is_kept(job.folder, step) for step in job.keep_steps)
        return kept and all(has_model(job.folder, step) for step in job.export_steps)

    return patiently(job.folder, look)


def _reached(job: TrainJob) -> int:
    """Return the step of the newest checkpoint, from which a restart resumes."""
    return max(patiently(job.folder, lambda: steps_in(job.folder)), default=-1)


def patiently(place: Location, ask: Callable[[], Result]) -> Result:
    """Return the answer of an object store that may be away for a while; of a folder at once."""
    if not is_remote(str(place)):
        return ask()
    retrying = Retrying(
        retry=retry_if_exception(_is_away), stop=stop_after_delay(AWAY_SECONDS), wait=wait_exponential(1, max=60),
        before_sleep=_say_once, reraise=True,
    )  # fmt: skip
    return retrying(ask)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and not is_permanent(error)


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        print(f"the store does not answer ({state.outcome.exception()}): asked again", file=sys.stderr, flush=True)


def _failure(job: TrainJob, folder: Path, found: Ending, without_progress: int) -> str:
    step = last_step(folder, job.start_step)
    tried = f"; {job.training.max_restarts} restarts came no further" if found.resume and without_progress else ""
    return f"{found.reason} (step {step} of {job.end_step}){tried}"
