"""KFP components: prepare_evaluation, evaluate."""

from kfp import dsl

from switchpoint.components.launch.component import launcher


@launcher
def prepare_evaluation(plan: str, task_config: dsl.TaskConfig) -> str:
    """Check, before anything is trained, that the suites' data is there; prepare what runs are evaluated on while they
    train. Return the plan's reference.
    """
    from switchpoint.components.evaluate.make_probes import make_probes
    from switchpoint.components.evaluate.run import check_suites
    from switchpoint.components.launch.site import keep_task_config
    from switchpoint.components.launch.task import task
    from switchpoint.components.store.plan_file import load_plan

    keep_task_config(task_config)
    planned = load_plan(plan)
    with task(planned.store, planned.plan.base_evaluation):
        questions = check_suites(planned.plan, planned.store)
    if planned.plan.probes is not None:
        with task(planned.store, planned.plan.probes):
            make_probes(planned.plan, planned.store, questions)
    return plan


@launcher
def evaluate(plan: str, task_config: dsl.TaskConfig) -> str:
    """Evaluate the base and every arm that was trained, by the same suite. Return the plan's reference.

    A model without scores is a result: the reason is in the store, and `check_outcome` names it.
    """
    from switchpoint.components.evaluate.run import evaluate_models
    from switchpoint.components.launch.site import keep_task_config
    from switchpoint.components.launch.task import end_with_run, sole_task
    from switchpoint.components.store.plan_file import load_plan

    end_with_run()
    keep_task_config(task_config)
    planned = load_plan(plan)
    with sole_task(planned.store, "evaluate"):
        evaluate_models(planned.plan, planned.store)
    return plan
