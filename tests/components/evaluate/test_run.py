"""The launcher of evaluation: what was ended is started again for what is left; two launchers share what they may."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate import app
from switchpoint.components.evaluate import run as module
from switchpoint.components.evaluate.run import (
    EvaluationFailed,
    SuitesUnusable,
    check_suites,
    evaluate_models,
    evaluate_one,
)
from switchpoint.components.launch.job import JobEnd, JobRequest, Superseded
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store, read_json, write_json
from tests.components.evaluate.test_check_suites import checked

EXAMPLES = {"examples": {"heldout": [1.0]}, "scores": {"heldout": 1.0}}
Job = Callable[[JobRequest, dict[str, str]], JobEnd]


@pytest.fixture
def planned(study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Store]:
    """A study whose models are all there."""
    plan, store = checked(study, tmp_path)
    monkeypatch.setattr(module, "model_is_there", lambda *_: True)
    monkeypatch.setattr(module, "model_in_store", lambda *_: "model")
    monkeypatch.setattr(module, "fetch_heldout_parts", lambda *_: {})
    return plan, store


def jobs(monkeypatch: pytest.MonkeyPatch, *given: Job) -> list[JobRequest]:
    """What takes the place of each job, given its request and its result files by evaluation; the requests."""
    left, requests = iter(given), []

    def run(request: JobRequest) -> JobEnd:
        requests.append(request)
        job = read_json(request.arguments[0])
        models = job.get("models") or [{"result": job.get("result")}]
        files = {Path(one["result"]).stem: f"{job['store']}/{one['result']}" for one in models}
        return next(left)(request, files)

    monkeypatch.setattr(module, "run_job", run)
    return requests


def end(request: JobRequest, **fields: Any) -> JobEnd:
    return JobEnd(**{"succeeded": False, "log": request.log_folder / "none.log"} | fields)


def done(request: JobRequest, files: dict[str, str]) -> JobEnd:
    for file in files.values():
        write_json(Path(file), EXAMPLES)
    return end(request, succeeded=True)


def evicted(request: JobRequest, files: dict[str, str]) -> JobEnd:
    """After the first model."""
    write_json(Path(next(iter(files.values()))), EXAMPLES)
    return disrupted(request, files)


def disrupted(request: JobRequest, files: dict[str, str]) -> JobEnd:
    return end(request, cause="pod evaluate-0 was evicted", may_resume=True, disrupted=True)


def refused(request: JobRequest, files: dict[str, str]) -> JobEnd:
    return end(request, cause="the image registry/trainer:1 cannot be pulled", may_resume=False)


def killed(request: JobRequest, files: dict[str, str]) -> JobEnd:
    return end(request, cause="pod evaluate-0 ran out of memory", may_resume=True)


def superseded(request: JobRequest, files: dict[str, str]) -> JobEnd:
    raise Superseded(request.name)


def test_what_is_evicted_is_started_again_for_what_is_left(
    planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = planned
    asked: list[int] = []

    def counted(job: Job) -> Job:
        return lambda request, files: asked.append(len(files)) or job(request, files)  # type: ignore[func-returns-value]

    requests = jobs(monkeypatch, counted(superseded), counted(evicted), counted(done))
    evaluate_models(plan, store)
    number = len(plan.evaluations())
    assert asked == [number, number, number - 1]
    assert all(store.is_done(one) for _, one in plan.evaluations().values())
    assert not requests[-1].is_done()  # it is taken, and removed


def test_what_a_cluster_did_is_the_failure_of_each(
    planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = planned
    jobs(monkeypatch, refused)
    evaluate_models(plan, store)
    reasons = {(store.failure(one) or {}).get("reason") for _, one in plan.evaluations().values()}
    assert reasons == {"the image registry/trainer:1 cannot be pulled"}


def test_one_model_is_evaluated_once_like_the_others(
    planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = planned
    requests = jobs(monkeypatch, disrupted, done)
    for _ in range(2):
        assert evaluate_one(plan, store, plan.base_evaluation) == {"heldout": 1.0}
    assert len(requests) == 2
    assert [one for _, one in plan.evaluations().values() if store.is_done(one)] == [plan.base_evaluation]


def test_the_reason_why_one_model_has_no_scores_is_raised(
    planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = planned

    def retried(request: JobRequest, files: dict[str, str]) -> JobEnd:
        assert store.failure(plan.base_evaluation) is None
        return done(request, files)

    jobs(monkeypatch, refused, retried)
    with pytest.raises(EvaluationFailed, match="the image registry/trainer:1 cannot be pulled"):
        evaluate_one(plan, store, plan.base_evaluation)
    assert store.failure(plan.base_evaluation) is not None
    assert evaluate_one(plan, store, plan.base_evaluation)
    assert store.failure(plan.base_evaluation) is None


def test_restarts_that_come_no_further_end(planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = planned
    requests = jobs(monkeypatch, *[killed] * 10)
    evaluate_models(plan, store)
    reasons = {(store.failure(one) or {}).get("reason") for _, one in plan.evaluations().values()}
    assert reasons == {"pod evaluate-0 ran out of memory"}
    assert len(requests) == 1 + plan.recipe.training.max_restarts


def test_disruptions_are_not_counted(planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = planned
    most = plan.recipe.training.max_restarts
    jobs(monkeypatch, *[disrupted] * (most + 2), *[killed, disrupted] * most, done)
    evaluate_models(plan, store)
    assert all(store.is_done(one) for _, one in plan.evaluations().values())


def test_failures_between_disruptions_are_counted(planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = planned
    most = plan.recipe.training.max_restarts
    requests = jobs(monkeypatch, *[killed, disrupted] * 10)
    evaluate_models(plan, store)
    reasons = {(store.failure(one) or {}).get("reason") for _, one in plan.evaluations().values()}
    assert reasons == {"pod evaluate-0 ran out of memory"}
    assert len(requests) == 2 * most + 1


def test_of_two_launchers_the_second_finds_what_the_first_took(
    planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = planned

    def taken(request: JobRequest, files: dict[str, str]) -> JobEnd:
        done(request, files)
        assert request.is_done()
        with monkeypatch.context() as patched:
            jobs(patched, done)
            evaluate_models(plan, store)
        assert not Path(request.arguments[0]).exists()
        request.log_folder.mkdir(parents=True)
        log = request.log_folder / "evaluate.log"
        log.write_text("Traceback (most recent call last):\nValueError: of something else\n")
        return end(request, succeeded=True, log=log)

    jobs(monkeypatch, taken)
    evaluate_models(plan, store)
    assert not any(store.failure(one) for _, one in plan.evaluations().values())


def test_a_result_that_is_there_is_not_made_again(planned: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster starts pods again without asking the launcher. What failed is tried again."""
    plan, store = planned
    evaluated: list[Path] = []

    def started_again(request: JobRequest, files: dict[str, str]) -> JobEnd:
        first, second, *_ = files.values()
        write_json(Path(first), EXAMPLES)
        write_json(Path(second), {"error": "OSError: no answer"})
        monkeypatch.setattr("sys.argv", ["app", request.arguments[0]])
        monkeypatch.setattr(app, "_evaluator", lambda *_: lambda folder: evaluated.append(folder) or EXAMPLES)
        monkeypatch.setattr(app, "die_with_parent", lambda: None)
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "1")
        app.main()
        return end(request, succeeded=True)

    jobs(monkeypatch, started_again)
    evaluate_models(plan, store)
    assert len(evaluated) == len(plan.evaluations()) - 1


@pytest.fixture
def beyond_local(study: dict[str, Any], tmp_path: Path) -> Callable[..., tuple[Plan, Store]]:
    """A study with a suite that has data of its own."""
    (tmp_path / "data").mkdir()

    def make(**changes: Any) -> tuple[Plan, Store]:
        wanted = {"suites": ["retention"], "data_folder": "data", **changes}
        return checked(study | {"evaluation": study["evaluation"] | wanted}, tmp_path)

    return make


def test_studies_that_ask_for_other_questions_have_jobs_and_files_of_their_own(
    beyond_local: Callable[..., tuple[Plan, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the first score that they lack is the same."""
    (plan, store), (other, _) = beyond_local(), beyond_local(continual={"every_steps": 10, "questions": 7})
    assert plan.base_evaluation == other.base_evaluation
    names = []

    def meanwhile(request: JobRequest, files: dict[str, str]) -> JobEnd:
        with monkeypatch.context() as patched:
            names.extend([request.name, *(one.name for one in _checked(other, store, patched))])
        assert Path(request.arguments[0]).exists()
        return answered(request, files)

    jobs(monkeypatch, meanwhile)
    assert check_suites(plan, store) == []
    assert len(set(names)) == 2


def _checked(plan: Plan, store: Store, patched: pytest.MonkeyPatch) -> list[JobRequest]:
    requests = jobs(patched, answered)
    check_suites(plan, store)
    return requests


def answered(request: JobRequest, files: dict[str, str]) -> JobEnd:
    (file,) = files.values()
    write_json(Path(file), {"questions": []})
    return end(request, succeeded=True)


def test_a_check_that_another_launcher_removed_the_result_of_is_made_again(
    beyond_local: Callable[..., tuple[Plan, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = beyond_local()
    requests = jobs(monkeypatch, lambda request, _: end(request, succeeded=True), superseded, answered)
    with pytest.raises(SuitesUnusable, match="twice"):
        check_suites(plan, store)
    assert len(requests) == 2
    assert check_suites(plan, store) == []


def test_a_check_that_is_evicted_is_made_again(
    beyond_local: Callable[..., tuple[Plan, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = beyond_local()
    requests = jobs(monkeypatch, *[disrupted] * 3, answered)
    check_suites(plan, store)
    assert len(requests) == 4


def test_a_check_that_the_cluster_ends_says_why(
    beyond_local: Callable[..., tuple[Plan, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = beyond_local()
    jobs(monkeypatch, refused)
    with pytest.raises(SuitesUnusable, match="cannot be pulled"):
        check_suites(plan, store)
