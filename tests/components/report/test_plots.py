"""What lines are made of."""

import random
from typing import Any

import pytest

from switchpoint.components.evaluate.continual import mean_scores
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.plots import ON_QUESTIONS, _running_mean, _thinned, accuracy, curves


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    recipe = parse_recipe(study, "recipe.yaml")
    return expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})


def test_the_running_mean_is_that_of_each_window() -> None:
    rng = random.Random(3)
    values = [rng.uniform(1, 12) for _ in range(5_000)]
    for window in (1, 7, 300, 9_000):
        plain = [sum(last) / len(last) for end in range(1, 5_001) if (last := values[max(0, end - window) : end])]
        assert _running_mean(values, window) == pytest.approx(plain, abs=1e-9, rel=0)
    assert _running_mean([], 3) == []


def test_no_more_points_than_asked_for_and_the_last_one() -> None:
    for number in (0, 1, 99, 100, 101, 199, 250):
        xs, ys = _thinned([float(x) for x in range(number)], [float(-x) for x in range(number)], 100)
        assert len(xs) <= 101
        assert xs[-1:] == ([number - 1] if number else [])
        assert ys == [-x for x in xs]


def test_accuracy_is_on_questions_where_some_were_asked(plan: Plan) -> None:
    scores = {"bits_per_byte.prose": 2.0, "next_token_accuracy.prose": 0.3, "next_token_accuracy.answers": 0.1}
    asked = scores | {"accuracy": 0.25, "paper.mmlu": 0.75}
    arms = plan.arms[:1]
    name = arms[0].run_name
    label, found = accuracy(arms, {name: [{"tokens": 128, "scores": asked}]})
    assert (label, found) == (ON_QUESTIONS, {name: {128: 0.5}})
    label, found = accuracy(arms, {name: [{"tokens": 128, "scores": scores}]})
    assert (label, found) == ("next-token\naccuracy", {name: {128: pytest.approx(0.2)}})
    assert mean_scores(["none"], {128: scores}) == {}


def test_the_curves_have_a_panel_of_accuracy_where_it_was_evaluated(plan: Plan) -> None:
    trained = {arm.run_name: [{"tokens": 128, "loss": 3.0, "learning_rate": 1e-3}] for arm in plan.arms}
    series = {arm.run_name: [{"tokens": 128, "scores": {"accuracy": 0.25}}] for arm in plan.arms}
    assert ">on questions</text>" in curves(plan, trained, series)
    assert ">on questions</text>" not in curves(plan, trained, {})
