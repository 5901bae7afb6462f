"""The tables of gaps and forgetting: means over seeds with their intervals, and what is missing said."""

from typing import Any

import pytest

from switchpoint.components.evaluate.continual import StabilityGap, Summary
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.forgetting import forgetting_table, gap_table


@pytest.fixture
def plan(study: dict[str, Any]) -> Plan:
    recipe = parse_recipe(study | {"seeds": [0, 1, 2]}, "recipe.yaml")
    return expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})


def summary(value: float | None, depth: float = 0.0, num_tasks: int = 2) -> Summary:
    gap = StabilityGap(step=0, depth=depth, worst_step=1, recovered_step=2)
    windowed = {} if value is None else {10: (value, value), 100: (value, value)}
    return Summary(
        num_tasks=num_tasks, min_acc=value if num_tasks > 1 else None, wc_acc=value,
        forgetting=value if num_tasks > 1 else None, windowed=windowed, gaps=(gap,),
    )  # fmt: skip


def test_means_have_an_interval_over_seeds(plan: Plan) -> None:
    """1, 2, 3%: t(0.975, 2) = 4.302653 standard errors of 1/sqrt(3)."""
    summaries = {f"switched-seed-{seed}": summary((seed + 1) / 100, (seed + 1) / 1000) for seed in range(3)}
    assert forgetting_table(plan, summaries)[1] == ["switched", *["2.00 ± 2.48"] * 7]
    assert gap_table(plan, summaries)[1][3] == "0.0020 ± 0.0025"


def test_seeds_without_a_value_are_counted(plan: Plan) -> None:
    summaries = {"switched-seed-0": summary(0.02, 0.002), "switched-seed-1": summary(None)}
    assert forgetting_table(plan, summaries)[1] == ["switched", *["2.00 (1 of 3 seeds)"] * 7]
    assert gap_table(plan, summaries)[1][3].endswith("(2 of 3 seeds)")


def test_one_task_is_told_from_no_evaluation(plan: Plan) -> None:
    summaries = {f"prose-seed-{seed}": summary(0.02, num_tasks=1) for seed in range(3)}
    summaries |= {f"mixed-seed-{seed}": summary(None) for seed in range(3)}
    one, none = forgetting_table(plan, summaries)[1:]
    assert (one[1], one[2], one[3]) == ("one task", "2.00 ± 0.00", "one task")
    assert none[1:] == ["not evaluated"] * 7
