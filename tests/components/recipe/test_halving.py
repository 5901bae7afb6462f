"""Successive halving: who goes on, where arms end, that their histories stay the same, and what it takes at most."""

from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.halving import Halving, Stop, decide
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stops import models_at, most_tokens, stops_at


def planned(study: dict[str, Any], stops: dict[str, Stop] | None = None) -> Plan:
    recipe = parse_recipe(study, "recipe.yaml")
    return expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()}, "", stops)


def test_the_better_half_goes_on_rounded_up() -> None:
    halving = Halving(at=[0.5])
    values = {"a": -2.0, "b": -1.5, "c": -1.8, "d": None, "e": -3.0}
    models = {arm_id: (arm_id,) for arm_id in values}
    reasons = decide(halving, Fraction(1, 2), "bits/byte", values, models)
    assert set(reasons) == {"d", "e"}
    assert reasons["e"] == "bits/byte 3.0000 at 50% of its horizon: place 4 of 5, and 3 went on"
    assert reasons["d"] == "it had no bits/byte at 50% of its horizon"
    assert decide(Halving(at=[0.5], keep="1/3"), Fraction(1, 2), "bits/byte", {"a": 1.0}, models) == {}


def test_arms_that_have_not_parted_go_on_or_stop_together() -> None:
    halving = Halving(at=[0.5])

    def kept(values: dict[str, float], models: dict[str, tuple[str, ...]]) -> set[str]:
        return set(values) - set(decide(halving, Fraction(1, 2), "bits/byte", values, models))

    models = {"a": ("1", "2"), "b": ("1", "2"), "c": ("1", "2"), "d": ("3", "4")}
    assert kept({"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.5}, models) == {"a", "b", "c"}
    assert kept({"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0}, models) == {"a", "b", "c", "d"}
    # Two models that happen to have one score: as many as said go on.
    assert kept({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}, {one: (one,) for one in models}) == {"a", "b"}


@pytest.mark.parametrize("halving", [{"at": []}, {"at": [0.5, 0.5]}, {"at": [1]}, {"at": [0.5], "keep": 1}])
def test_points_and_parts_lie_between_0_and_1(study: dict[str, Any], halving: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="halving"):
        planned(study | {"halving": halving})


def test_a_stopped_arm_has_the_history_of_the_whole_one(study: dict[str, Any]) -> None:
    whole = planned(study)
    stops = stops_at(whole, Fraction(1, 2), {}) | {"mixed": Stop(step=36, reason="it was last")}
    part = planned(study, stops)
    assert [arm.horizon_steps for arm in part.arms] == [20, 36, 20]
    assert part.arm("mixed").stopped == "it was last"
    # `switched` is still in its GB run, which is that of `prose`: no QB run.
    assert [run.identity for run in part.runs] == [run.identity for run in whole.gb_runs]
    assert part.run(part.arm("prose").gb_run.digest).stage.end_step == 20
    assert part.arm("switched").switch_step is None
    assert part.arm("switched").model.digest == part.arm("prose").model.digest
    for arm in part.arms:
        for phase in arm.phases:
            assert sum(phase.samples.values()) * phase.sequence_length == phase.tokens
            first = next(one for one in whole.arm(arm.run_name).phases if one.name == phase.name)
            assert all(phase.samples[key] <= first.samples[key] for key in phase.samples)
    # Inside the QB phase: 29 steps of GB and 7 of QB.
    late = planned(study, {"switched": Stop(step=36)})
    assert [run.identity for run in late.runs] == [run.identity for run in whole.runs]
    assert late.later_runs[0].stage.end_step == 36
    assert planned(study, {"mixed": Stop(step=99)}).arm("mixed").horizon_steps == 40


def test_chosen_checkpoints_are_fractions_of_the_whole_horizon(study: dict[str, Any]) -> None:
    study["evaluation"]["checkpoints"] = [0.25, 0.9]
    whole = planned(study)
    half = planned(study, stops_at(whole, Fraction(1, 2), {}))
    assert [list(arm.checkpoint_evaluations) for arm in whole.arms] == [[10, 36]] * 3
    assert [list(arm.checkpoint_evaluations) for arm in half.arms] == [[10]] * 3


def test_what_it_takes_at_most(study: dict[str, Any]) -> None:
    """To step 20 two GB runs. Where `mixed` is the better one, the two that share the other go on beside it: all. At
    step 32 all have parted, and two of three go on for 8 steps each: 32 + 32 + 3 + 16 steps of 128 tokens."""
    halving = Halving(at=[0.5])
    whole = planned(study)
    half, late = (planned(study, stops_at(whole, point, {})) for point in (Fraction(1, 2), Fraction(4, 5)))
    assert half.tokens_shared == 40 * 128
    assert whole.tokens_shared == (40 + 40 + 11) * 128
    assert most_tokens(halving, [half, whole]) == whole.tokens_shared
    assert most_tokens(halving, [late, whole]) == (32 + 32 + 3 + 16) * 128
    assert most_tokens(Halving(at=[0.8], keep=0.9), [late, whole]) == whole.tokens_shared
    # Of five from four GB runs one is to go on, or two: a group of two, or it and another arm, for 20 steps each.
    study["blends"] |= {"halves": {"prose": 0.5, "answers": 0.5}, "fifths": {"prose": 0.8, "answers": 0.2}}
    study["arms"] |= {"halves": {"gb": "halves"}, "fifths": {"gb": "fifths"}}
    whole = planned(study)
    half = planned(study, stops_at(whole, Fraction(1, 2), {}))
    assert most_tokens(Halving(at=[0.5], keep="1/5"), [half, whole]) == (80 + 40) * 128
    assert most_tokens(Halving(at=[0.5], keep="2/5"), [half, whole]) == (80 + 60) * 128


@pytest.mark.parametrize("keep", ["1/4", "1/2", "2/3"])
def test_no_order_of_the_arms_takes_more(study: dict[str, Any], keep: str) -> None:
    """Every order of the models at every point, played out."""
    study["arms"] |= {"later": {"switch": {"progress": 0.9}}, "early": {"switch": {"progress": 0.4}}}
    halving, points = Halving(at=[0.25, 0.5, 0.8], keep=keep), [Fraction(1, 4), Fraction(1, 2), Fraction(4, 5)]
    whole = planned(study)
    up_to = [planned(study, stops_at(whole, point, {})) for point in points]
    most = most_tokens(halving, [*up_to, whole])

    def dearest(number: int, stopped: dict[str, Stop]) -> int:
        if number == len(points):
            return planned(study, stopped).tokens_shared
        here = stops_at(whole, points[number], stopped)
        models = models_at(up_to[number])
        going = [arm.arm_id for arm in whole.arms if arm.run_name not in stopped]
        outcomes = set()
        for order in permutations({models[arm_id] for arm_id in going}):
            values: dict[str, float | None] = {arm_id: -float(order.index(models[arm_id])) for arm_id in going}
            outcomes.add(frozenset(decide(halving, points[number], "bits/byte", values, models)))
        return max(dearest(number + 1, stopped | {one: here[one] for one in stops}) for stops in outcomes)

    assert 0 < dearest(0, {}) <= most <= whole.tokens_shared
