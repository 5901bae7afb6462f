"""The measures of forgetting, on series that were worked out by hand; the points at which arms are evaluated."""

from dataclasses import replace
from typing import Any

import pytest

from switchpoint.components.evaluate.continual import (
    LearningTask,
    forgetting,
    learning_tasks,
    min_acc,
    shared_tokens,
    stability_gap,
    summarise,
    wc_acc,
    windowed_change,
)
from switchpoint.components.recipe.continual import Continual
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan

TASKS = [
    LearningTask(name="base", sources=("old",), learnt_step=0),
    LearningTask(name="gb", sources=("middle",), learnt_step=4),
    LearningTask(name="qb", sources=("new",), learnt_step=8),
]
OLD = {0: 0.50, 2: 0.40, 4: 0.45, 6: 0.30, 8: 0.48}
MIDDLE = {0: 0.10, 2: 0.30, 4: 0.60, 6: 0.20, 8: 0.55}
NEW = {0: 0.00, 2: 0.05, 4: 0.10, 6: 0.70, 8: 0.80}


def test_minimum_and_worst_case_accuracy() -> None:
    # Least after it was learnt: old 0.30 (step 6), middle 0.20 (step 6; that of step 0 was before).
    assert min_acc(TASKS, [OLD, MIDDLE, NEW]) == pytest.approx(0.25)
    assert wc_acc(TASKS, [OLD, MIDDLE, NEW]) == pytest.approx(0.80 / 3 + 2 / 3 * 0.25)
    assert min_acc(TASKS[:1], [OLD]) is None
    assert wc_acc(TASKS[:1], [OLD]) == 0.48


def test_what_was_not_evaluated_has_no_measure() -> None:
    """The middle task was not looked at after step 4: its least accuracy is not known, nor the mean over both."""
    middle = {0: 0.10, 2: 0.30, 4: 0.60}
    assert min_acc(TASKS, [OLD, middle, NEW]) is None
    assert wc_acc(TASKS, [OLD, middle, NEW]) is None
    assert forgetting(TASKS, [OLD, {6: 0.20, 8: 0.55}, NEW]) is None


def test_forgetting() -> None:
    # old: 0.50 - 0.48, middle: 0.60 - 0.55.
    assert forgetting(TASKS, [OLD, MIDDLE, NEW]) == pytest.approx((0.02 + 0.05) / 2)
    assert forgetting(TASKS[:1], [OLD]) is None


@pytest.mark.parametrize(
    ("window", "fall", "rise"),
    [
        (2, 0.4, 0.35),  # neighbours: 0.6 to 0.2; 0.2 to 0.55
        (3, 0.4, 0.5),  # 0.1 to 0.6, two apart
        (10, 0.4, 0.5),
    ],
)
def test_windowed_forgetting_and_plasticity(window: int, fall: float, rise: float) -> None:
    assert windowed_change(list(MIDDLE.values()), window) == pytest.approx((fall, rise))


def test_a_fall_longer_than_the_window_is_seen_in_part() -> None:
    assert windowed_change([0.9, 0.7, 0.5, 0.3], 2) == pytest.approx((0.2, 0.0))
    assert windowed_change([0.9, 0.7, 0.5, 0.3], 3) == pytest.approx((0.4, 0.0))
    assert windowed_change([0.9], 10) == (0.0, 0.0)


def test_the_stability_gap() -> None:
    bits = {0: 2.0, 4: 1.8, 5: 1.95, 6: 2.1, 7: 1.9, 8: 1.8, 9: 1.7}
    gap = stability_gap(bits, 4, 9)
    assert gap is not None
    assert (gap.depth, gap.worst_step, gap.recovered_step) == (pytest.approx(0.3), 6, 8)
    short = stability_gap(bits, 4, 7)
    assert short is not None
    assert short.recovered_step is None
    none = stability_gap(bits, 8, 9)
    assert none is not None
    assert (none.depth, none.recovered_step) == (0.0, 8)
    assert stability_gap(bits, 3, 9) is None  # the switch itself was not evaluated
    assert stability_gap(bits, 9, 9) is None


def test_what_drifts_away_after_the_gap_closed_is_no_gap() -> None:
    """1.80 at the switch; 2.10, 2.00, and back at 1.79; then 2.15 at the end."""
    gap = stability_gap({4: 1.80, 5: 2.10, 6: 2.00, 7: 1.79, 8: 1.79, 9: 2.15}, 4, 9)
    assert gap is not None
    assert (gap.depth, gap.worst_step, gap.recovered_step) == (pytest.approx(0.30), 5, 7)
    # It may begin after a better point, and take a while to its worst.
    late = stability_gap({4: 1.80, 5: 1.75, 6: 1.90, 7: 2.00, 8: 1.80, 9: 2.50}, 4, 9)
    assert late is not None
    assert (late.depth, late.worst_step, late.recovered_step) == (pytest.approx(0.20), 7, 8)
    open_end = stability_gap({4: 1.80, 5: 1.90, 9: 2.15}, 4, 9)
    assert open_end is not None
    assert (open_end.depth, open_end.recovered_step) == (pytest.approx(0.35), None)


def test_points_are_dense_after_the_start_and_every_switch() -> None:
    points = Continual(every_steps=50, dense_steps=6, dense_every_steps=2).steps([70], 120)
    assert points == (0, 2, 4, 6, 50, 70, 72, 74, 76, 100, 120)
    assert Continual(every_steps=50).steps([70], 72) == (0, 50, 70, 72)


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    study["evaluation"] |= {
        "checkpoints": ["switch", 0.5],
        "continual": {"every_steps": 16, "dense_steps": 2},
    }
    study["arms"]["late"] = {"switch": {"progress": 0.9}}
    recipe = parse_recipe(study, "recipe.yaml")
    return expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})


def test_a_gb_run_is_evaluated_at_the_union_of_its_arms_points(plan: Plan) -> None:
    run = plan.run(plan.arm("switched").gb_run.digest)
    switches = {name: plan.arm(name).switch_step for name in ("switched", "late")}
    assert switches == {"switched": 29, "late": 36}
    assert run.evaluation_steps == (0, 1, 2, 16, 29, 32, 36, 40)  # those after a switch are the QB runs'
    assert plan.arm("late").evaluation_steps == (0, 1, 2, 16, 32, 36, 37, 38, 40)


def test_the_points_decide_no_training(plan: Plan, study: dict[str, Any]) -> None:
    study["evaluation"] |= {"continual": None, "checkpoints": []}
    recipe = parse_recipe(study, "recipe.yaml")
    without = expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})
    assert [run.identity for run in without.runs] == [run.identity for run in plan.runs]
    assert {arm.evaluation.digest for arm in without.arms} == {arm.evaluation.digest for arm in plan.arms}
    assert without.probes is None


def test_chosen_checkpoints_are_models_of_their_runs(plan: Plan) -> None:
    switched = plan.arm("switched")
    assert list(switched.checkpoint_evaluations) == [20, 29]
    gb = plan.run(switched.gb_run.digest)
    assert {20, 29} <= set(gb.export_steps) & set(gb.keep_steps)
    assert switched.checkpoint_evaluations[20].digest == plan.arm("prose").checkpoint_evaluations[20].digest


def test_learning_tasks_are_what_a_phase_was_the_first_to_draw(plan: Plan) -> None:
    tasks = learning_tasks(plan, plan.arm("switched"))
    assert [(task.name, task.sources, task.learnt_step) for task in tasks] == [
        ("base", ("prose",), 0),
        ("qb", ("answers",), 40),
    ]
    assert len(learning_tasks(plan, plan.arm("prose"))) == 1


def test_what_an_arm_knew_before_is_what_its_own_base_was_trained_on(study: dict[str, Any]) -> None:
    bases = {"other": study["model"] | {"pretrain": study["model"]["pretrain"] | {"blend": "mixed"}}}
    arms = {"one": {"base": "other"}, "two": {"base": "same", "start": "fresh"}, "three": {}}
    bases["same"] = {"transform": {"kind": "copy", "of": "other"}}
    recipe = parse_recipe(study | {"bases": bases, "arms": arms}, "recipe.yaml")
    plan = expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})
    known = {arm.arm_id: [set(task.sources) for task in learning_tasks(plan, arm)] for arm in plan.arms}
    assert known["one"] == known["two"] == [{"prose", "answers"}]
    assert known["three"] == [{"prose"}, {"answers"}]


def test_an_arm_is_summarised(plan: Plan) -> None:
    arm = plan.arm("switched")
    prose = {0: (2.0, 0.2), 16: (1.8, 0.3), 29: (1.7, 0.32), 30: (1.9, 0.25), 32: (1.6, 0.35), 40: (1.5, 0.31)}
    rows = {
        step: {
            "bits_per_byte.prose": bits, "next_token_accuracy.prose": accuracy,
            "bits_per_byte.answers": 3.0, "next_token_accuracy.answers": 0.1,
        }
        for step, (bits, accuracy) in prose.items()
    }  # fmt: skip
    every = [arm.clock.tokens_at(step) for step in rows]
    found = summarise(plan, arm, rows, every)
    assert found is not None
    assert found.num_tasks == 2
    assert found.min_acc == 0.25
    assert found.wc_acc == pytest.approx((0.1 + 0.25) / 2)
    assert found.forgetting == pytest.approx(0.2 - 0.31)
    assert found.windowed[10] == (pytest.approx(0.07 / 2), pytest.approx(0.15 / 2))
    assert [(gap.step, gap.depth, gap.recovered_step) for gap in found.gaps] == [
        (0, 0.0, 0),
        (29, pytest.approx(0.2), 32),
    ]
    # Other arms are not evaluated at step 30, only this one's gap is; its end always counts.
    regular = summarise(plan, arm, rows, every[:3])
    assert regular is not None
    assert (regular.min_acc, regular.forgetting) == (0.3, found.forgetting)
    # 0.2, 0.3, 0.32, 0.31: by 0.01 down, by 0.12 up.
    assert regular.windowed[10] == (pytest.approx(0.01 / 2), pytest.approx(0.12 / 2))
    assert regular.gaps == found.gaps
    assert summarise(plan, replace(arm), {}, every) is None


def test_arms_are_compared_on_the_points_that_all_have(plan: Plan) -> None:
    """`switched` also looks at 29 to 31, `late` at 36 to 38; one that ended at step 20 takes no
    later point from the others."""
    tokens = plan.arms[0].clock.tokens_at
    assert shared_tokens(plan) == {tokens(step) for step in (0, 1, 2, 16, 32, 40)}
    stopped = replace(plan.arms[0], arm_id="stopped", evaluation_steps=(0, 1, 2, 16, 20), horizon_tokens=tokens(20))
    shorter = shared_tokens(replace(plan, arms=(*plan.arms, stopped)))
    assert shorter == {tokens(step) for step in (0, 1, 2, 16, 32, 40)}
