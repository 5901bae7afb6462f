"""The files of a training job: its processes fetch what they need, the launcher fetches what they left."""

import fnmatch
import shutil
from pathlib import Path

from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.store import remote
from switchpoint.components.store.location import names_in, read_text, remove_files, write_json
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.remote import is_remote
from switchpoint.components.train.ending import STATUS, is_of_ending
from switchpoint.components.train.job import TrainJob
from switchpoint.components.train.metrics import METRICS, SERIES


def write_job(job: TrainJob) -> str:
    """Write the job's file beside its outputs, and return its address for the job's processes.

    The file is named by its content: a running job of another study keeps its own file.
    """
    content = job.model_dump(mode="json")
    file = f"{job.folder}/job-{digest_of(content)}.json"
    if not is_remote(job.folder):
        Path(job.folder).mkdir(parents=True, exist_ok=True)
    write_json(file, content)
    return file


def read_job(location: str) -> TrainJob:
    """Return the job that `write_job` wrote. Raise FileNotFoundError."""
    text = read_text(location)
    if text is None:
        raise FileNotFoundError(location)
    return TrainJob.model_validate_json(text)


def work_folder(job: TrainJob, rank: int) -> Path:
    """Return the folder in which a process writes: the run's, or its own if the run is in an object store."""
    if not is_remote(job.folder):
        return Path(job.folder)
    return store_at(job.store).root / "trainers" / _in_store(job) / f"rank-{rank}"


def _in_store(job: TrainJob) -> str:
    return job.folder.removeprefix(f"{store_at(job.store).url}/")


def fetch_inputs(job: TrainJob, rank: int) -> TrainJob:
    """Fetch the files of the store that the job needs; return the job with their paths on this machine.

    The first process also fetches the rows of metrics that an earlier process of the run has left, and appends to them.
    """
    store = store_at(job.store)
    if is_remote(job.folder):
        folder = work_folder(job, rank)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "models", ignore_errors=True)
        remove_files(folder, fnmatch.filter(names_in(folder), "failure-*.json"))
        _fetch(job, folder, (METRICS, SERIES) if rank == 0 else ())
    for path in {Path(source.stream).parent.as_posix() for source in job.sources.values()}:
        store.fetch_folder(path)
    sources = {
        name: source.model_copy(update={"stream": str(store.root / source.stream)})
        for name, source in job.sources.items()
    }
    files = {
        "tokenizer": str(store.fetch_folder(job.tokenizer)),
        "probes": job.probes and str(store.fetch_file(job.probes)),
        "start_model": job.start_model and str(store.fetch_folder(job.start_model)),
        "model_config_folder": job.model_config_folder and str(store.fetch_folder(job.model_config_folder, (".json",))),
    }
    return job.model_copy(update=files | {"sources": sources})


def fetch_ending(job: TrainJob) -> Path:
    """Fetch what the run's processes wrote when they ended; return the launcher's folder of the run."""
    if not is_remote(job.folder):
        return Path(job.folder)
    folder = store_at(job.store).root / _in_store(job)
    folder.mkdir(parents=True, exist_ok=True)
    remove_files(folder, filter(is_of_ending, names_in(folder)))
    _fetch(job, folder, (STATUS, METRICS, *filter(is_of_ending, names_in(job.folder))))
    return folder


def _fetch(job: TrainJob, folder: Path, names: tuple[str, ...]) -> None:
    """Fetch files as they are now, and remove those that the object store does not have."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        if remote.version_of(f"{job.folder}/{name}") is not None:
            remote.download(f"{job.folder}/{name}", folder / name)
