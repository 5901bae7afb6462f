"""The step `report`: MLflow, the HTML file and the table, whatever failed."""

import sys
from pathlib import Path

from components.recipe.plan import Plan
from components.report import results, table
from components.report.results import Row
from components.store.store import Store, write_json
from components.tracking.client import MLflowAway
from components.tracking.study import Logged, compare_commands, log_study, tracked_in


def write_report(plan: Plan, store: Store, recipe_file: str) -> Path:
    """Logs the study to MLflow and writes `report.html`; recorded as done only where every arm has its scores."""
    folder = store.path(plan.report)
    page = folder / "report.html"
    if report_is_there(plan, store):
        return page
    folder.mkdir(parents=True, exist_ok=True)
    found = results.rows(plan, store)
    away = ""
    try:
        logged = log_study(plan, store, found)
    except MLflowAway as error:  # the report does not wait for it, and is not recorded as done
        logged, away = Logged("", {}), f"MLflow did not take the study ({error}): the same command delivers it"
        print(away, file=sys.stderr)
    from components.report.html import render

    built = table.build_table(plan, found)
    compare = [] if away else compare_commands(store, logged)
    commands = [*compare, f"switchpoint run {recipe_file} --store {store.root}"]
    page.write_text(render(plan, store, found, built, commands), encoding="utf-8")
    (folder / "report.md").write_text(table.markdown(built), encoding="utf-8")
    write_json(folder / "report.json", as_data(plan, found, logged) | {"compare": compare, "mlflow_away": away})
    if not built.failures and not away:
        outputs = {"report": "report.html", "tracked_in": tracked_in(store), "mlflow_runs": logged.run_ids}
        store.write_record(plan.report, folder, outputs)
    return page


def report_is_there(plan: Plan, store: Store) -> bool:
    """Whether the report is complete and the study logged where it would be logged now."""
    record = store.record(plan.report)
    written = (store.path(plan.report) / "report.html").exists()
    return record is not None and written and record["outputs"]["tracked_in"] == tracked_in(store)


def as_data(plan: Plan, found: list[Row], logged: Logged) -> dict[str, object]:
    """The table's numbers for `--json` and for other tools."""
    return {
        "study": plan.recipe.name,
        "tokens_alone": plan.tokens_alone,
        "tokens_shared": plan.tokens_shared,
        "rows": [
            {
                "arm": row.name,
                "scores": row.scores,
                "failure": row.failure,
                "mlflow_run": logged.run_ids.get(row.name, ""),
            }
            for row in found
        ],
    }
