"""The report as one self-contained HTML file."""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from switchpoint.components.evaluate.results import best_arm, by_arm, main_scores
from switchpoint.components.plan.data import left_out
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report import plots
from switchpoint.components.report.content import Content
from switchpoint.components.report.cost import cost_table, sharing
from switchpoint.components.report.forgetting import NOTE as FORGETTING_NOTE
from switchpoint.components.report.forgetting import forgetting_table, gap_table
from switchpoint.components.report.reproduce import reproduce_table
from switchpoint.components.report.table import (
    MAX_LINES,
    bounded,
    bounded_lines,
    checkpoint_table,
    every_score,
    stopped_arms,
)
from switchpoint.components.report.verdict import NOT_DISTINGUISHABLE, difference_note, difference_table
from switchpoint.components.store.store import Store

BEST = "The best arm of each column, by the seeds that all arms have, is bold, also where intervals overlap."
FOLDED_LINES = 40
"""The number of lines above which a table is folded."""


def render(plan: Plan, store: Store, content: Content, compare: Sequence[str], *, refused: str = "") -> str:
    """Return the report as one page. `compare`: opens the study in MLflow; `refused`: why MLflow will not take it."""
    page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return page.substitute(
        name=html.escape(plan.recipe.name),
        question=html.escape(plan.recipe.question),
        verdict=html.escape(content.verdict),
        scores=_scores(plan, content),
        note=html.escape(
            " ".join([content.score_note, BEST, *content.suite_notes, *bounded_lines(content.gate_notes)])
        ),
        differences=_differences(content),
        curves=plots.curves(plan, content.curves, content.series),
        forgetting=_forgetting(plan, content),
        checkpoints=_checkpoints(plan, content),
        blends=plots.blends(plan),
        bound=html.escape(_bound(plan)),
        cards=_cards(plan, store),
        cost=table(cost_table(plan, content.costs), total=True),
        sharing=html.escape(sharing(content.costs)),
        plan=_plan_table(plan),
        every_score=table(every_score(plan, content.rows)),
        reproduce=table(reproduce_table(content.again), left=5),
        command=html.escape(content.command),
        compare=html.escape(
            "\n".join(compare) or refused or "MLflow did not take the study: the command above delivers it."
        ),
    )


def table(lines: Sequence[Sequence[str]], *, left: int = 1, total: bool = False) -> str:
    """Return a table as HTML. The first line is the header; the first `left` columns are words. `total`: the last line
    is the sum. What is too long is cut.
    """
    header, *body = bounded(lines, keep_last=total)
    head = "".join(f"<th{_side(number, left)}>{html.escape(cell)}</th>" for number, cell in enumerate(header))
    rows = []
    for number, line in enumerate(body):
        kind = ' class="total"' if total and number == len(body) - 1 else ""
        cells = "".join(f"<td{_side(at, left)}>{_small(html.escape(cell))}</td>" for at, cell in enumerate(line))
        rows.append(f"<tr{kind}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _wide(lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a table that scrolls by itself, folded if it is long."""
    shown = f'<div class="wide">{table(lines, left=left)}</div>'
    if len(lines) <= FOLDED_LINES:
        return shown
    return f"<details><summary>{html.escape(lines[0][0])}: {len(lines) - 1:,} lines</summary>{shown}</details>"


def _side(number: int, left: int) -> str:
    return ' class="word"' if number < left else ""


def _small(cell: str) -> str:
    value, plus_minus, half = cell.partition(" ± ")
    return f"{value} <small>± {half}</small>" if plus_minus else cell


def _scores(plan: Plan, content: Content) -> str:
    """Return the table of arms, the best of each column bold, what failed with its reason.

    Every cell carries its column's title: where the page is narrow, as in the side panel of Kubeflow's page (some 500
    pixels), an arm is a block of lines, each a title with its value.
    """
    names, arms = main_scores(plan, content.rows), by_arm(content.rows)
    header = content.table.header
    first = len(header) - len(names)
    best = {name: best_arm(content.rows, name) for name in names}
    head = "".join(f"<th{_side(number, 2)}>{html.escape(cell)}</th>" for number, cell in enumerate(header))
    body = []
    for (arm_id, rows), cells in list(zip(arms.items(), content.table.lines, strict=True))[:MAX_LINES]:
        kind = ' class="base"' if rows[0].is_base else ""
        shown = [_titled(header[number], cell, _kind(number)) for number, cell in enumerate(cells[:first])]
        if any(row.scores for row in rows if not row.stopped):
            shown += [
                _titled(header[number], cell, "best" if best[name] == arm_id else "")
                for number, (name, cell) in enumerate(zip(names, cells[first:], strict=True), first)
            ]
        else:
            shown.append(_across(" ".join(cells[first:]).strip(), max(1, len(names)), "word"))
        body.append(f"<tr{kind}>{''.join(shown)}</tr>")
    more = [f"and {len(arms) - MAX_LINES:,} more in report.json"] if len(arms) > MAX_LINES else []
    for line in [*more, *bounded_lines(stopped_arms(content.rows))]:
        body.append(f"<tr>{_across(line, len(header), 'word')}</tr>")
    for name, reason, log in content.table.failures[:MAX_LINES]:
        where = f" <small>log: {html.escape(log)}</small>" if log else ""
        text = f"{html.escape(name)}: {html.escape(reason)}{where}"
        body.append(f'<tr class="failed"><td colspan="{len(header)}">{text}</td></tr>')
    return f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _kind(number: int) -> str:
    """Return the class of a cell before the scores: the first two columns are words."""
    return "word" if number < 2 else ""


def _titled(title: str, cell: str, kind: str) -> str:
    of_class = f' class="{kind}"' if kind else ""
    return f'<td{of_class} data-title="{html.escape(title, quote=True)}">{_small(html.escape(cell))}</td>'


def _across(text: str, columns: int, kind: str) -> str:
    return f'<td class="{kind}" colspan="{columns}">{html.escape(text)}</td>'


def _differences(content: Content) -> str:
    parts = []
    for comparison in content.comparisons:
        if comparison.against:
            shown = _wide(difference_table(comparison))
            parts.append(shown.replace(f"<td>{NOT_DISTINGUISHABLE}", f'<td class="weak">{NOT_DISTINGUISHABLE}'))
    note = f'<p class="note">{html.escape(difference_note(content.comparisons[0]))}</p>' if parts else ""
    return "".join(parts) + note


def _forgetting(plan: Plan, content: Content) -> str:
    gaps, lost = gap_table(plan, content.summaries), forgetting_table(plan, content.summaries)
    if not gaps and not lost:
        return '<p class="note">The recipe asks for no evaluation while runs train (`evaluation.continual`).</p>'
    shown = "".join(_wide(lines, left=2 if lines is gaps else 1) for lines in (gaps, lost) if lines)
    note = " ".join([FORGETTING_NOTE, *bounded_lines(content.missing_points)])
    return f'{shown}<p class="note">{html.escape(note)}</p>'


def _checkpoints(plan: Plan, content: Content) -> str:
    lines = checkpoint_table(plan, content.rows)
    return f"<h2>At chosen checkpoints</h2>{_wide(lines)}" if lines else ""


def _bound(plan: Plan) -> str:
    """Return what stands in for the recipe's sources, and what nothing stands in for."""
    said = []
    bound = {name: one.environment for name, one in plan.sources_with_text().items() if one.environment}
    if bound:
        parts = ", ".join(f"{name} by {part.replace('_', ' ')}" for name, part in bound.items())
        said.append(f"Sources are stood in for by text of this environment: {parts}.")
    if plan.recipe.left_out:
        said.append(f"Left out, their weight going to the others: {', '.join(plan.recipe.left_out)}.")
    return " ".join(said)


def _cards(plan: Plan, store: Store) -> str:
    """Return what was left out, and links that hold while the report lies in its store."""
    outputs = {name: plan.tokens[name] for name in plan.tokenised_sources()}
    outputs |= {f"blend {phase.blend}": phase.blend_identity for phase in plan.blends.values()}
    links = [f'<a href="../../{one.path}/card.html">{html.escape(name)}</a>' for name, one in outputs.items()]
    said = [f"{html.escape(line[0].upper() + line[1:])}." for line in left_out(plan, store)]
    return " ".join([*said, f"Data cards, in the store: {', '.join(links)}."])


def _plan_table(plan: Plan) -> str:
    lines = [["arm", "phase", "blend", "steps", "tokens", "learning rate", "GB run"]]
    for arm in plan.arms:
        for number, phase in enumerate(arm.phases):
            start, end = arm.learning_rates(phase)
            lines.append(
                [
                    arm.run_name if number == 0 else "", phase.name, phase.blend,
                    f"{phase.start_step:,} to {phase.end_step:,}", f"{phase.tokens:,}", f"{start:.2e} to {end:.2e}",
                    arm.gb_run.digest if number == 0 else "",
                ]
            )  # fmt: skip
    return table(lines, left=3)
