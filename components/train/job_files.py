"""The files of a training job: what its processes need is brought to them, what they left to the launcher."""

import fnmatch
import shutil
from pathlib import Path

from components.recipe.digest import digest_of
from components.store import remote
from components.store.opening import store_at
from components.store.place import names_in, read_text, remove_files, write_json
from components.store.remote import is_remote
from components.train.ending import STATUS, is_of_ending
from components.train.job import TrainJob
from components.train.metrics import METRICS, SERIES


def write_job(job: TrainJob) -> str:
    """Beside what it makes, named by what it says; returns where, for its processes.

    A job that runs, of another study, keeps its own file.
    """
    content = job.model_dump(mode="json")
    file = f"{job.folder}/job-{digest_of(content)}.json"
    if not is_remote(job.folder):
        Path(job.folder).mkdir(parents=True, exist_ok=True)
    write_json(file, content)
    return file


def read_job(where: str) -> TrainJob:
    text = read_text(where)
    if text is None:
        raise FileNotFoundError(where)
    return TrainJob.model_validate_json(text)


def work_folder(job: TrainJob, rank: int) -> Path:
    """Where a process writes: the run's own folder, or of a run in an object store a folder of the process's own."""
    if not is_remote(job.folder):
        return Path(job.folder)
    return store_at(job.store).root / "trainers" / _in_store(job) / f"rank-{rank}"


def _in_store(job: TrainJob) -> str:
    return job.folder.removeprefix(f"{store_at(job.store).url}/")


def brought_here(job: TrainJob, rank: int) -> TrainJob:
    """The job with the paths of this machine, the store's files among them fetched; so are the rows that an earlier
    process of the run has left, which go on.
    """
    store = store_at(job.store)
    if is_remote(job.folder):
        folder = work_folder(job, rank)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "models", ignore_errors=True)
        remove_files(folder, fnmatch.filter(names_in(folder), "failure-*.json"))
        _bring(job, folder, (METRICS, SERIES) if rank == 0 else ())
    for path in {Path(source.stream).parent.as_posix() for source in job.sources.values()}:
        store.folder(path)
    sources = {
        name: source.model_copy(update={"stream": str(store.root / source.stream)})
        for name, source in job.sources.items()
    }
    files = {
        "tokenizer": str(store.folder(job.tokenizer)),
        "probes": job.probes and str(store.file(job.probes)),
        "start_model": job.start_model and str(store.folder(job.start_model)),
        "model_config_folder": job.model_config_folder and str(store.folder(job.model_config_folder, (".json",))),
    }
    return job.model_copy(update=files | {"sources": sources})


def bring_ending(job: TrainJob) -> Path:
    """The launcher's folder of the run, with what its processes said at their end."""
    if not is_remote(job.folder):
        return Path(job.folder)
    folder = store_at(job.store).root / _in_store(job)
    folder.mkdir(parents=True, exist_ok=True)
    remove_files(folder, filter(is_of_ending, names_in(folder)))
    _bring(job, folder, (STATUS, METRICS, *filter(is_of_ending, names_in(job.folder))))
    return folder


def _bring(job: TrainJob, folder: Path, names: tuple[str, ...]) -> None:
    """As they are now: what is not there is not here either."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        if remote.version_of(f"{job.folder}/{name}") is not None:
            remote.download(f"{job.folder}/{name}", folder / name)
