"""All that a report says, worked out once: the page, Markdown, JSON, the terminal and MLflow show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluate.continual import Summary, summarise
from components.recipe.plan import Plan
from components.report import results
from components.report.comparison import Comparison, compare
from components.report.cost import Costs
from components.report.plots import Rows
from components.report.reproduce import alone, command
from components.report.results import Row
from components.report.table import Table, build_table, markdown, stopped_arms
from components.report.verdict import difference_note, difference_table, verdict
from components.store.store import Store

QUESTIONS = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Content:
    rows: list[Row]
    table: Table
    comparisons: list[Comparison]
    """By the study's metric, then by accuracy."""
    verdict: str
    costs: Costs
    curves: Rows
    series: Rows
    summaries: dict[str, Summary]
    """By run name, of those that were evaluated while they trained."""
    missing_points: list[str]
    command: str
    row_commands: list[str]
    """What makes each row again, alone: the weights' digests say whether it is the same."""


def gather(
    plan: Plan, store: Store, rows: list[Row], recipe_file: str, options: str, *, is_finished: bool = True
) -> Content:
    """`is_finished`: False where arms only came to a point of successive halving."""
    metric = plan.recipe.evaluation.ranked_by
    comparisons = [compare(plan, store, rows, name) for name in dict.fromkeys([metric, QUESTIONS])]
    series = {arm.run_name: results.series(plan, store, arm) for arm in plan.arms}
    summaries = {
        arm.run_name: found
        for arm in plan.arms
        if (found := summarise(plan, arm, {row["step"]: row["scores"] for row in series[arm.run_name]}))
    }
    return Content(
        rows=rows, table=build_table(plan, rows), comparisons=[one for one in comparisons if one is not None],
        verdict=verdict(comparisons[0], rows) if is_finished else _not_finished(plan), costs=Costs(plan, store),
        curves={arm.run_name: results.curve(plan, store, arm) for arm in plan.arms}, series=series,
        summaries=summaries, missing_points=_missing(rows, series), command=command(recipe_file, options, store),
        row_commands=[alone(recipe_file, options, row) for row in rows if row.arm is not None and not row.stopped],
    )  # fmt: skip


def _not_finished(plan: Plan) -> str:
    tokens = max(arm.horizon_tokens for arm in plan.arms)
    return f"Not finished: arms came to {tokens:,} tokens, where the better ones are chosen to go on."


def _missing(rows: list[Row], series: Rows) -> list[str]:
    """Arms that lack points: no run is trained again for its evaluations."""
    found = []
    for row in rows:
        there, wanted = len(series.get(row.name, [])), len(row.arm.evaluation_steps) if row.arm else 0
        if there < wanted and not row.failure:
            found.append(
                f"{row.name} has {there} of {wanted} points: its runs were trained, in part, before those were "
                "asked for."
            )
    return found


def as_data(plan: Plan, content: Content, mlflow_runs: dict[str, str]) -> dict[str, Any]:
    """The report's numbers for `--json` and for other tools."""
    return {
        "study": plan.recipe.name,
        "question": plan.recipe.question,
        "verdict": content.verdict,
        "tokens_alone": plan.tokens_alone,
        "tokens_shared": plan.tokens_shared,
        "rows": [_row(plan, content, row, mlflow_runs) for row in content.rows],
        "comparisons": [_comparison(one) for one in content.comparisons],
    }


def _row(plan: Plan, content: Content, row: Row, mlflow_runs: dict[str, str]) -> dict[str, Any]:
    summary = content.summaries.get(row.name)
    return {
        "name": row.name, "arm": row.arm_id, "seed": row.arm.seed if row.arm else None, "scores": row.scores,
        "checkpoints": {str(step): scores for step, scores in row.checkpoints.items()},
        "checkpoint_failures": {str(step): reason for step, (reason, _) in row.checkpoint_failures.items()},
        "failure": row.failure, "stopped": row.stopped, "mlflow_run": mlflow_runs.get(row.name, ""),
        "continual": None if summary is None else {
            "min_acc": summary.min_acc, "wc_acc": summary.wc_acc, "forgetting": summary.forgetting,
            "windowed": {str(window): {"wf": fall, "wp": rise} for window, (fall, rise) in summary.windowed.items()},
            "gaps": [
                {
                    "step": gap.step, "depth": gap.depth, "worst_step": gap.worst_step,
                    "recovered_step": gap.recovered_step,
                }
                for gap in summary.gaps
            ],
        },
    }  # fmt: skip


def _comparison(one: Comparison) -> dict[str, Any]:
    def interval(found: Any) -> list[float] | None:
        return None if found is None else [found.low, found.high]

    return {
        "metric": one.metric, "best": one.best, "value": one.value, "pairs": one.num_pairs,
        "against": [
            {
                "arm": other.first, "difference": other.value, "seeds": other.num_seeds,
                "over_seeds": interval(other.over_seeds), "over_examples": interval(other.over_examples),
                "p_holm": other.adjusted_p, "distinguishable": other.is_distinguishable,
            }
            for other in one.against
        ],
    }  # fmt: skip


def markdown_report(plan: Plan, content: Content) -> str:
    """For the KFP UI: the verdict, the arms, the differences."""
    parts = [f"# {plan.recipe.name}", plan.recipe.question, f"**{content.verdict}**", markdown(content.table)]
    parts += stopped_arms(content.rows)
    for comparison in content.comparisons:
        if comparison.against:
            parts.append(_markdown_table(difference_table(comparison)))
    if any(comparison.against for comparison in content.comparisons):
        parts.append(difference_note(content.comparisons[0]))
    return "\n\n".join(filter(None, parts)) + f"\n\nAgain: `{content.command}`\n"


def _markdown_table(lines: Sequence[Sequence[str]]) -> str:
    header, *body = lines
    shown = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)
