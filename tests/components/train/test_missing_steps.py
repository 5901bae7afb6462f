"""Which steps a job trains, on step numbers alone: without a store, a model or other processes."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchpoint.components.train.missing_steps import MissingSteps, find_missing

JOB_END = 40
STEPS = st.sets(st.integers(0, JOB_END))


@pytest.mark.parametrize(
    ("checkpoints", "models", "missing"),
    [
        ([], [], [10, 20, 40]),
        ([10, 20], [20, 40], [40]),  # a model whose checkpoint is missing is not enough
        ([10, 20, 40], [20], [40]),  # nor is a checkpoint whose model is missing
        ([10, 40], [20, 40], []),  # at step 20 only the model is requested
        ([5, 10, 40], [30, 40], [20]),  # what nobody requested does not help
    ],
)
def test_a_step_is_missing_until_all_that_is_requested_is_there(
    checkpoints: list[int], models: list[int], missing: list[int]
) -> None:
    assert find_missing([40, 10], [20, 40], checkpoints.__contains__, models.__contains__) == missing


def test_training_ends_at_the_last_missing_step() -> None:
    assert MissingSteps((10, 15), JOB_END).end_step == 15
    assert MissingSteps((), JOB_END).end_step == JOB_END


def test_a_job_resumes_at_or_before_the_first_missing_step() -> None:
    """A new arm switches at 15 in a run that was trained to 40."""
    complete = [5, 10, 12, 20, 40]
    assert MissingSteps((15,), JOB_END).resume_candidates(complete) == [5, 10, 12]
    assert MissingSteps((10, 15), JOB_END).resume_candidates(complete) == [5, 10]
    assert MissingSteps((3,), JOB_END).resume_candidates(complete) == []
    # Nothing is missing: the job stands at its end.
    assert MissingSteps((), 20).resume_candidates(complete) == [5, 10, 12, 20]


def test_steps_up_to_the_next_missing_one_can_be_skipped() -> None:
    missing = MissingSteps((5, 20, 40), JOB_END)
    complete = [5, 10, 15, 20, 30]
    assert missing.skip_candidates(5, complete) == [10, 15, 20]
    assert missing.skip_candidates(20, complete) == [30]
    assert missing.skip_candidates(5, [3, 5, 30]) == []


def test_nothing_is_skipped_between_missing_steps_or_after_the_last() -> None:
    missing = MissingSteps((5, 40), JOB_END)
    assert [step for step in range(JOB_END + 1) if missing.may_skip(step)] == [5]
    assert missing.skip_candidates(6, [10, 30]) == []
    assert missing.skip_candidates(40, [41]) == []


@given(missing=STEPS, complete=STEPS)
def test_every_missing_step_is_reached_and_nothing_trained_that_could_be_skipped(
    missing: set[int], complete: set[int]
) -> None:
    """A job that loads the newest candidate every time, as `Trainer` does."""
    job = MissingSteps(tuple(sorted(missing)), JOB_END)
    step = max(job.resume_candidates(sorted(complete)), default=0)
    reached, trained = {step}, []
    while step < job.end_step:
        while candidates := job.skip_candidates(step, sorted(complete)):
            assert candidates[-1] > step
            step = candidates[-1]
            reached.add(step)
        if step < job.end_step:
            trained.append(step)
            step += 1
            reached.add(step)
    assert missing <= reached
    assert step == job.end_step
    for start in trained:
        following = min(one for one in missing or {JOB_END} if one > start)
        assert not [one for one in complete if start < one <= following]


def test_it_needs_no_torch() -> None:
    code = "import sys, switchpoint.components.train.missing_steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
