"""Law 4, and the numbers of arXiv 2407.07263."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.recipe.schedule import Cosine, switch_step, whole_steps

PAPER_TOKENS_PER_STEP = 1_152 * 4_096


def paper_schedule(horizon_tokens: float) -> Cosine:
    steps = whole_steps(int(horizon_tokens), PAPER_TOKENS_PER_STEP)
    return Cosine(max_learning_rate=4.5e-5, min_learning_rate=4.5e-7, horizon_tokens=steps * PAPER_TOKENS_PER_STEP)


def test_the_paper_horizon_is_rounded_up_to_whole_steps() -> None:
    assert whole_steps(300_000_000_000, PAPER_TOKENS_PER_STEP) == 63_579


@pytest.mark.parametrize(("divisor", "progress"), [(2, 0.5032), (5, 0.7113), (10, 0.8050), (50, 0.9359)])
def test_the_switch_lies_where_the_paper_geometry_says(divisor: int, progress: float) -> None:
    schedule = paper_schedule(300e9)
    step = switch_step(schedule, 1 / divisor, PAPER_TOKENS_PER_STEP)
    assert step / 63_579 == pytest.approx(progress, abs=1e-4)
    bound = 4.5e-5 / divisor
    at, before = (schedule.learning_rate(number * PAPER_TOKENS_PER_STEP) for number in (step, step - 1))
    assert at <= bound < before


@pytest.mark.parametrize(("horizon", "qb_tokens"), [(100e9, 28.9e9), (300e9, 86.6e9), (1e12, 288.7e9)])
def test_switching_at_a_fifth_leaves_the_paper_qb(horizon: float, qb_tokens: float) -> None:
    step = switch_step(paper_schedule(horizon), 0.2, PAPER_TOKENS_PER_STEP)
    assert horizon - step * PAPER_TOKENS_PER_STEP == pytest.approx(qb_tokens, abs=0.05e9)


def test_250_of_300_billion_lie_at_0763_of_the_maximum() -> None:
    assert paper_schedule(300e9).learning_rate(int(250e9)) / 4.5e-5 == pytest.approx(0.0763, abs=1e-4)


@given(
    progress=st.floats(0.001, 0.999), maximum=st.floats(1e-6, 1e-2), floor=st.floats(0, 0.9),
    horizon=st.integers(10**6, 10**12),
)  # fmt: skip
def test_the_inverse_agrees(progress: float, maximum: float, floor: float, horizon: int) -> None:
    schedule = Cosine(max_learning_rate=maximum, min_learning_rate=maximum * floor, horizon_tokens=horizon)
    tokens = int(progress * horizon)
    assert schedule.tokens_at(schedule.learning_rate(tokens)) == pytest.approx(tokens, abs=horizon * 1e-5)


def test_it_starts_at_the_maximum_without_warmup_and_ends_at_the_minimum() -> None:
    schedule = paper_schedule(300e9)
    assert schedule.learning_rate(0) == 4.5e-5
    assert schedule.learning_rate(schedule.horizon_tokens) == pytest.approx(4.5e-7)


def test_a_warmup_rises_from_zero_and_a_switch_is_looked_for_after_it() -> None:
    schedule = Cosine(max_learning_rate=1e-3, min_learning_rate=0, horizon_tokens=1000, warmup_tokens=100)
    assert [schedule.learning_rate(tokens) for tokens in (0, 50, 100)] == [0, 5e-4, 1e-3]
    assert switch_step(schedule, 0.2, 10) == math.ceil(schedule.tokens_at(2e-4) / 10)


def test_a_ratio_below_the_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="never reaches"):
        switch_step(paper_schedule(300e9), 0.005, PAPER_TOKENS_PER_STEP)
