"""The report as Markdown, for the KFP UI: all that the page has, but for its pictures."""

from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.content import Content
from switchpoint.components.report.cost import cost_table, sharing
from switchpoint.components.report.drawn import blend_table
from switchpoint.components.report.forgetting import NOTE as FORGETTING_NOTE
from switchpoint.components.report.forgetting import forgetting_table, gap_table
from switchpoint.components.report.reproduce import reproduce_table
from switchpoint.components.report.table import bounded_lines, checkpoint_table, markdown, markdown_table, stopped_arms
from switchpoint.components.report.verdict import difference_note, difference_table


def markdown_report(plan: Plan, content: Content) -> str:
    parts = [f"# {plan.recipe.name}", plan.recipe.question, f"**{content.verdict}**", markdown(content.table)]
    parts += bounded_lines(stopped_arms(content.rows))
    parts += [content.score_note, *content.suite_notes, *bounded_lines(content.gate_notes)]
    compared = [one for one in content.comparisons if one.against]
    if compared:
        parts.append("## Is the difference real?")
        parts += [markdown_table(difference_table(one)) for one in compared]
        parts.append(difference_note(compared[0]))
    forgotten = [gap_table(plan, content.summaries), forgetting_table(plan, content.summaries)]
    if any(forgotten):
        parts.append("## What was forgotten, and the gap after a switch")
        parts += [markdown_table(lines) for lines in forgotten if lines]
        parts += [FORGETTING_NOTE, *bounded_lines(content.missing_points)]
    checkpoints = checkpoint_table(plan, content.rows)
    if checkpoints:
        parts += ["## At chosen checkpoints", markdown_table(checkpoints)]
    parts += ["## What each arm was trained on", markdown_table(blend_table(plan))]
    parts += ["## Cost", sharing(content.costs), markdown_table(cost_table(plan, content.costs), keep_last=True)]
    parts += ["## Reproduce", f"Again: `{content.command}`", markdown_table(reproduce_table(content.again))]
    return "\n\n".join(filter(None, parts)) + "\n"
