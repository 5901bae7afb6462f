"""Runs a training job to its end: what stopped, was killed or hung is started again from its newest checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.launch.job import ON_ONE_MACHINE, JobEnd, JobRequest, run_job
from components.launch.local import tail
from components.recipe.cluster import Cluster
from components.recipe.digest import digest_of
from components.store.store import write_json
from components.train.checkpoint import is_kept, model_path, steps_in
from components.train.ending import Ending, ending, forget_ending, keep_stacks
from components.train.job import TrainJob
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
    folder = Path(job.folder)
    file = folder / "job.json"
    write_json(file, _as_data(job))
    request = JobRequest(
        name=name, module="components.train.app", arguments=(str(file),), log_folder=log_folder,
        num_processes=num_processes, cluster=cluster, max_restarts=job.training.max_restarts, labels=labels or {},
        notes=notes or {}, content=digest_of(_as_data(job)), is_done=lambda: _is_trained(job),
    )  # fmt: skip
    reached, without_progress = _reached(folder), 0
    while True:
        forget_ending(folder)
        end = run_job(request)
        if end.succeeded:
            return
        found = ending(folder, keep_stacks(folder, log_folder), _traceback(end), end)
        without_progress = 0 if _reached(folder) > reached else without_progress + 1
        reached = max(reached, _reached(folder))
        if not found.resume or without_progress > job.training.max_restarts:
            raise TrainingFailed(_failure(job, found, without_progress), end.log)
        print(f"{name}: {found.reason}; started again from step {max(reached, job.start_step)}", flush=True)


def _as_data(job: TrainJob) -> dict[str, Any]:
    return job.model_dump(mode="json")


def _is_trained(job: TrainJob) -> bool:
    """Whether all that the job is to leave is there."""
    folder = Path(job.folder)
    return all(is_kept(folder, step) for step in job.keep_steps) and all(
        model_path(folder, step).is_dir() for step in job.export_steps
    )


def _reached(folder: Path) -> int:
    """The newest checkpoint: what a restart goes on from."""
    return max(steps_in(folder), default=-1)


def _traceback(end: JobEnd) -> str:
    text = end.log.read_text(errors="replace") if end.log.exists() else ""
    return tail(end.log) if "Traceback" in text else ""


def _failure(job: TrainJob, found: Ending, without_progress: int) -> str:
    step = last_step(Path(job.folder), job.start_step)
    tried = f"; {job.training.max_restarts} restarts came no further" if found.resume and without_progress else ""
    return f"{found.reason} (step {step} of {job.end_step}){tried}"
