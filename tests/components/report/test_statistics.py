"""Intervals and corrections by textbook values, and on data whose truth is known."""

import numpy as np
import pytest

from switchpoint.components.report.statistics import (
    Part,
    columns,
    differences,
    holm,
    mean_interval,
    paired_t,
    percentile_interval,
    resampled_scores,
)


def test_a_paired_t_interval_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653."""
    interval = paired_t([1.0, 2.0, 3.0])
    assert interval is not None
    half = 4.302653 / 3**0.5
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half))
    # t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2).
    assert interval.p == pytest.approx(1 - 12**0.5 / 14**0.5)
    assert paired_t([1.0]) is None
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, half))
    assert mean_interval([5.0]) == (5.0, None)


def test_equal_differences_leave_no_doubt() -> None:
    always, never = paired_t([0.5, 0.5]), paired_t([0.0, 0.0])
    assert always is not None
    assert never is not None
    assert (always.p, never.p) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1 (not below the one before).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_bootstrap_agrees_with_the_standard_error() -> None:
    rng = np.random.default_rng(1)
    tops = rng.normal(0.3, 1, (1, 400))
    scores = resampled_scores([Part(weight=1, tops=tops, bottoms=np.ones(400))])[:, 0]
    assert scores.mean() == pytest.approx(tops.mean(), abs=0.01)
    assert scores.std() == pytest.approx(tops.std(ddof=1) / 20, rel=0.08)


def test_parts_are_weighted_ratios() -> None:
    first = Part(weight=0.5, tops=np.full((2, 10), [[2.0], [4.0]]), bottoms=np.full(10, 2.0))
    second = Part(weight=0.5, tops=np.full((2, 5), [[3.0], [3.0]]), bottoms=np.ones(5))
    assert resampled_scores([first, second])[0] == pytest.approx([2.0, 2.5])


def test_intervals_hold_what_they_promise() -> None:
    """Of many pairs of arms without a difference, about one in twenty is called different without a correction."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(200):
        apart = paired_t(rng.normal(0, 1, 3).tolist())
        assert apart is not None
        missed += not apart.low < 0 < apart.high
    assert 2 <= missed <= 20


def test_pairs_need_both_seeds_and_examples_to_tell_them_apart() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.01, 300)
    parts = [Part(weight=1, tops=np.stack([noise, noise + 0.2, noise + 0.001]), bottoms=np.ones(300))]
    by_seed = {
        "a": {0: 1.00, 1: 1.01, 2: 0.99},
        "b": {0: 1.20, 1: 1.21, 2: 1.191},
        "c": {0: 1.03, 1: 0.97, 2: 1.01},
    }
    found = {(one.first, one.second): one for one in differences(by_seed, parts, several_seeds=True)}
    assert found["a", "b"].is_distinguishable
    assert found["a", "b"].value == pytest.approx(0.2, abs=0.001)
    assert found["a", "b"].num_seeds == 3
    # Every example says that c is worse; the seeds do not.
    examples = found["a", "c"].over_examples
    assert examples is not None
    assert examples.low > 0
    assert not found["a", "c"].is_distinguishable


def test_one_seed_leaves_the_examples_alone() -> None:
    parts = [Part(weight=1, tops=np.stack([np.zeros(50), np.ones(50)]), bottoms=np.ones(50))]
    (one,) = differences({"a": {0: 0.0}, "b": {0: 1.0}}, parts, several_seeds=False)
    assert one.over_seeds is None
    assert one.over_examples is not None
    assert one.is_distinguishable
    (none,) = differences({"a": {0: 0.0}, "b": {1: 1.0}}, [], several_seeds=True)
    assert not none.is_distinguishable
    assert none.num_seeds == 0
    # In a study of several seeds the one that both have leaves the noise between seeds open.
    (one, *_) = differences({"a": {0: 0.0}, "b": {0: 1.0}}, parts, several_seeds=True)
    assert one.over_examples is not None
    assert not one.is_distinguishable


def test_a_pair_is_compared_by_what_both_have() -> None:
    by_seed = {"a": {1: 1.0, 2: 3.0}, "b": {1: 2.0, 2: 4.0, 3: 9.0}, "c": {2: 5.0}, "d": {4: 0.0}}
    ab, ac, ad, bc, bd, cd = differences(by_seed, [], several_seeds=True)
    assert [one.num_seeds for one in (ab, ac, ad, bc, bd, cd)] == [2, 1, 0, 1, 0, 0]
    assert [one.value for one in (ab, ac, ad, bc, bd, cd)] == [1.0, 2.0, -2.0, 1.0, -5.0, -5.0]
    assert columns(by_seed) == [
        ("a", (1, 2)), ("b", (1, 2)), ("a", (2,)), ("c", (2,)), ("d", (4,)), ("b", (2,)), ("b", (1, 2, 3)),
    ]  # fmt: skip
    assert columns({"a": {1: 1.0, 2: 2.0}, "b": {1: 1.0, 2: 2.0}}) == [("a", (1, 2)), ("b", (1, 2))]


def test_p_is_not_bounded_by_the_number_of_resamples() -> None:
    """With 23 arms there are 253 pairs: clear differences must stay clear after the correction."""
    rng = np.random.default_rng(9)
    clear = percentile_interval(rng.normal(0.2, 0.02, 10_000))
    assert clear.p < 1e-10
    unclear = percentile_interval(rng.normal(0.02, 0.02, 10_000))
    assert unclear.p == pytest.approx(2 * 0.1587, rel=0.1)
    assert percentile_interval(np.ones(1999)).p == pytest.approx(2 / 2000)
