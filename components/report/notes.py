"""What a reader must know beside the numbers, in sentences."""

from collections.abc import Sequence

from switchpoint.components.evaluate.results import Row, by_arm
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.suites import QUICKSTART
from switchpoint.components.report.plots import Rows
from switchpoint.components.store.store import Store


def score_note(plan: Plan, rows: Sequence[Row]) -> str:
    """Return what the table's scores are measured on, and what ± covers."""
    number = next((int(row.scores["accuracy"]["n"]) for row in rows if "accuracy" in row.scores), 0)
    seeds = max(len(of_arm) for of_arm in by_arm(rows).values())
    said = []
    if number:
        said.append(f"Accuracy on {number} four-way questions about held-out text (chance 0.25).")
    said.append("Bits per byte on held-out documents: lower is better.")
    said.append(
        f"Means over {seeds} seeds; ± is a 95% t interval over them (the base's: over examples)."
        if seeds > 1
        else "± is a 95% interval over examples; it does not cover the noise between seeds."
    )
    published = plan.recipe.published
    if published:
        said.append(f"paper: {published.score} ({published.source}); another measure of another model.")
    return " ".join(said)


def suite_notes(plan: Plan, store: Store) -> list[str]:
    """Return a line for each suite that left out questions, or cut prompts, for lack of room; the most of any model."""
    too_long, cut = 0, dict[str, dict[str, int]]()
    for _, evaluation in plan.evaluations().values():
        outputs = (store.record(evaluation) or {"outputs": {}})["outputs"]
        too_long = max(too_long, outputs.get("questions_too_long", 0))
        for name, number in outputs.get("prompts_cut", {}).items():
            suite, _, score = name.partition(".")
            of_suite = cut.setdefault(suite, {})
            of_suite[score] = max(of_suite.get(score, 0), number)
    said = [f"{QUICKSTART}: {too_long:,} questions did not fit into a sample, and were left out."] if too_long else []
    for suite, scores in cut.items():
        parts = ", ".join(f"{score} {number:,}" for score, number in scores.items() if number)
        said += [f"{suite}: prompts longer than the model's window lost their beginning ({parts})."] if parts else []
    return said


def gate_notes(rows: Sequence[Row]) -> list[str]:
    """A line for every gate, with the arms that it is of; those that ended an arm stand with the stopped arms."""
    arms: dict[str, list[str]] = {}
    for row in rows:
        for gate in row.arm.gates if row.arm else ():
            if not gate.failure:
                arms.setdefault(gate.described, []).append(row.name)
    return [f"{', '.join(names)}: {described}." for described, names in arms.items()]


def missing_points(rows: Sequence[Row], series: Rows) -> list[str]:
    """Return a line for arms that lack points: no run is trained again for its evaluations."""
    found = []
    for row in rows:
        there, wanted = len(series.get(row.name, [])), len(row.arm.evaluation_steps) if row.arm else 0
        if there < wanted and not row.failure:
            found.append(
                f"{row.name} has {there} of {wanted} points: its runs were trained, in part, before those were "
                "asked for."
            )
    return found
