"""Steps, samples and tokens, each from the others, exactly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from switchpoint.components.recipe.clock import BatchRamp, Clock


def test_the_paper_ramp() -> None:
    """384 to 1,152 over the first 5% of 8T tokens, in stages of 384."""
    ramp = BatchRamp(start=384, end=1152, over_tokens=400_000_000_000)
    assert ramp.stages() == [(0, 384), (200_000_000_000, 768), (400_000_000_000, 1152)]
    clock = Clock.of(ramp, 4096)
    first = -(-200_000_000_000 // (384 * 4096))
    assert [clock.batch_size(step) for step in (0, first - 1, first)] == [384, 384, 768]
    assert clock.batch_size(10**9) == 1152
    assert clock.tokens_at(first) >= 200_000_000_000 > clock.tokens_at(first - 1)


@settings(deadline=None, max_examples=200)
@given(
    start=st.integers(1, 50), increments=st.integers(1, 20), increment=st.integers(1, 50),
    over=st.integers(1, 10**6), begin=st.integers(0, 10**5), length=st.integers(1, 64), step=st.integers(0, 10**4),
    tokens=st.integers(0, 10**7), change=st.integers(0, 5000), other=st.integers(1, 64),
)  # fmt: skip
def test_steps_and_tokens_convert_exactly_both_ways(
    start: int, increments: int, increment: int, over: int, begin: int, length: int, step: int, tokens: int,
    change: int, other: int,
) -> None:  # fmt: skip
    ramp = BatchRamp(
        start=start, end=start + increments * increment, increment=increment, over_tokens=over, start_tokens=begin
    )
    clock = Clock.of(ramp, length).changed(change, ramp, other)
    assert clock.step_at(clock.tokens_at(step)) == step
    found = clock.step_at(tokens)
    assert clock.tokens_at(found) >= tokens
    assert found == 0 or clock.tokens_at(found - 1) < tokens
    # Walking step by step gives the same: the batch of a step is that of the tokens before it.
    consumed = samples = 0
    for number in range(min(step, 300)):
        expected = [size for at, size in ramp.stages() if at <= consumed][-1]
        assert clock.batch_size(number) == expected
        assert (clock.tokens_at(number), clock.samples_at(number)) == (consumed, samples)
        samples += expected
        consumed += expected * (other if number >= change else length)


def test_without_a_ramp_tokens_are_steps_times_batch_times_length() -> None:
    clock = Clock.of(8, 128).changed(100, 4, 512)
    assert clock.tokens_at(100) == 100 * 8 * 128
    assert clock.tokens_at(101) == 100 * 8 * 128 + 4 * 512
    assert clock.samples_at(101) == 804
    assert [clock.sequence_length(step) for step in (99, 100)] == [128, 512]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": 8, "end": 8, "over_tokens": 10}, "grows"),
        ({"start": 8, "end": 20, "increment": 5, "over_tokens": 10}, "does not divide"),
        ({"start": 8, "end": 20, "over_tokens": 0}, "greater than 0"),
    ],
)
def test_ramps_that_are_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BatchRamp.model_validate(fields)
