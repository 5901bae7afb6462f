"""Successive halving: who goes on, where arms end, that their histories stay the same, and what it takes at most."""

from fractions import Fraction
from typing import Any

import pytest

from components.recipe.errors import BadInput
from components.recipe.expand import expand
from components.recipe.halving import Halving, Stop, decide
from components.recipe.load import parse_recipe
from components.recipe.plan import Plan
from components.recipe.stops import most_tokens, stops_at


def planned(study: dict[str, Any], stops: dict[str, Stop] | None = None) -> Plan:
    recipe = parse_recipe(study, "recipe.yaml")
    return expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()}, "", stops)


def test_the_better_half_goes_on_rounded_up() -> None:
    halving = Halving(at=[0.5])
    values = {"a": -2.0, "b": -1.5, "c": -1.8, "d": None, "e": -3.0}
    reasons = decide(halving, Fraction(1, 2), "bits/byte", values)
    assert set(reasons) == {"d", "e"}
    assert reasons["e"] == "bits/byte 3.0000 at 50% of its horizon: place 4 of 5, and 3 went on"
    assert reasons["d"] == "it had no bits/byte at 50% of its horizon"
    assert decide(Halving(at=[0.5], keep="1/3"), Fraction(1, 2), "bits/byte", {"a": 1.0}) == {}


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
    assert part.run(part.arm("prose").gb_run.digest).end_step == 20
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
    assert late.qb_runs[0].end_step == 36
    assert planned(study, {"mixed": Stop(step=99)}).arm("mixed").horizon_steps == 40


def test_chosen_checkpoints_are_fractions_of_the_whole_horizon(study: dict[str, Any]) -> None:
    study["evaluation"]["checkpoints"] = [0.25, 0.9]
    whole = planned(study)
    half = planned(study, stops_at(whole, Fraction(1, 2), {}))
    assert [list(arm.checkpoint_evaluations) for arm in whole.arms] == [[10, 36]] * 3
    assert [list(arm.checkpoint_evaluations) for arm in half.arms] == [[10]] * 3


def test_what_it_takes_at_most(study: dict[str, Any]) -> None:
    """To step 20 two GB runs; then two of three arms for 20 steps each: 40 + 40 steps of 128 tokens."""
    halving = Halving(at=[0.5])
    whole = planned(study)
    half = planned(study, stops_at(whole, Fraction(1, 2), {}))
    assert half.tokens_shared == 40 * 128
    assert whole.tokens_shared == (40 + 40 + 11) * 128
    assert most_tokens(halving, [half, whole]) == (40 + 40) * 128
    assert most_tokens(Halving(at=[0.5], keep=0.9), [half, whole]) == whole.tokens_shared
