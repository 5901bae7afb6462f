"""Law 4, and the numbers of arXiv 2407.07263."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from switchpoint.components.recipe.clock import Clock
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.phase import Switch
from switchpoint.components.recipe.schedule import Schedule
from switchpoint.components.recipe.schedule_config import Cosine, ScheduleConfig
from switchpoint.components.recipe.switch import switch_step

CONFIG: TypeAdapter[Any] = TypeAdapter(ScheduleConfig)
PAPER_CLOCK = Clock.of(1_152, 4_096)


def schedule(horizon_tokens: int, base_minimum: float | None = None, **fields: Any) -> Schedule:
    found: Schedule = CONFIG.validate_python(fields).pieces(base_minimum, horizon_tokens)
    return found


def paper_schedule(horizon_tokens: float) -> Schedule:
    whole = PAPER_CLOCK.tokens_at(PAPER_CLOCK.step_at(int(horizon_tokens)))
    return Cosine(floor_ratio=0.01).pieces(4.5e-5, whole)


def paper_switch(horizon_tokens: float, ratio: float) -> int:
    until = Switch(learning_rate_ratio=ratio)
    return switch_step(until, paper_schedule(horizon_tokens), PAPER_CLOCK, 0, "switch")


def test_the_paper_horizon_is_rounded_up_to_whole_steps() -> None:
    assert PAPER_CLOCK.step_at(300_000_000_000) == 63_579
    assert paper_schedule(300e9).horizon_tokens == 63_579 * 1_152 * 4_096


@pytest.mark.parametrize(("divisor", "progress"), [(2, 0.5032), (5, 0.7113), (10, 0.8050), (50, 0.9359)])
def test_the_switch_lies_where_the_paper_geometry_says(divisor: int, progress: float) -> None:
    found, step = paper_schedule(300e9), paper_switch(300e9, 1 / divisor)
    assert step / 63_579 == pytest.approx(progress, abs=1e-4)
    bound = 4.5e-5 / divisor
    at, before = (found.learning_rate(PAPER_CLOCK.tokens_at(number)) for number in (step, step - 1))
    assert at <= bound < before


@pytest.mark.parametrize(("horizon", "qb_tokens"), [(100e9, 28.9e9), (300e9, 86.6e9), (1e12, 288.7e9)])
def test_switching_at_a_fifth_leaves_the_paper_qb(horizon: float, qb_tokens: float) -> None:
    left = horizon - PAPER_CLOCK.tokens_at(paper_switch(horizon, 0.2))
    assert left == pytest.approx(qb_tokens, abs=0.05e9)


def test_250_of_300_billion_lie_at_0763_of_the_maximum() -> None:
    assert paper_schedule(300e9).learning_rate(int(250e9)) / 4.5e-5 == pytest.approx(0.0763, abs=1e-4)


def test_it_starts_at_the_maximum_without_warmup_and_ends_at_the_floor() -> None:
    found = paper_schedule(300e9)
    assert found.learning_rate(0) == 4.5e-5
    assert found.learning_rate(found.horizon_tokens) == pytest.approx(4.5e-7)
    assert schedule(1000, 1e-3, floor_ratio=0).learning_rate(1000) == 0
    assert schedule(1000, 1e-3, floor_learning_rate=2e-4).learning_rate(1000) == 2e-4


# (fields, horizon, {tokens: learning rate}): values worked out by hand.
KINDS: list[tuple[str, dict[str, Any], dict[int, float]]] = [
    ("cosine", {"max_learning_rate": 1e-3, "floor_ratio": 0}, {0: 1e-3, 250: 1e-3 * (2 + 2**0.5) / 4, 500: 5e-4}),
    ("linear", {"max_learning_rate": 1e-3, "floor_ratio": 0.1}, {0: 1e-3, 500: 5.5e-4, 1000: 1e-4}),
    ("constant", {"max_learning_rate": 1e-3, "warmup_tokens": 100}, {0: 0, 50: 5e-4, 100: 1e-3, 1000: 1e-3}),
    (
        "wsd",
        {"max_learning_rate": 1e-3, "warmup_fraction": 0.1, "decay_fraction": 0.2, "floor_ratio": 0},
        {0: 0, 100: 1e-3, 800: 1e-3, 900: 5e-4, 1000: 0},
    ),
    (
        "wsd",
        {"max_learning_rate": 1e-3, "decay": "1-sqrt", "decay_tokens": 400, "floor_ratio": 0},
        {0: 1e-3, 600: 1e-3, 700: 5e-4, 1000: 0},
    ),
    (
        "wsd",
        {"max_learning_rate": 1e-3, "decay": "cosine", "decay_tokens": 400, "floor_ratio": 0},
        {600: 1e-3, 800: 5e-4, 1000: 0},
    ),
    (
        "rewarm",
        {"max_learning_rate": 3e-3, "warmup_tokens": 100, "floor_ratio": 0},
        {0: 1e-3, 50: 2e-3, 100: 3e-3, 550: 1.5e-3, 1000: 0},
    ),
    (
        "infinite",
        {
            "max_learning_rate": 1e-3, "warmup_tokens": 100, "cooldown_tokens": 200, "constant_ratio": 0.5,
            "anneal_fraction": 0.2, "floor_ratio": 0,
        },
        {0: 0, 100: 1e-3, 200: 7.5e-4, 300: 5e-4, 800: 5e-4, 900: 2.5e-4, 1000: 0},
    ),
    ("inverse_sqrt", {"max_learning_rate": 1e-3, "warmup_tokens": 100}, {50: 5e-4, 100: 1e-3, 400: 5e-4}),
    (
        "inverse_sqrt",
        {"max_learning_rate": 1e-3, "timescale_tokens": 100, "floor_learning_rate": 5e-4},
        {0: 1e-3, 300: 5e-4, 1000: 5e-4},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "values"), KINDS, ids=[f"{n}-{k}" for n, (k, _, _) in enumerate(KINDS)])
def test_the_schedules(kind: str, fields: dict[str, Any], values: dict[int, float]) -> None:
    found = schedule(1000, 1e-3, kind=kind, **fields)
    assert {tokens: found.learning_rate(tokens) for tokens in values} == pytest.approx(values)
    assert found.horizon_tokens == 1000


@settings(deadline=None)
@given(
    kind=st.sampled_from(["cosine", "linear", "wsd", "rewarm", "infinite", "inverse_sqrt"]),
    decay=st.sampled_from(["linear", "cosine", "1-sqrt"]), progress=st.floats(0.001, 0.999),
    maximum=st.floats(1e-6, 1e-2), floor=st.floats(0, 0.4), horizon=st.integers(10**6, 10**13),
    warmup=st.floats(0.001, 0.2),
)  # fmt: skip
def test_the_inverse_agrees(
    kind: str, decay: str, progress: float, maximum: float, floor: float, horizon: int, warmup: float
) -> None:
    fields: dict[str, Any] = {
        "kind": kind, "max_learning_rate": maximum, "floor_ratio": floor, "warmup_fraction": f"{warmup:.6f}",
    }  # fmt: skip
    fields |= {"decay": decay} if kind in ("wsd", "rewarm") else {}
    fields |= {"decay_fraction": 0.3} if kind == "wsd" else {}
    if kind == "infinite":
        fields |= {"cooldown_fraction": 0.2, "cooldown": decay, "constant_ratio": 0.5, "anneal_fraction": 0.2}
    found = schedule(horizon, maximum / 10, **fields)
    rate = found.min_learning_rate + progress * (found.max_learning_rate - found.min_learning_rate)
    tokens = found.tokens_at(rate)
    assert found.max_tokens <= tokens <= horizon
    assert found.learning_rate(tokens) == pytest.approx(rate, rel=1e-6, abs=maximum * 1e-9)
    assert found.learning_rate(max(found.max_tokens, tokens - horizon * 1e-3)) >= rate * (1 - 1e-9)


@settings(deadline=None, max_examples=60)
@given(ratio=st.floats(0.02, 1), horizon=st.integers(5_000, 10**6), batch=st.integers(1, 7))
def test_the_switch_is_the_first_step_at_or_below_the_ratio(ratio: float, horizon: int, batch: int) -> None:
    clock = Clock.of(batch, 10)
    steps = clock.step_at(horizon)
    found = schedule(clock.tokens_at(steps), kind="rewarm", max_learning_rate=1e-3, warmup_fraction=0.1,
                     start_learning_rate=1e-4)  # fmt: skip
    step = switch_step(Switch(learning_rate_ratio=ratio), found, clock, 0, "switch")
    first = clock.step_at(found.max_tokens)
    low = max(first, step - 50)
    rates = {number: found.learning_rate(clock.tokens_at(number)) for number in range(low, min(steps, step + 2))}
    below = [number for number, rate in rates.items() if rate <= ratio * 1e-3]
    assert below
    assert below[0] == step
    assert step >= first


@pytest.mark.parametrize(
    ("until", "step"),
    [({"progress": 0.5}, 50), ({"progress": "1/3"}, 34), ({"tokens": 501}, 51), ({"tokens": 500}, 50),
     ({"steps": 7}, 7), ({"learning_rate_ratio": 1}, 0)],
)  # fmt: skip
def test_the_other_ways_to_give_a_switch(until: dict[str, Any], step: int) -> None:
    found = schedule(1000, 1e-3)
    assert switch_step(Switch.model_validate(until), found, Clock.of(1, 10), 0, "switch") == step


def test_a_ratio_that_is_never_reached_is_refused() -> None:
    with pytest.raises(
        BadInput,
        match=r"(?s)switch.learning_rate_ratio: the switch lies outside the run: .*never reaches.*floor ratio 0.01",
    ):
        paper_switch(300e9, 0.005)
    constant = schedule(1000, 1e-3, kind="constant")
    with pytest.raises(BadInput, match="never reaches"):
        switch_step(Switch(learning_rate_ratio=0.5), constant, Clock.of(1, 10), 0, "switch")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"warmup_tokens": 1, "warmup_fraction": 0.1}, "not both"),
        ({"floor_ratio": 0.1, "floor_learning_rate": 1e-5}, "not both"),
        ({"kind": "wsd"}, "give one of"),
        ({"kind": "rewarm", "max_learning_rate": 1e-3}, "give one of"),
        ({"kind": "inverse_sqrt"}, "timescale_tokens"),
        ({"kind": "cosin"}, "cosin"),
        ({"start_learning_rate": 1e-5}, "where a warm-up starts"),
        ({"kind": "constant", "floor_ratio": 0.1}, "Extra inputs"),
    ],
)
def test_schedules_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CONFIG.validate_python(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"warmup_tokens": 1000}, "leaves nothing of the horizon"),
        ({"kind": "wsd", "warmup_tokens": 500, "decay_tokens": 600}, "do not fit"),
        ({"floor_learning_rate": 0.5}, "above the maximum"),
        ({"kind": "infinite", "cooldown_tokens": 900, "constant_ratio": 0.5, "anneal_tokens": 200}, "do not fit"),
    ],
)
def test_parts_that_do_not_fit_into_the_horizon(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(1000, 1e-3, **fields)


def test_pieces_that_do_not_depend_on_the_horizon_are_the_same_at_any() -> None:
    """What sharing rests on: WSD with two horizons agrees until the shorter one decays."""
    fields = {"kind": "wsd", "max_learning_rate": 1e-3, "warmup_tokens": 100, "decay_tokens": 200}
    short, long = schedule(1000, **fields), schedule(3000, **fields)
    assert [p.formula() for p in short.pieces[:2]] == [p.formula() for p in long.pieces[:2]]
    assert short.pieces[2].formula() != long.pieces[2].formula()
    sqrt = {"kind": "inverse_sqrt", "max_learning_rate": 1e-3, "timescale_tokens": 100}
    assert schedule(1000, **sqrt).pieces[0].formula() == schedule(3000, **sqrt).pieces[0].formula()
    assert schedule(1000, 1e-3).pieces[0].formula() != schedule(3000, 1e-3).pieces[0].formula()


def test_a_fraction_of_the_horizon_is_exact() -> None:
    found = schedule(3 * 10**12, 1e-3, warmup_fraction=str(Fraction(1, 3)))
    assert found.pieces[0].end_tokens == 10**12
    assert math.isclose(found.learning_rate(10**12), 1e-3)
