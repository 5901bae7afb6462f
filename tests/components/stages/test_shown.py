"""What a training task shows: its arms, its numbers, its curve in characters."""

from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.stages.shown import text_curve, training_markdown


def test_a_curve_falls_from_the_top_left_to_the_bottom_right() -> None:
    lines = text_curve([(tokens, 100 - tokens) for tokens in range(101)], width=16, height=4)
    assert lines == [
        "  97.000 |█▆▄▂",
        "         |████▇▅▃▁",
        "         |████████▇▅▃▁",
        "   3.000 |████████████▆▄▂▁",
        "         +----------------",
        "          0     100 tokens",
    ]  # fmt: skip


def test_a_flat_curve_and_one_point_are_lines() -> None:
    assert text_curve([(0, 2.0), (1, 2.0)], width=4, height=2)[1] == "   2.000 |▁  ▁"
    assert text_curve([(5, 2.0)], width=4, height=2)[1] == "   2.000 |▁"


def test_the_markdown_of_a_gb_run_names_its_arms_and_how_far_it_is(study: "dict[str, object]") -> None:
    plan = expand(parse_recipe(study, "recipe.yaml"), {"prose": "1", "answers": "2"}, "recipe.yaml")
    run = next(one for one in plan.gb_runs if one.stage.blend == "prose")
    row = {"step": run.stage.end_step, "tokens": 5120, "loss": 3.5, "learning_rate": 1e-5, "tokens_per_second": 900.0}
    text = training_markdown(plan, run, [row | {"step": 1, "tokens": 128, "loss": 4.0}, row], "[run](http://m)", "")
    assert "# GB prose, switched" in text
    assert "**trained**" in text
    assert "| MLflow | [run](http://m) |" in text
    assert f"| last | step {run.stage.end_step:,}, loss 3.5000, learning rate 1e-05, 900 tokens/s |" in text
    assert "switch of switched" in text
    assert "**failed**: a reason" in training_markdown(plan, run, [], "", "a reason")
    assert "**not finished**" in training_markdown(plan, run, [row | {"step": 1}], "", "")
