"""The launcher of evaluation: all models that still need their scores, in one process."""

import os
import sys
from contextlib import suppress
from typing import Any

from switchpoint.components.evaluate.app import EvaluatedModel, EvaluateJob
from switchpoint.components.evaluate.check_app import CheckJob
from switchpoint.components.evaluate.heldout import fetch_heldout_parts
from switchpoint.components.evaluate.hub import hub_environment
from switchpoint.components.evaluate.scores import Score
from switchpoint.components.evaluate.suite_questions import SuiteQuestion
from switchpoint.components.launch.job import JobRequest, Superseded
from switchpoint.components.launch.launcher import num_side_by_side, run_job
from switchpoint.components.launch.task import WAIT_SECONDS, task_lock_file, tell_failure
from switchpoint.components.recipe.digest import Identity, digest_of
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.location import exists
from switchpoint.components.store.lock import locked
from switchpoint.components.store.store import Store, read_json, write_json
from switchpoint.components.train.ending import ending_outside
from switchpoint.components.train.outputs import model_in_store, model_is_there

NUM_THREADS = 2


class EvaluationFailed(RuntimeError):
    """A model has no scores."""


class SuitesUnusable(RuntimeError):
    """A suite's data, or what it needs to run, is not there: found before anything is trained."""


def check_suites(plan: Plan, store: Store) -> list[SuiteQuestion]:
    """Reads the data of the suites that are not local, if any score, or the probes, are still to be made.

    Returns the questions for the probes. Raises SuitesUnusable, which says how to fix it.
    """
    evaluation = plan.recipe.evaluation
    wanted = [*(one for _, one in plan.evaluations().values()), *filter(None, [plan.probes])]
    missing = [one for one in wanted if not store.is_done(one)]
    if not evaluation.beyond_local or not missing:
        return []
    suites, data_folder = evaluation.beyond_local, evaluation.data_folder
    questions = evaluation.continual.questions if evaluation.continual else 0
    # Who asks the same of the same store shares the job, and so do its files: nobody removes them before it ended.
    content = digest_of([store.location, suites, data_folder, questions])
    folder = f"jobs/check-suites-{content}"
    result_file = f"{store.location}/{folder}/result.json"
    job = CheckJob(
        suites=suites,
        data_folder=data_folder,
        result=f"{folder}/result.json",
        store=store.location,
        questions=questions,
    )
    tries = 2  # of two who share it, one may have taken the result, and removed it
    while tries:
        request = JobRequest(
            name=f"check-suites-{content}", module="switchpoint.components.evaluate.check_app",
            arguments=(store.write(f"{folder}/job.json", job.model_dump(mode="json")),),
            log_folder=store.log_folder(missing[0]), num_threads=NUM_THREADS,
            variables=hub_environment(evaluation, os.environ), cluster=plan.recipe.cluster.without_devices(),
            labels={"study": plan.recipe.name, "kind": "check-suites"}, content=content,
            is_done=lambda: exists(result_file),
        )  # fmt: skip
        tries -= 1
        try:
            end = run_job(request)
        except Superseded:
            continue
        if end.disrupted:
            tries += 1
            continue
        result = read_json(result_file) or {}
        if not end.succeeded:  # questions that lie there are an earlier one's
            if "error" in result:  # otherwise it may be another launcher's, which continues
                store.remove(folder)
            reason = end.cause or result.get("error") or ending_outside(end, "the check").reason
            raise SuitesUnusable(f"{reason}\n  log: {end.log}")
        if "questions" in result:
            store.remove(folder)
            return [SuiteQuestion.model_validate(question) for question in result["questions"]]
    raise SuitesUnusable("the check ended without a result, twice")


def evaluate_models(plan: Plan, store: Store) -> None:
    """Evaluate the base and every arm (and its chosen checkpoints) whose model is there and whose scores are not.

    What was ended from outside is started again, for what is left. Whatever goes wrong, each of them then has its
    scores or, in the store, the reason why not: a failure is data. Raises only what kept a reason from being recorded.
    """
    missing = _missing(plan, store)
    for evaluation in missing.values():
        store.forget_failure(evaluation)
    try:
        _evaluate_to_end(plan, store, missing)
    except Exception as error:
        for evaluation in _missing(plan, store).values():
            tell_failure(store, evaluation, error)
        print(f"evaluation failed, which is recorded: {error}", file=sys.stderr, flush=True)


def evaluate_one(plan: Plan, store: Store, evaluation: Identity) -> dict[str, Score]:
    """Evaluate the model of one evaluation, unless it has its scores; return them. Raises EvaluationFailed, with the
    reason, which is recorded.
    """
    if not store.is_done(evaluation):
        store.forget_failure(evaluation)
        _evaluate_to_end(plan, store, {evaluation.digest: evaluation})
    record = store.record(evaluation)
    if record is None:
        raise EvaluationFailed((store.failure(evaluation) or {}).get("reason", "no reason was recorded"))
    return dict(record["outputs"]["scores"])


def _evaluate_to_end(plan: Plan, store: Store, wanted: dict[str, Identity]) -> None:
    """Evaluate models, in one job, until each has its scores or a recorded reason why not. What was ended from outside
    is started again, for what is left. `wanted`: evaluations by digest.
    """
    failed: dict[str, str] = {}
    without_progress = 0
    while wanted:
        may_resume = without_progress < plan.recipe.training.max_restarts
        disrupted = False
        with suppress(Superseded):  # another study has evaluated what both share
            reasons, disrupted = _evaluate(plan, store, wanted, may_resume=may_resume)
            failed |= reasons
        left = {digest: one for digest, one in wanted.items() if digest not in failed and not store.is_done(one)}
        without_progress = 0 if len(left) < len(wanted) else without_progress + (not disrupted)
        wanted = left
    for digest, reason in failed.items():
        print(f"evaluation {digest} failed, which is recorded: {reason}", file=sys.stderr, flush=True)


def _missing(plan: Plan, store: Store) -> dict[str, Identity]:
    """Evaluations by their digest."""
    return {
        digest: evaluation
        for digest, (model, evaluation) in plan.evaluations().items()
        if not store.is_done(evaluation) and model_is_there(store, model)
    }


def _evaluate(
    plan: Plan, store: Store, wanted: dict[str, Identity], *, may_resume: bool
) -> tuple[dict[str, str], bool]:
    """Run one job for all and record what came out.

    Returns why a model has no scores, where a restart does not help, and whether the cluster took away healthy pods.
    """
    content = digest_of(sorted(wanted))
    # What lies there is of another launcher, or an earlier start: what is there already is not evaluated again.
    folder = f"jobs/evaluate-{content}"
    recipe = plan.recipe
    results = {digest: f"{folder}/{digest}.json" for digest in wanted}
    job = EvaluateJob(
        models=[
            EvaluatedModel(folder=model_in_store(plan, store, one.inputs["model"]), result=results[digest])
            for digest, one in wanted.items()
        ],
        store=store.location, tokenizer=plan.tokenizer.path,
        parts={
            name: (part, [file.relative_to(store.root).as_posix() for file in files])
            for name, (part, files) in fetch_heldout_parts(plan, store).items()
        },
        categories={name: one.category for name, one in plan.sources_with_text().items() if one.category},
        sequence_length=recipe.sequence_length, questions=recipe.evaluation.questions,
        with_control_tokens=[
            name for name, one in plan.sources_with_text().items() if one.control_tokens == "token"
        ],
        bytes_per_source=recipe.evaluation.bytes_per_source, suites=recipe.evaluation.beyond_local,
        data_folder=recipe.evaluation.data_folder,
    )  # fmt: skip
    first = next(iter(wanted.values()))
    job_file = store.write(f"{folder}/job.json", job.model_dump(mode="json"))
    request = JobRequest(
        name=f"evaluate-{first.digest}", module="switchpoint.components.evaluate.app", arguments=(job_file,),
        log_folder=store.log_folder(first), num_processes=min(len(wanted), num_side_by_side(recipe.cluster)),
        variables=hub_environment(recipe.evaluation, os.environ), cluster=recipe.cluster,
        labels={"study": recipe.name, "kind": "evaluate"}, notes={"store": store.location}, content=content,
        is_done=lambda: all(exists(f"{store.location}/{file}") for file in results.values()),
    )  # fmt: skip
    end = run_job(request)
    found = ending_outside(end, "an evaluating process")
    failed = {}
    for digest, one in wanted.items():
        result = read_json(f"{store.location}/{results[digest]}") or {}
        if "examples" in result:
            _record(store, one, result)
        elif store.is_done(one):  # by another launcher, which has taken the result
            continue
        elif "error" in result or not (found.resume and (may_resume or found.disrupted)):
            reason = result.get("error") or found.reason
            store.write_failure(one, reason, str(end.log))
            failed[digest] = f"{reason}; log: {end.log}"
    if end.succeeded:  # otherwise another launcher's job may still write there, and a later one resumes from it
        store.remove(folder)
    elif len(failed) < len(wanted):
        print(f"{request.name}: {found.reason}; started again for what is left", flush=True)
    return failed, found.disrupted


def _record(store: Store, evaluation: Identity, result: dict[str, Any]) -> None:
    # A gate and the task `evaluate` of another study may evaluate one model at the same time.
    with locked(task_lock_file(store, evaluation), WAIT_SECONDS), store.output(evaluation) as folder:
        write_json(folder / "examples.json", result["examples"])
        outputs = {name: value for name, value in result.items() if name != "examples"}
        store.write_record(evaluation, folder, outputs, {"num_threads": 1})
    store.forget_failure(evaluation)
