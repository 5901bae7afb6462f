"""The step `report`: MLflow, the HTML file and the table, whatever failed."""

import shutil
import sys
from pathlib import Path
from typing import Any

from switchpoint.components.evaluate import results
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.content import as_data, gather
from switchpoint.components.report.markdown import markdown_report
from switchpoint.components.store.store import Store, write_json
from switchpoint.components.tracking.client import MLflowAway
from switchpoint.components.tracking.study import (
    REPORT_FILES,
    Logged,
    compare_commands,
    log_report,
    log_study,
    tracked_in,
)


def write_report(
    plan: Plan, store: Store, recipe_file: str, options: str = "", *, is_finished: bool = True, is_tracked: bool = True
) -> Path:
    """Log the study to MLflow and write `report.html`; record it as done only where every arm has its scores, at its
    end and at its chosen checkpoints.

    `options`: what the command was given beside the recipe's file and the store. `is_finished`: whether arms are at
    their ends; at a point of successive halving the page says so, and MLflow waits. `is_tracked`: whether MLflow is
    at hand.
    """
    folder = store.local_folder(plan.report)
    page = folder / "report.html"
    store.fetch_current(plan.report, *REPORT_FILES)
    if report_is_there(plan, store):
        return page
    folder.mkdir(parents=True, exist_ok=True)
    found = results.rows(plan, store)
    away = "" if is_finished else "MLflow gets the study when its arms are at their ends"
    if not is_tracked:
        away = (
            "MLflow was not asked, since arms are unfinished or MLFLOW_TRACKING_URI names no server: `switchpoint "
            "report` delivers the study later"
        )
    logged, is_refused = Logged("", {}), False
    try:
        if not away:
            logged = log_study(plan, store, found)
    except MLflowAway as error:  # the report does not wait for it, and is not recorded as done
        logged, away, is_refused = Logged("", {}), _said(error), error.is_refused
    from switchpoint.components.report.html import render

    content = gather(plan, store, found, recipe_file, options, is_finished=is_finished)
    compare = [] if away else compare_commands(store, logged)
    page.write_text(render(plan, store, content, compare, refused=away if is_refused else ""), encoding="utf-8")
    (folder / "report.md").write_text(markdown_report(plan, content), encoding="utf-8")
    data = as_data(plan, content, logged.run_ids) | {"compare": compare}
    write_json(folder / "report.json", data | {"mlflow_away": away})
    if not away:
        try:
            log_report(store, logged, folder)
        except MLflowAway as error:
            away = _said(error)
            write_json(folder / "report.json", data | {"mlflow_away": away})
    store.save(*(folder / name for name in REPORT_FILES))
    if not content.table.failures and not away:
        outputs = {"report": "report.html", "tracked_in": tracked_in(store), "mlflow_runs": logged.run_ids}
        store.write_record(plan.report, folder, outputs)
    return page


def show_report(plan: Plan, store: Store, shown: Path, page: Path) -> None:
    """Return the written report as the artifacts of a task: Markdown in `shown`, HTML in `page`."""
    folder = store.local_folder(plan.report)
    for name, place in (("report.md", shown), ("report.html", page)):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, place)


def _said(error: MLflowAway) -> str:
    said = f"MLflow did not take the study ({error}): the same command delivers it"
    if error.is_refused:
        said = f"MLflow refuses the study ({error}), and would refuse it again: all of it is in this report"
    print(said, file=sys.stderr)
    return said


def report_is_written(plan: Plan, store: Store) -> bool:
    """Return whether a complete report is there, wherever its study was logged."""
    return _record_of_written(plan, store) is not None


def report_is_there(plan: Plan, store: Store) -> bool:
    """Return whether the report is complete and the study logged to the server, or folder, that would be used now."""
    record = _record_of_written(plan, store)
    return record is not None and record["outputs"]["tracked_in"] == tracked_in(store)


def _record_of_written(plan: Plan, store: Store) -> dict[str, Any] | None:
    """Return the report's record; None where the report is not complete, or one of its files is gone."""
    written = all(store.exists(f"{plan.report.path}/{name}") for name in REPORT_FILES)
    return store.record(plan.report) if written else None
