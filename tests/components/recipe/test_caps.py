"""`max_epochs`: what exceeds it goes to the other sources, exactly, or the recipe is refused."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchpoint.components.recipe.caps import moved_excess, samples_per_epoch
from switchpoint.components.recipe.counting import phase_counts, phase_key
from switchpoint.components.recipe.epochs import known_tokens, run_epochs
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source
from tests.components.recipe.test_plan import planned


def capped(study: dict[str, Any], max_epochs: float, tokens: int, **answers: Any) -> dict[str, Any]:
    cap = {"folder": "answers", "tokens": tokens, "max_epochs": max_epochs, "excess": "move"}
    study["sources"] = {"prose": {"folder": "prose", "tokens": 10**6}, "answers": cap | answers}
    return study


def test_the_excess_goes_to_the_others_over_the_whole_run(study: dict[str, Any]) -> None:
    """Half of the run's answers would be drawn before the switch; the cap holds over both phases."""
    study["blends"]["more"] = {"prose": 0.5, "answers": 0.5}
    study["arms"] = {"both": {"gb": "mixed", "qb": "more", "switch": {"steps": 20}}}
    plan = planned(capped(study, 2, 641))
    gb, qb = plan.arms[0].phases
    available = samples_per_epoch(641, 32)
    assert gb.moved == {}
    assert gb.samples["answers"] + qb.samples["answers"] <= 2 * available
    # The phase ends inside its first block, of which it draws a random part: some samples short of the cap.
    assert gb.samples["answers"] + qb.samples["answers"] >= 2 * available - 8
    wanted = phase_counts({"prose": Fraction(1, 2), "answers": Fraction(1, 2)}, 80, phase_key(0, 80))["answers"]
    assert qb.moved == {"answers": wanted - qb.samples["answers"]}
    assert sum(qb.samples.values()) == 80
    assert run_epochs(plan.arms[0].phases, known_tokens(plan, {}))["answers"] <= 2


def test_sources_that_cannot_take_it_are_refused(study: dict[str, Any]) -> None:
    study["arms"] = {"only": {"gb": "all", "qb": "all"}}
    study["blends"]["all"] = {"answers": 1}
    with pytest.raises(BadInput, match=r"(?s)every source of the blend reaches its max_epochs.*a source without a cap"):
        planned(capped(study, 1, 641))


def test_refusing_is_the_other_choice(study: dict[str, Any]) -> None:
    from switchpoint.components.recipe.epochs import check_sources

    plan = planned(capped(study, 1, 641, excess="refuse"))
    with pytest.raises(BadInput, match=r"(?s)too small for the epochs asked.*or say `excess: move`"):
        check_sources(plan, known_tokens(plan, {}))


@settings(deadline=None, max_examples=150)
@given(
    raw=st.lists(st.integers(1, 50), min_size=2, max_size=6), caps=st.lists(st.integers(1, 40), min_size=6, max_size=6),
    sizes=st.lists(st.integers(12, 4_000), min_size=6, max_size=6), num_samples=st.integers(1, 4_000),
    drawn=st.integers(0, 30),
)  # fmt: skip
def test_caps_hold_exactly_and_counts_still_sum(
    raw: list[int], caps: list[int], sizes: list[int], num_samples: int, drawn: int
) -> None:
    names = [f"s{number}" for number in range(len(raw))]
    weights = {name: Fraction(part, sum(raw)) for name, part in zip(names, raw, strict=True)}
    sources = {
        name: Source.model_validate({"tokens": size, "max_epochs": f"{cap}/10", "excess": "move"})
        for name, cap, size in zip(names[1:], caps, sizes, strict=False)
    } | {"s0": Source(tokens=10**9)}
    before = {names[1]: Fraction(drawn, 10)}
    wanted = phase_counts(weights, num_samples, "key")
    found, counts, moved = moved_excess(weights, wanted, num_samples, "key", 10, sources, before, "blend")
    assert sum(found.values()) == 1
    assert sum(counts.values()) == num_samples
    for name, count in counts.items():
        cap = sources[name].max_epochs
        if cap is not None and count:
            assert Fraction(count, samples_per_epoch(sources[name].tokens or 0, 10)) + before.get(name, 0) <= cap
    assert sum(moved.values()) >= 0
    assert all(wanted[name] - counts.get(name, 0) == count for name, count in moved.items())
