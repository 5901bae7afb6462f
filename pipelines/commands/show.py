"""The output of the commands: the state of a study, and its results. Tables on the console, the same as data."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable

from switchpoint.components.evaluate import results
from switchpoint.components.plan.data import left_out
from switchpoint.components.plan.reasons import reasons
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.kind import KINDS
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.content import as_data, gather
from switchpoint.components.report.outcome import failures_in
from switchpoint.components.report.run import report_is_there, report_is_written
from switchpoint.components.report.table import Table, bounded_lines, stopped_arms
from switchpoint.components.stages.prune import prune
from switchpoint.components.store.store import Store, read_json
from switchpoint.components.tracking.study import REPORT_FILES
from switchpoint.components.train.ending import STATUS
from switchpoint.components.train.outputs import run_is_done
from switchpoint.pipelines.commands.amounts import size
from switchpoint.pipelines.commands.progress import labels

WIDEST = 100_000
"""The width in characters at which a table is measured: there is no limit."""


def is_done(plan: Plan, store: Store, identity: Identity) -> bool:
    if KINDS[identity.kind].is_trained and (output := plan.trained(identity)) is not None:
        return run_is_done(plan, store, output)
    if identity.digest == plan.report.digest:
        return report_is_there(plan, store)
    return store.is_done(identity)


def print_status(plan: Plan, store: Store, console: Console) -> dict[str, Any]:
    """Print every output: done, failed, or how far it is."""
    listed = []
    shown = labels(plan)
    why = reasons(plan, store, [identity for identity in plan.identities() if not store.is_done(identity)])
    for identity in plan.identities():
        failure = store.failure(identity)
        progress = (
            read_json(store.fetch_current(identity, STATUS) / STATUS) if KINDS[identity.kind].is_trained else None
        )
        if is_done(plan, store, identity) or (identity == plan.report and report_is_written(plan, store)):
            state = "done"
        elif failure:
            state = f"failed: {failure['reason']}"
        elif progress:
            reason = f" ({progress['reason']})" if progress["reason"] else ""
            state = f"{progress['state']} from step {progress['step']}{reason}"
        elif identity == plan.report and store.exists(f"{identity.path}/report.json"):
            state = "written; some models have no scores"
        else:
            state = "missing"
        listed.append({"output": identity.path, "state": state, "why": why.get(identity.digest, [])})
        console.print(f"{shown[identity.digest]:<28} {identity.digest}  {state}", highlight=False, markup=False)
    return {"study": plan.recipe.name, "outputs": listed}


def print_scores(table: Table, console: Console) -> None:
    """Print arms as lines; if the scores are too many for the console's width, scores as lines."""
    shown = _grid(table.header, table.lines, left=2)
    if Measurement.get(console, console.options.update(max_width=WIDEST), shown).maximum > console.width:
        length = len(table.header)
        columns = [table.header, *([*line, *[""] * (length - len(line))] for line in table.lines)]
        header, *lines = [list(cells) for cells in zip(*columns, strict=True)]
        shown = _grid(header, lines, left=1)
    console.print(shown, highlight=False)


def _grid(header: list[str], lines: list[list[str]], left: int) -> RichTable:
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(header):
        shown.add_column(escape(title), justify="left" if number < left else "right", no_wrap=number < 1)
    for line in lines:
        shown.add_row(*(escape(cell) for cell in line))
    return shown


def print_outcome(plan: Plan, store: Store, console: Console, *, is_finished: bool = True) -> dict[str, Any]:
    """Print the table of arms, the verdict, what failed and why, and the addresses of the report and of MLflow."""
    rows = results.rows(plan, store)
    content = gather(plan, store, rows, "", "", is_finished=is_finished)
    console.print()
    print_scores(content.table, console)
    console.print(f"[bold]{escape(content.verdict)}[/bold]", highlight=False)
    for line in bounded_lines([*stopped_arms(rows), *content.gate_notes]):
        console.print(line, highlight=False, markup=False)
    failures = [
        {"output": one.path, "label": plan.label(one), **failure}
        for one in plan.identities()
        if (failure := store.failure(one)) is not None and not is_done(plan, store, one)
    ]
    for failure in failures:
        console.print(f"failed: {failure['label']} {failure['digest']}", style="bold red", highlight=False)
        console.print(f"  {failure['reason']}\n  log: {failure['log']}", highlight=False, markup=False, soft_wrap=True)
    for line in left_out(plan, store):
        console.print(f"note: {line}", style="yellow", highlight=False, markup=False)
    folder = store.fetch_current(plan.report, *REPORT_FILES)
    page, saved = folder / "report.html", read_json(folder / "report.json") or {"rows": [], "compare": []}
    if page.exists():
        console.print(f"report:  {page}", highlight=False, soft_wrap=True)
        if saved.get("mlflow_away"):
            console.print(f"note: {saved['mlflow_away']}", style="yellow", highlight=False, markup=False)
        for line in saved["compare"]:
            console.print(f"compare: {line}", highlight=False, soft_wrap=True, markup=False)
    mlflow_runs = {row["name"]: row["mlflow_run"] for row in saved["rows"]}
    unscored = [{"name": one.name, "reason": one.reason, "log": one.log} for one in failures_in(rows)]
    return as_data(plan, content, mlflow_runs) | {
        "failures": failures, "without_scores": unscored, "report": str(page) if page.exists() else "",
    }  # fmt: skip


def print_pruned(plan: Plan, whole: Plan, store: Store, console: Console) -> dict[str, Any]:
    """Prune; print what was removed and what stays, with the reason."""
    found = prune(plan, store, whole)
    for one in found:
        why = f"stays: {one.kept_because}" if one.kept_because else f"removed, {size(one.num_bytes)}"
        console.print(f"{one.run}  step {one.step:>9,}  {why}", highlight=False)
    freed = sum(one.num_bytes for one in found)
    console.print(f"freed {size(freed)}; models, metrics and records stay", highlight=False)
    return {"study": plan.recipe.name, "freed_bytes": freed, "checkpoints": [asdict(one) for one in found]}
