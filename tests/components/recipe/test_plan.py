"""The plan: shared histories, the switch, exact counts, and what is refused."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from components.recipe.epochs import check_sources
from components.recipe.errors import BadInput
from components.recipe.load import load_study, parse_recipe
from components.recipe.plan import Plan, expand, origin_of

QUICKSTART = Path(__file__).parents[3] / "pipelines" / "recipes" / "quickstart.yaml"


def planned(study: dict[str, Any], **changes: Any) -> Plan:
    recipe = parse_recipe(deepcopy(study) | changes, "recipe.yaml")
    return expand(recipe, {origin_of(source): "content" for source in recipe.sources.values()}, "recipe.yaml")


def test_the_arm_that_never_switches_is_the_others_history(study: dict[str, Any]) -> None:
    plan = planned(study)
    by_name = {arm.arm_id: arm for arm in plan.arms}
    assert by_name["prose"].gb_run == by_name["switched"].gb_run != by_name["mixed"].gb_run
    assert [len(arm.phases) for arm in plan.arms] == [1, 1, 2]
    assert by_name["prose"].qb_run is None
    switch = by_name["switched"].switch_step
    shared = plan.gb_run(by_name["prose"].gb_run.digest)
    assert (shared.end_step, shared.keep_steps, shared.export_steps) == (40, (switch, 40), (40,))
    assert plan.tokens_alone == 3 * 5_120
    assert plan.tokens_shared == 2 * 5_120 + (40 - switch) * 128


def test_the_switch_is_the_first_step_at_or_below_a_fifth(study: dict[str, Any]) -> None:
    arm = planned(study).arm("switched")
    rates = [arm.schedule.learning_rate(step * 128) for step in range(40)]
    assert arm.switch_step == next(step for step, rate in enumerate(rates) if rate <= 0.2 * max(rates))
    assert arm.schedule.max_learning_rate == 1e-3  # the base's minimum
    assert arm.schedule.min_learning_rate == pytest.approx(1e-5)


def test_samples_sum_to_every_phase(study: dict[str, Any]) -> None:
    for arm in planned(study).arms:
        for phase in arm.phases:
            assert sum(phase.samples.values()) == (phase.end_step - phase.start_step) * 4
        assert arm.phases[-1].end_step == arm.horizon_steps


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"question": "another"}, {"base", "gb_run", "qb_run", "evaluation"}),
        ({"evaluation": {"questions": 7}}, {"base", "gb_run", "qb_run"}),
        ({"switch": {"learning_rate_ratio": 0.5}}, {"base", "gb_run"}),
        ({"seed": 1}, {"base"}),
        ({"horizon_tokens": 6_400}, {"base"}),
        ({"sequence_length": 16}, set()),
    ],
)
def test_a_field_changes_only_what_depends_on_it(
    study: dict[str, Any], changes: dict[str, Any], same: set[str]
) -> None:
    old, new = planned(study), planned(study, **changes)
    found = {"base"} if old.base == new.base else set()
    for name in ("gb_run", "qb_run", "evaluation"):
        if getattr(old.arm("switched"), name) == getattr(new.arm("switched"), name):
            found.add(name)
    assert found == same


def test_what_changes_only_rounding_or_place_is_in_no_digest(study: dict[str, Any]) -> None:
    changed = deepcopy(study)
    changed["model"]["pretrain"]["num_processes"] = 2
    assert planned(study).base == planned(changed).base


def test_the_names_of_blends_and_arms_are_not_in_a_training_digest(study: dict[str, Any]) -> None:
    renamed = deepcopy(study)
    renamed["blends"] = {"general": study["blends"]["prose"], "qa": study["blends"]["mixed"]}
    renamed |= {"gb": "general", "qb": "qa", "arms": {"other": {}}}
    renamed["model"]["pretrain"]["blend"] = "general"
    assert planned(renamed).arms[0].qb_run == planned(study).arm("switched").qb_run


@pytest.mark.parametrize("ratio", [0.005, 0.01, 0.999999])
def test_a_switch_outside_the_run_is_refused(study: dict[str, Any], ratio: float) -> None:
    if ratio == 0.999999:
        study["schedule"] = {"floor_ratio": 0.9999999}
    with pytest.raises(BadInput, match=r"recipe.yaml: switch.learning_rate_ratio: the switch lies outside the run"):
        planned(study, switch={"learning_rate_ratio": ratio})


def test_a_source_too_small_for_its_epochs_is_refused_with_the_numbers(study: dict[str, Any]) -> None:
    plan = planned(study)
    assert check_sources(plan, {"prose": 100_000, "answers": 100_000})["mixed"]["answers"] < 1
    with pytest.raises(BadInput, match=r"sources.answers.max_epochs: the source is too small for the epochs asked"):
        check_sources(plan, {"prose": 100_000, "answers": 100}, "recipe.yaml")
    with pytest.raises(BadInput, match=r"sources.prose: the source is too small for one sample"):
        check_sources(plan, {"prose": 32}, "recipe.yaml")


def test_the_shipped_quickstart_is_table_4_in_miniature() -> None:
    recipe = parse_recipe(load_study(QUICKSTART), str(QUICKSTART))
    plan = expand(recipe, {"python": "content"})
    assert [arm.arm_id for arm in plan.arms] == ["pretraining", "qa", "gb_then_qb"]
    assert plan.arm("pretraining").gb_run == plan.arm("gb_then_qb").gb_run
    assert plan.arm("gb_then_qb").switch_step / plan.arm("gb_then_qb").horizon_steps == pytest.approx(0.711, abs=0.01)
    assert [phase.blend for phase in plan.arm("gb_then_qb").phases] == ["pretraining", "qa"]
