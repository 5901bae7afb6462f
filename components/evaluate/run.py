"""The launcher of evaluation: all models that still need their scores, in one process."""

import os
from collections.abc import Mapping
from pathlib import Path

from components.evaluate.app import EvaluatedModel, EvaluateJob
from components.evaluate.check_app import CheckJob
from components.evaluate.heldout import heldout_parts
from components.evaluate.hub import hub_environment
from components.evaluate.suite_questions import SuiteQuestion
from components.launch.job import JobRequest, Superseded, num_side_by_side, run_job
from components.launch.local import tail
from components.launch.task import tell_failure
from components.recipe.digest import Identity, digest_of
from components.recipe.plan import Plan
from components.store.store import Store, read_json, write_json
from components.train.run import model_in_store, model_is_there

NUM_THREADS = 2


class EvaluationFailed(RuntimeError):
    """At least one model has no scores."""


class SuitesUnusable(RuntimeError):
    """A suite's data, or what it needs to run, is not there: found before anything is trained."""


def check_suites(plan: Plan, store: Store) -> list[SuiteQuestion]:
    """Reads the data of the suites that are not local, if any score, or the probes, are still to be made.

    Returns the questions for the probes. Raises SuitesUnusable, which says how to mend it.
    """
    evaluation = plan.recipe.evaluation
    wanted = [*(one for _, one in plan.evaluations().values()), *filter(None, [plan.probes])]
    missing = [one for one in wanted if not store.is_done(one)]
    if not evaluation.beyond_local or not missing:
        return []
    folder = f"jobs/check-suites-{missing[0].digest}"
    store.remove(folder)  # of a launcher that was killed
    job = CheckJob(
        suites=evaluation.beyond_local, data_folder=evaluation.data_folder, result=f"{folder}/result.json",
        store=store.where,
        questions=evaluation.continual.questions if evaluation.continual else 0,
    )  # fmt: skip
    job_file = store.write(f"{folder}/job.json", job.model_dump(mode="json"))
    end = run_job(
        JobRequest(
            name=f"check-suites-{missing[0].digest}",
            module="components.evaluate.check_app",
            arguments=(job_file,),
            log_folder=store.log_folder(missing[0]),
            num_threads=NUM_THREADS,
            variables=hub_environment(evaluation, os.environ),
            cluster=plan.recipe.cluster.without_devices(),
            labels={"study": plan.recipe.name, "step": "check-suites"},
        )
    )
    result = read_json(f"{store.where}/{folder}/result.json") or {
        "error": tail(end.log) or "the check ended without a result"
    }
    store.remove(folder)
    if "error" in result:
        raise SuitesUnusable(f"{result['error']}\n  log: {end.log}")
    return [SuiteQuestion.model_validate(question) for question in result["questions"]]


def evaluate_models(plan: Plan, store: Store) -> None:
    """Evaluates the base and every arm (and its chosen checkpoints) whose model is there and whose scores are not.

    Whatever goes wrong, each of them then has its scores or, in the store, the reason why not. Raises EvaluationFailed,
    and what kept the job from being run.
    """
    wanted = {
        digest: evaluation
        for digest, (model, evaluation) in plan.evaluations().items()
        if not store.is_done(evaluation) and model_is_there(store, model)
    }
    if not wanted:
        return
    for evaluation in wanted.values():
        store.forget_failure(evaluation)
    try:
        _evaluate(plan, store, wanted)
    except Superseded:  # another study has evaluated what both share
        evaluate_models(plan, store)
    except Exception as error:
        for evaluation in wanted.values():
            if not store.is_done(evaluation):
                tell_failure(store, evaluation, error)
        raise


def _evaluate(plan: Plan, store: Store, wanted: Mapping[str, Identity]) -> None:
    """`wanted`: evaluations by digest. Raises Superseded."""
    content = digest_of(sorted(wanted))
    # What lies there is of a launcher that was killed; its job may still run, and write.
    folder = f"jobs/evaluate-{content}"
    recipe = plan.recipe
    results = {digest: f"{folder}/{digest}.json" for digest in wanted}
    job = EvaluateJob(
        models=[
            EvaluatedModel(folder=model_in_store(plan, store, one.inputs["model"]), result=results[digest])
            for digest, one in wanted.items()
        ],
        store=store.where, tokenizer=plan.tokenizer.path,
        parts={
            name: (part, [file.relative_to(store.root).as_posix() for file in files])
            for name, (part, files) in heldout_parts(plan, store).items()
        },
        categories={name: one.category for name, one in plan.sources_with_text().items() if one.category},
        sequence_length=recipe.sequence_length, questions=recipe.evaluation.questions,
        bytes_per_source=recipe.evaluation.bytes_per_source, suites=recipe.evaluation.beyond_local,
        data_folder=recipe.evaluation.data_folder,
    )  # fmt: skip
    first = next(iter(wanted.values()))
    job_file = store.write(f"{folder}/job.json", job.model_dump(mode="json"))
    request = JobRequest(
        name=f"evaluate-{first.digest}", module="components.evaluate.app", arguments=(job_file,),
        log_folder=store.log_folder(first), num_processes=min(len(wanted), num_side_by_side(recipe.cluster)),
        variables=hub_environment(recipe.evaluation, os.environ), cluster=recipe.cluster,
        labels={"study": recipe.name, "step": "evaluate"}, notes={"store": store.where}, content=content,
    )  # fmt: skip
    end = run_job(request)
    failed = [one for digest, one in wanted.items() if not _record(store, one, results[digest], end.log)]
    store.remove(folder)
    if failed:
        raise EvaluationFailed(f"{len(failed)} of {len(wanted)} models have no scores; log: {end.log}")


def _record(store: Store, evaluation: Identity, result_file: str, log: Path) -> bool:
    result = read_json(f"{store.where}/{result_file}") or {
        "error": tail(log) or "the evaluation ended without a result"
    }
    if "error" in result:
        store.write_failure(evaluation, result["error"], str(log))
        return False
    with store.output(evaluation) as folder:
        write_json(folder / "examples.json", result["examples"])
        outputs = {name: value for name, value in result.items() if name != "examples"}
        store.write_record(evaluation, folder, outputs, {"num_threads": 1})
    store.forget_failure(evaluation)
    return True
