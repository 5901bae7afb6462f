"""KFP component: report, the exit handler."""

from typing import Dict

from kfp import dsl

from components.launch.component import component


@component
def report(
    study: Dict,
    store: str,
    stops: Dict,
    shown: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """MLflow, the HTML report and the table: written whatever failed, and shown in the pipeline's UI."""
    from pathlib import Path

    from components.launch.task import task
    from components.report.run import show_report, write_report
    from components.store.opening import default_store, store_at
    from components.store.plan_file import load_plan, plan_reference

    planned = load_plan(plan_reference(study, store_at(store or default_store()), stops))
    with task(planned.store, planned.plan.report):
        print(
            write_report(
                planned.plan, planned.store, planned.recipe_file, planned.options, is_finished=planned.is_last_rung
            )
        )
        show_report(planned.plan, planned.store, Path(shown.path), Path(page.path))
