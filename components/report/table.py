"""The table of arms: one set of cells for the terminal, the report and the README."""

from dataclasses import dataclass

from components.recipe.plan import Plan
from components.report.results import Row, score_names

INTERVAL = 1.96
"""Standard errors on either side: a 95% interval."""


@dataclass(frozen=True)
class Table:
    header: list[str]
    lines: list[list[str]]
    failures: list[tuple[str, str, str]]
    """(arm, reason, log) of the rows without scores."""


def build_table(plan: Plan, found: list[Row]) -> Table:
    names = score_names(plan, found)
    header = ["arm", "blends", *(_title(name) for name in names)]
    lines = []
    for row in found:
        cells = [_cell(row, name) for name in names]
        if row.failure:
            cells = ["failed", *[""] * (len(names) - 1)] if names else []
        lines.append([row.name, _blends(row), *cells])
    return Table(header, lines, [(row.name, row.failure, row.log) for row in found if row.failure])


def _title(name: str) -> str:
    return name.replace("_", " ").replace("bits per byte.", "bits/byte ")


def _blends(row: Row) -> str:
    if row.arm is None:
        return "none: the base"
    return " → ".join(phase.blend for phase in row.arm.phases)


def _cell(row: Row, name: str) -> str:
    score = row.scores.get(name)
    if not score:
        return ""
    # One example tells nothing about the noise.
    return f"{score['value']:.3f}" + (f" ± {INTERVAL * score['stderr']:.3f}" if score["n"] > 1 else "")


def markdown(table: Table) -> str:
    """For the README and the KFP UI."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [table.header, ["---"] * len(table.header), *table.lines]]
    lines += [f"\n`{arm}`: {reason}" for arm, reason, _ in table.failures]
    return "\n".join(lines) + "\n"
