"""The launcher of generation: one job for a source's shards, and their text as an output of the store."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchpoint.components.data.documents import Document, write_documents
from switchpoint.components.generate.shards import GenerateJob
from switchpoint.components.launch.job import JobRequest, Superseded
from switchpoint.components.launch.launcher import num_side_by_side, run_job
from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Generate, Output
from switchpoint.components.store.location import exists, read_json
from switchpoint.components.store.store import Store
from switchpoint.components.train.ending import ending_outside
from switchpoint.components.train.outputs import model_in_store, model_is_there, why_missing


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A job and where it stands."""

    store: Store
    file: GenerateJob
    request: JobRequest

    def missing(self) -> list[str]:
        """Return the files of the shards that are not there yet."""
        return [file for file in self.file.files() if not exists(f"{self.store.location}/{file}")]


class GenerationFailed(RuntimeError):
    """A source's text was not generated."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def generate_text(plan: Plan, store: Store, output: Output[Generate]) -> None:
    """Generate the text of the output's stage, unless the store has it. Raise GenerationFailed.

    The caller holds the output's lock. Shards that are there already, from a start that was interrupted, stay.
    """
    if store.is_done(output.identity):
        return
    stage = output.stage
    if not model_is_there(store, stage.model):
        reason = why_missing(store, stage.model)
        raise GenerationFailed(f"the base {stage.base} that generates {stage.source} is missing: {reason}")
    job = _job(plan, store, output)
    try:
        _run_to_end(job, plan.recipe.training.max_restarts)
    except GenerationFailed as failure:
        store.write_failure(output.identity, str(failure), str(failure.log))
        raise
    _write(store, output, [read_json(f"{store.location}/{file}") for file in job.file.files()])
    store.remove(job.file.folder)


def _job(plan: Plan, store: Store, output: Output[Generate]) -> _Job:
    stage, identity, recipe = output.stage, output.identity, plan.recipe
    config = stage.config
    file = GenerateJob(
        store=store.location, model=model_in_store(plan, store, stage.model), tokenizer=plan.tokenizer.path,
        folder=f"jobs/generate-{identity.digest}", tokens=config.tokens, temperature=config.temperature,
        seed=config.seed, sequence_length=stage.sequence_length,
    )  # fmt: skip
    data = file.model_dump(mode="json")
    request = JobRequest(
        name=f"generate-{identity.digest}", module="switchpoint.components.generate.app",
        arguments=(store.write(f"{file.folder}/job.json", data),), log_folder=store.log_folder(identity),
        num_processes=min(len(file.files()), num_side_by_side(recipe.cluster)), cluster=recipe.cluster,
        labels={"study": recipe.name, "kind": "generate"}, notes={"store": store.location}, content=digest_of(data),
        is_done=lambda: all(exists(f"{store.location}/{one}") for one in file.files()),
    )  # fmt: skip
    return _Job(store=store, file=file, request=request)


def _run_to_end(job: _Job, max_restarts: int) -> None:
    """Run the job until every shard is there. What was ended from outside is started again, for what is left."""
    missing, without_progress = job.missing(), 0
    while missing:
        found, log = None, None
        with suppress(Superseded):  # another study has generated the same text
            end = run_job(job.request)
            found, log = None if end.succeeded else ending_outside(end, "the generation"), end.log
        before, missing = len(missing), job.missing()
        if not missing:
            return
        if len(missing) < before:
            without_progress = 0
        elif found is None or not found.disrupted:
            without_progress += 1
        if (found is not None and not found.resume) or without_progress > max_restarts:
            reason = found.reason if found else "the job ended without its shards"
            raise GenerationFailed(f"{reason}; {len(missing)} shards of {len(job.file.files())} are missing", log)
        print(f"{job.request.name}: {len(missing)} shards are missing; started again for them", flush=True)


def _write(store: Store, output: Output[Generate], shards: list[dict[str, Any]]) -> None:
    """Write the documents as other sources have them. Those without text, where the model ended at once, are left out
    and counted. Raise GenerationFailed where none has text.
    """
    documents = list(_documents(shards))
    if not documents:
        source = output.stage.source
        raise GenerationFailed(f"every document of {source} is empty: its base ends each one where it begins")
    with store.output(output.identity) as folder:
        write_documents(folder / "train" / "text.jsonl", documents)
        facts = {
            "documents": len(documents), "bytes": sum(len(one.text.encode()) for one in documents),
            "empty_documents": sum(len(shard["texts"]) for shard in shards) - len(documents),
            "sampled_tokens": sum(shard["tokens"] for shard in shards),
            "ended_documents": sum(shard["ended"] for shard in shards),
        }  # fmt: skip
        store.write_record(output.identity, folder, facts, {"num_threads": 1})


def _documents(shards: list[dict[str, Any]]) -> Iterable[Document]:
    for number, shard in enumerate(shards):
        for place, text in enumerate(shard["texts"]):
            if text:
                yield Document(unit=f"shard-{number:06d}/{place:06d}", part="text", text=text)
