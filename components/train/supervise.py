"""Runs a training job to its end: what stopped, was killed or hung is started again from its newest checkpoint."""

from collections.abc import Mapping
from pathlib import Path

from components.launch.job import ON_ONE_MACHINE, JobRequest, run_job
from components.recipe.cluster import Cluster
from components.recipe.digest import digest_of
from components.train.checkpoint import has_model, is_kept, steps_in
from components.train.ending import Ending, ending, forget_ending, keep_stacks
from components.train.job import TrainJob
from components.train.job_files import bring_ending, write_job
from components.train.metrics import last_step


class TrainingFailed(RuntimeError):
    """A training job ended without its output."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def train_to_end(
    name: str, job: TrainJob, log_folder: Path, num_processes: int, *, cluster: Cluster = ON_ONE_MACHINE,
    labels: Mapping[str, str] | None = None, notes: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Raises TrainingFailed, with the cause and the step, where that does not help or too often came no further.

    `labels` and `notes` say in a cluster what the job belongs to.
    """
    request = JobRequest(
        name=name, module="components.train.app", arguments=(write_job(job),), log_folder=log_folder,
        num_processes=num_processes, cluster=cluster, max_restarts=job.training.max_restarts, labels=labels or {},
        notes=notes or {}, content=digest_of(job.model_dump(mode="json")), is_done=lambda: _is_trained(job),
    )  # fmt: skip
    reached, without_progress = _reached(job), 0
    while True:
        forget_ending(job.folder)
        end = run_job(request)
        if end.succeeded:
            return
        folder = bring_ending(job)
        found = ending(folder, keep_stacks(folder, log_folder), end)
        without_progress = 0 if _reached(job) > reached else without_progress + 1
        reached = max(reached, _reached(job))
        if not found.resume or without_progress > job.training.max_restarts:
            raise TrainingFailed(_failure(job, folder, found, without_progress), end.log)
        print(f"{name}: {found.reason}; started again from step {max(reached, job.start_step)}", flush=True)


def _is_trained(job: TrainJob) -> bool:
    """Whether all that the job is to leave is there."""
    return all(is_kept(job.folder, step) for step in job.keep_steps) and all(
        has_model(job.folder, step) for step in job.export_steps
    )


def _reached(job: TrainJob) -> int:
    """The newest checkpoint: what a restart goes on from."""
    return max(steps_in(job.folder), default=-1)


def _failure(job: TrainJob, folder: Path, found: Ending, without_progress: int) -> str:
    step = last_step(folder, job.start_step)
    tried = f"; {job.training.max_restarts} restarts came no further" if found.resume and without_progress else ""
    return f"{found.reason} (step {step} of {job.end_step}){tried}"
