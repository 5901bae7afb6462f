"""The table of arms: one set of cells for the terminal, the report and the README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from switchpoint.components.evaluate.results import NOT_RUN, Row, by_arm, main_scores, score_names
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.overrides import described_differences
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.statistics import mean_interval

INTERVAL = 1.96
"""The number of standard errors on either side: a 95% interval."""


MAX_LINES = 120
"""The largest number of lines of a table: the page stays small, and report.json has all."""
MAX_COLUMNS = 24
"""The largest number of arms beside each other."""


@dataclass(frozen=True)
class Table:
    header: list[str]
    lines: list[list[str]]
    failures: list[tuple[str, str, str]]
    """(arm with its seed, reason, log) of the rows, and of chosen checkpoints, without scores."""


def build_table(plan: Plan, found: Sequence[Row]) -> Table:
    """Return the table: a line for each arm, means over its seeds; the paper's own column if there is one."""
    names = main_scores(plan, list(found))
    published = plan.recipe.published
    header = ["arm", "blends", *(["paper"] if published else []), *(title(name) for name in names)]
    differences = described_differences(plan)
    lines = []
    for arm_id, rows in by_arm(found).items():
        left = [row for row in rows if not row.stopped]  # a gate may end an arm with one seed, and not with another
        cells = [cell(left or rows, name) for name in names]
        if names and not any(row.scores for row in left):
            cells = [_instead(rows)] + [""] * (len(names) - 1)
        printed = []
        if published:
            value = published.base if arm_id == BASE else published.arms.get(arm_id)
            printed = ["" if value is None else f"{value:g}"]
        lines.append([arm_id, _trained_on(rows[0], differences), *printed, *cells])
    failures = [(row.name, row.failure, row.log) for row in found if row.failure and row.failure != NOT_RUN]
    waiting = [row.name for row in found if row.failure == NOT_RUN]
    if waiting:
        failures.append((f"{len(waiting)} of {len(found)} rows", f"{NOT_RUN}, the first: {waiting[0]}", ""))
    for row in found:
        if not row.stopped:  # it is not evaluated any more
            failures += [(f"{row.name} at step {step:,}", *why) for step, why in row.checkpoint_failures.items()]
    return Table(header, lines, failures)


def _trained_on(row: Row, differences: Mapping[str, str]) -> str:
    """Return the row's blends, and what else tells its arm from others of the same blends."""
    difference = differences.get(row.arm.arm_id, "") if row.arm else ""
    return f"{row.blends} ({difference})" if difference else row.blends


def _instead(rows: Sequence[Row]) -> str:
    if all(row.stopped for row in rows):
        return f"stopped at {rows[0].arm.trained_tokens:,} tokens" if rows[0].arm else "not made"
    return "failed" if any(row.failure != NOT_RUN for row in rows) else NOT_RUN


def stopped_arms(found: Sequence[Row]) -> list[str]:
    """Which arms were stopped early, and why; by seed where that differs. What was not made for it, too."""
    found_lines = []
    for arm_id, rows in by_arm(found).items():
        reasons = {
            row.name: f"was {'stopped' if row.arm else 'not made'}: {row.stopped}" for row in rows if row.stopped
        }
        same = len(reasons) == len(rows) and len(set(reasons.values())) == 1
        found_lines += (
            [f"{arm_id} {next(iter(reasons.values()))}"]
            if same
            else [f"{name} {reason}" for name, reason in reasons.items()]
        )
    return found_lines


def every_score(plan: Plan, found: Sequence[Row]) -> list[list[str]]:
    """Return scores as lines, arms as columns; the first line is the header."""
    arms = by_arm(found)
    shown = list(arms)[:MAX_COLUMNS]
    more = [f"and {len(arms) - len(shown)} more in report.json"] if len(arms) > len(shown) else []
    return [["score", *shown, *more]] + [
        [title(name), *(cell(arms[arm_id], name) for arm_id in shown), *([""] * len(more))]
        for name in score_names(plan, list(found))
    ]


def checkpoint_table(plan: Plan, found: Sequence[Row]) -> list[list[str]]:
    """Return scores before the end, by arm and step, means over seeds. The first line is the header; empty if there are
    none.
    """
    names = main_scores(plan, [replace(row, scores=scores) for row in found for scores in row.checkpoints.values()])
    lines = []
    for arm_id, rows in by_arm(found).items():
        for step in sorted({step for row in rows for step in row.checkpoints}):
            arm = rows[0].arm
            assert arm is not None  # only arms have checkpoints
            there = [replace(row, scores=row.checkpoints[step]) for row in rows if step in row.checkpoints]
            at = [f"{arm.clock.tokens_at(step):,}", _of_seeds(len(there), len(rows))]
            lines.append([arm_id, " ".join(filter(None, at)), *(cell(there, name) for name in names)])
    return [["arm", "at token", *map(title, names)], *lines] if lines else []


def _of_seeds(there: int, wanted: int) -> str:
    """Return how many seeds a mean is over, if some are missing: they must not be dropped in silence."""
    return f"({there} of {wanted} seeds)" if there < wanted else ""


def bounded(lines: Sequence[Sequence[str]], *, keep_last: bool = False) -> list[list[str]]:
    """Return a table's lines, the header first, cut if there are too many. `keep_last`: the last one is the sum."""
    header, *body = [list(line) for line in lines]
    last = [body.pop()] if keep_last else []
    more = len(body) - MAX_LINES
    note = [[f"and {more:,} more in report.json", *[""] * (len(header) - 1)]] if more > 0 else []
    return [header, *body[:MAX_LINES], *note, *last]


def bounded_lines(said: Sequence[str]) -> list[str]:
    """Return sentences, cut if there are too many."""
    more = len(said) - MAX_LINES
    return [*said[:MAX_LINES], *([f"And {more:,} more, in report.json."] if more > 0 else [])]


def title(name: str) -> str:
    """Return a score's name as people read it."""
    name = name.replace("bits_per_byte.category.", "bits/byte of ").replace("bits_per_byte.", "bits/byte ")
    return name.replace("bits_per_byte", "bits/byte").replace("_", " ").replace(".", " ")


def cell(rows: Sequence[Row], name: str) -> str:
    """Return mean and 95% interval: over seeds (t) if there are several, else over examples."""
    scores = [row.scores[name] for row in rows if name in row.scores]
    if not scores:
        return ""
    mean, half = mean_interval([score["value"] for score in scores])
    if half is None and scores[0]["n"] > 1:  # one example tells nothing about the noise
        half = INTERVAL * scores[0]["stderr"]
    return f"{mean:.3f}" + (f" ± {half:.3f}" if half is not None else "")


def markdown(table: Table) -> str:
    """Return the table for the README and the KFP UI."""
    failures = bounded_lines([f"`{arm}`: {reason}" for arm, reason, _ in table.failures])
    return "\n\n".join([markdown_table([table.header, *table.lines]), *failures]) + "\n"


def markdown_table(lines: Sequence[Sequence[str]], *, keep_last: bool = False) -> str:
    """Return the table as Markdown. The first line is the header."""
    header, *body = bounded(lines, keep_last=keep_last)
    shown = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in shown)
