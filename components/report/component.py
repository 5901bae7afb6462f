"""KFP components: report, check_outcome."""

from kfp import dsl

from switchpoint.components.launch.component import component


@component
def report(plan: str, shown: dsl.Output[dsl.Markdown], page: dsl.Output[dsl.HTML]) -> str:
    """Log the study to MLflow; write the HTML report and the table, shown on Kubeflow's page. Return the plan's
    reference.

    It succeeds where arms failed, since artifacts of a failed task are not uploaded.
    """
    from pathlib import Path

    from switchpoint.components.launch.task import task
    from switchpoint.components.report.run import show_report, write_report
    from switchpoint.components.store.plan_file import load_plan

    planned = load_plan(plan)
    with task(planned.store, planned.plan.report):
        print(
            write_report(
                planned.plan, planned.store, planned.recipe_file, planned.options, is_finished=planned.is_last_rung
            )
        )
        show_report(planned.plan, planned.store, Path(shown.path), Path(page.path))
    return plan


@component
def check_outcome(plan: str) -> None:
    """Fail the run where an arm failed, and name each of them with its reason."""
    from switchpoint.components.report.outcome import check_outcome as check
    from switchpoint.components.store.plan_file import load_plan

    planned = load_plan(plan)
    check(planned.plan, planned.store)
