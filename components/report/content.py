"""The content of a report, worked out once: the page, Markdown, JSON, the terminal and MLflow show it."""

from dataclasses import asdict, dataclass
from typing import Any

from switchpoint.components.evaluate import results
from switchpoint.components.evaluate.continual import Summary, shared_tokens, summarise
from switchpoint.components.evaluate.results import Row
from switchpoint.components.recipe.gate import GatedPhase
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.report.comparison import Comparison, compare
from switchpoint.components.report.cost import Costs
from switchpoint.components.report.drawn import drawn_tokens
from switchpoint.components.report.notes import gate_notes, missing_points, score_note, suite_notes
from switchpoint.components.report.plots import Rows
from switchpoint.components.report.reproduce import Again, again, command
from switchpoint.components.report.table import Table, build_table
from switchpoint.components.report.verdict import verdict
from switchpoint.components.store.store import Store

QUESTIONS = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Content:
    rows: list[Row]
    table: Table
    comparisons: list[Comparison]
    """Comparisons by the study's metric, then by accuracy."""
    verdict: str
    costs: Costs
    curves: Rows
    series: Rows
    summaries: dict[str, Summary]
    """Summaries by run name, of the runs that were evaluated while they trained."""
    score_note: str
    suite_notes: list[str]
    gate_notes: list[str]
    missing_points: list[str]
    command: str
    again: list[Again]
    """How each row is reproduced."""


def gather(
    plan: Plan, store: Store, rows: list[Row], recipe_file: str, options: str, *, is_finished: bool = True
) -> Content:
    """Return the content of the report. `is_finished`: False if arms only came to a point of successive halving."""
    metric = plan.recipe.evaluation.ranked_by
    comparisons = [compare(plan, store, rows, name) for name in dict.fromkeys([metric, QUESTIONS])]
    series = {arm.run_name: results.series(plan, store, arm) for arm in plan.arms}
    shared = shared_tokens(plan)
    summaries = {
        arm.run_name: found
        for arm in plan.arms
        if (found := summarise(plan, arm, {row["step"]: row["scores"] for row in series[arm.run_name]}, shared))
    }
    return Content(
        rows=rows, table=build_table(plan, rows), comparisons=[one for one in comparisons if one is not None],
        verdict=verdict(comparisons[0], rows) if is_finished else _not_finished(plan), costs=Costs(plan, store),
        curves={arm.run_name: results.curve(plan, store, arm) for arm in plan.arms}, series=series,
        summaries=summaries, score_note=score_note(plan, rows), suite_notes=suite_notes(plan, store),
        gate_notes=gate_notes(rows),
        missing_points=missing_points(rows, series), command=command(recipe_file, options, store),
        again=again(plan, store, rows, recipe_file, options),
    )  # fmt: skip


def _not_finished(plan: Plan) -> str:
    tokens = max(arm.trained_tokens for arm in plan.arms)
    return f"Not finished: arms came to {tokens:,} tokens, where the better ones are chosen to go on."


def as_data(plan: Plan, content: Content, mlflow_runs: dict[str, str]) -> dict[str, Any]:
    """Return the report's numbers for `--json` and for other tools."""
    return {
        "study": plan.recipe.name,
        "question": plan.recipe.question,
        "verdict": content.verdict,
        "tokens_alone": plan.tokens_alone,
        "tokens_shared": plan.tokens_shared,
        "command": content.command,
        "costs": {
            "all_alone": asdict(content.costs.all_alone()), "shared": asdict(content.costs.shared()),
            "planned_steps": content.costs.planned_steps, "trained_steps": content.costs.trained_steps,
        },
        "notes": [content.score_note, *content.suite_notes, *content.gate_notes, *content.missing_points],
        "rows": [_row(content, row, one, mlflow_runs) for row, one in zip(content.rows, content.again, strict=True)],
        "comparisons": [_comparison(one) for one in content.comparisons],
    }  # fmt: skip


def _row(content: Content, row: Row, made: Again, mlflow_runs: dict[str, str]) -> dict[str, Any]:
    summary = content.summaries.get(row.name)
    return {
        "name": row.name, "arm": row.arm_id, "seed": row.seed, "base": row.arm.base if row.arm else None,
        "scores": row.scores,
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
        "phases": _phases(row.arm) if row.arm else [],
        "gates": [_gate(gate) for gate in row.arm.gates] if row.arm else [],
        "cost": {
            "alone": asdict(content.costs.alone(row.arm)), "own": asdict(content.costs.own(row.arm)),
        } if row.arm else None,
        "command": made.command, "runs": list(made.runs), "weights_sha256": made.weights_sha256, "model": made.model,
    }  # fmt: skip


def _phases(arm: ArmPlan) -> list[dict[str, Any]]:
    return [
        {
            "name": phase.name, "blend": phase.blend, "steps": [phase.start_step, phase.end_step],
            "tokens": phase.tokens, "tokens_by_source": drawn_tokens(phase),
            "learning_rates": list(arm.learning_rates(phase)),
        }
        for phase in arm.phases
    ]  # fmt: skip


def _gate(gate: GatedPhase) -> dict[str, Any]:
    return {
        "phase": gate.phase, "score": gate.gate.score, "bound": gate.gate.bound, "failure": gate.failure,
        "checks": [{"step": one.step, "value": one.value, "holds": one.holds} for one in gate.checks],
        "budget_tokens": gate.budget_tokens, "trained_tokens": gate.trained_tokens,
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
