"""KFP components: train_base, train_gb, join, train_qb. Each launches its training through TorchX and follows it."""

from typing import Dict, List

from kfp import dsl

from components.launch.component import component, launcher


@launcher
def train_base(plan: str, task_config: dsl.TaskConfig) -> List[Dict]:
    """The base; returns the GB runs that start from it and still need training."""
    from components.launch.site import keep_task_config
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import run_is_done
    from components.train.run import train_base as train

    keep_task_config(task_config)
    planned = load_plan(plan)
    with task(planned.store, planned.plan.base):
        train(planned.plan, planned.store)
    wanted = {one.digest for arm in planned.plan.arms if not arm.stopped for one in arm.runs}
    runs = [run for run in planned.plan.gb_runs if run.identity.digest in wanted]
    missing = [run for run in runs if not run_is_done(planned.plan, planned.store, run)]
    return [{"plan": plan, "gb_run": run.identity.digest} for run in missing]


@launcher
def train_gb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """A GB run that arms share, kept at each of their switch points. `item`: plan and gb_run.

    Where it goes on from another GB run, that one is trained first, by whichever task comes to it first.
    """
    from pathlib import Path

    from components.launch.site import keep_task_config
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import check_parent, show_run, train_run

    keep_task_config(task_config)
    planned = load_plan(item["plan"])
    for run in planned.plan.chain(planned.plan.run(item["gb_run"])):
        try:
            with task(planned.store, run.identity):
                check_parent(planned.plan, planned.store, run)
                train_run(planned.plan, planned.store, run)
        finally:
            show_run(planned.plan, planned.store, run, Path(shown.path))


@component
def join(plan: str = "") -> List[Dict]:
    """After all GB runs, whether they succeeded or not: the arms that still need training."""
    from components.store.plan_file import load_plan
    from components.train.run import arm_is_done

    planned = load_plan(plan)
    arms = [arm for arm in planned.plan.arms if not arm.stopped]  # those that are given up, failed or not, stay so
    missing = [arm for arm in arms if not arm_is_done(planned.plan, planned.store, arm)]
    return [{"plan": plan, "arm": arm.run_name} for arm in missing]


@launcher
def train_qb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """An arm's phases after GB, from its GB run's checkpoint at the switch. `item`: plan and arm."""
    from pathlib import Path

    from components.launch.site import keep_task_config
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import check_arm, check_parent, show_run, train_run

    keep_task_config(task_config)
    planned = load_plan(item["plan"])
    arm = planned.plan.arm(item["arm"])
    for identity in arm.runs:
        if identity.step == "qb":
            run = planned.plan.run(identity.digest)
            try:
                with task(planned.store, identity):
                    check_parent(planned.plan, planned.store, run)
                    train_run(planned.plan, planned.store, run)
            finally:
                show_run(planned.plan, planned.store, run, Path(shown.path))
    check_arm(planned.plan, planned.store, arm)  # it may end inside its GB run, whose failure is told there
