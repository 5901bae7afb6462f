"""Law 3: counts follow the weights, exactly and wherever a phase ends."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchpoint.components.recipe.counting import BLOCK_SAMPLES, Blend, phase_counts

raw_weights = st.lists(st.integers(1, 10**6), min_size=1, max_size=40)


def blend_weights(raw: list[int]) -> dict[str, Fraction]:
    return {f"s{number:02d}": Fraction(weight, sum(raw)) for number, weight in enumerate(raw)}


@settings(deadline=None, max_examples=60)
@given(raw=raw_weights, start=st.integers(0, 10**6))
def test_counts_sum_stay_within_two_samples_and_never_fall(raw: list[int], start: int) -> None:
    weights = blend_weights(raw)
    blend = Blend(weights)
    before = blend.counts(start * BLOCK_SAMPLES)
    for block in range(start + 1, start + 12):
        total = block * BLOCK_SAMPLES
        counts = blend.counts(total)
        assert counts.sum() == total
        assert (counts >= before).all()
        assert all(abs(weights[name] * total - int(count)) < 2 for name, count in zip(blend.names, counts, strict=True))
        before = counts


def test_small_weights_are_drawn_as_often_as_they_weigh() -> None:
    weights = {"tiny": Fraction(1, 100_000), "rest": Fraction(99_999, 100_000)}
    counts = phase_counts(weights, 10_000_000, "key")
    assert counts == {"tiny": 100, "rest": 9_999_900}


@settings(deadline=None, max_examples=30)
@given(raw=raw_weights, num_samples=st.integers(0, 5000))
def test_a_phase_that_ends_anywhere_counts_what_its_blocks_draw(raw: list[int], num_samples: int) -> None:
    weights = blend_weights(raw)
    blend = Blend(weights)
    drawn: list[str] = []
    for block in range(-(-num_samples // BLOCK_SAMPLES)):
        drawn += [blend.names[source] for source in blend.block(block, "key")[0]]
    counts = phase_counts(weights, num_samples, "key")
    assert sum(counts.values()) == num_samples
    assert counts == {name: drawn[:num_samples].count(name) for name in blend.names}


def test_ordinals_of_a_source_count_up_without_a_gap_in_the_order_of_drawing() -> None:
    blend = Blend({"a": Fraction(3, 10), "b": Fraction(7, 10)})
    blocks = [blend.block(number, "key") for number in range(3)]
    sources = np.concatenate([block[0] for block in blocks])
    ordinals = np.concatenate([block[1] for block in blocks])
    for source in (0, 1):
        of_source = ordinals[sources == source]
        assert (of_source == np.arange(len(of_source))).all()


def test_the_order_in_which_weights_are_written_plays_no_part() -> None:
    weights = blend_weights([5, 5, 5, 3, 1])
    turned = dict(reversed(weights.items()))
    assert phase_counts(weights, 7777, "key") == phase_counts(turned, 7777, "key")


@pytest.mark.parametrize("weights", [{}, {"a": Fraction(1, 2)}, {"a": Fraction(3, 2), "b": Fraction(-1, 2)}])
def test_weights_that_are_no_blend_are_refused(weights: dict[str, Fraction]) -> None:
    with pytest.raises(ValueError, match="positive and sum to 1"):
        Blend(weights)
