"""The report as one self-contained HTML file."""

import html
from pathlib import Path
from string import Template

from components.plan.data import left_out
from components.recipe.plan import Plan
from components.report import plots
from components.report.results import HIGHER_IS_BETTER, Row, curve, score_names
from components.report.table import Table
from components.store.store import Store


def render(plan: Plan, store: Store, found: list[Row], table: Table, commands: list[str]) -> str:
    by_arm = {arm.run_name: curve(plan, store, arm) for arm in plan.arms}
    page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return page.substitute(
        name=html.escape(plan.recipe.name),
        question=html.escape(plan.recipe.question),
        scores=_scores(plan, found, table),
        note=_note(plan, found),
        curves=plots.curves(plan, by_arm),
        blends=plots.blends(plan),
        bound=_bound(plan),
        cards=_cards(plan, store),
        plan=_plan_table(plan, found),
        sharing=_sharing(plan),
        commands=html.escape("\n".join(commands)),
    )


def _scores(plan: Plan, found: list[Row], table: Table) -> str:
    names = score_names(plan, found)
    best = {}
    for name in names:
        values = {row.name: row.scores[name]["value"] for row in found if row.arm is not None and name in row.scores}
        if values:
            best[name] = (max if name in HIGHER_IS_BETTER else min)(values, key=lambda arm: values[arm])
    lines = [f"<tr>{''.join(f'<th>{html.escape(title)}</th>' for title in table.header)}</tr>"]
    body = []
    for row, cells in zip(found, table.lines, strict=True):
        if row.failure:
            text = f"{html.escape(row.failure)} <small>log: {html.escape(row.log)}</small>"
            body.append(
                f'<tr class="failed"><td>{html.escape(row.name)}</td><td>{html.escape(cells[1])}</td>'
                f'<td colspan="{max(1, len(names))}">{text}</td></tr>'
            )
            continue
        shown = "".join(
            f"<td{' class=best' if best.get(name) == row.name else ''}>{cell.replace(' ± ', ' <small>± ')}</small></td>"
            for name, cell in zip(names, cells[2:], strict=True)
        )
        kind = ' class="base"' if row.arm is None else ""
        body.append(f"<tr{kind}><td>{html.escape(cells[0])}</td><td>{html.escape(cells[1])}</td>{shown}</tr>")
    return f"<table><thead>{''.join(lines)}</thead><tbody>{''.join(body)}</tbody></table>"


def _note(plan: Plan, found: list[Row]) -> str:
    questions = next((int(row.scores["accuracy"]["n"]) for row in found if "accuracy" in row.scores), 0)
    asked = (
        f"Accuracy on {questions} four-way questions about modules that no arm was trained on (chance 0.25). "
        if questions
        else ""
    )
    return (
        f"{asked}Bits per byte on held-out documents of each source: lower is better. ± is a 95% interval over "
        "examples; with one seed per arm it does not cover the noise between seeds. The best arm of each column is "
        "bold, also where the intervals overlap."
    )


def _bound(plan: Plan) -> str:
    """What stands in for the recipe's sources, and what nothing stands in for."""
    said = []
    bound = {name: one.environment for name, one in plan.sources_with_text().items() if one.environment}
    if bound:
        parts = ", ".join(f"{name} by {part.replace('_', ' ')}" for name, part in bound.items())
        said.append(f"Sources are stood in for by text of this environment: {parts}.")
    if plan.recipe.left_out:
        said.append(f"Left out, their weight going to the others: {', '.join(plan.recipe.left_out)}.")
    return html.escape(" ".join(said))


def _cards(plan: Plan, store: Store) -> str:
    """What was left out, and links that hold while the report lies in its store."""
    outputs = {name: plan.tokens[name] for name in plan.tokenised_sources()}
    outputs |= {f"blend {phase.blend}": phase.blend_identity for phase in plan.blends.values()}
    links = [f'<a href="../../{one.path}/card.html">{html.escape(name)}</a>' for name, one in outputs.items()]
    said = [f"{html.escape(line[0].upper() + line[1:])}." for line in left_out(plan, store)]
    return " ".join([*said, f"Data cards, in the store: {', '.join(links)}."])


def _plan_table(plan: Plan, found: list[Row]) -> str:
    head = ["arm", "phase", "blend", "steps", "tokens", "learning rate", "shares its GB run with"]
    body = []
    for arm in plan.arms:
        sharing = [other.run_name for other in plan.arms if other.gb_run.digest == arm.gb_run.digest and other != arm]
        for phase in arm.phases:
            start, end = arm.learning_rates(phase)
            shared = ", ".join(sharing) if phase is arm.phases[0] else ""
            cells = [
                arm.run_name, phase.name, phase.blend, f"{phase.start_step} to {phase.end_step}", f"{phase.tokens:,}",
                f"{start:.2e} to {end:.2e}", shared,
            ]  # fmt: skip
            body.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    header = "".join(f"<th>{title}</th>" for title in head)
    return (
        f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(f'<tr>{line}</tr>' for line in body)}</tbody></table>"
    )


def _sharing(plan: Plan) -> str:
    alone, shared = plan.tokens_alone, plan.tokens_shared
    return (
        f"The arms alone would take {alone:,} tokens; with every shared history trained once it is {shared:,} "
        f"({1 - shared / alone:.0%} less)."
    )
