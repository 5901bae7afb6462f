"""KFP components: train_base, train_gb, join, train_qb. Each launches its training through TorchX and follows it."""

from typing import Dict, List

from components.launch.component import component


@component
def train_base(plan: str) -> List[Dict]:
    """The base; returns the GB runs that start from it and still need training."""
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import gb_is_done
    from components.train.run import train_base as train

    planned = load_plan(plan)
    with task(planned.store, planned.plan.base):
        train(planned.plan, planned.store)
    missing = [run for run in planned.plan.gb_runs if not gb_is_done(run, planned.store)]
    return [{"plan": plan, "gb_run": run.identity.digest} for run in missing]


@component
def train_gb(item: Dict) -> None:
    """A GB run that arms share, kept at each of their switch points. `item`: plan and gb_run."""
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import train_gb as train

    planned = load_plan(item["plan"])
    with task(planned.store, planned.plan.gb_run(item["gb_run"]).identity):
        train(planned.plan, planned.store, item["gb_run"])


@component
def join(plan: str = "") -> List[Dict]:
    """After all GB runs, whether they succeeded or not: the arms that still need training."""
    from components.store.plan_file import load_plan
    from components.train.run import arm_is_done

    planned = load_plan(plan)
    missing = [arm for arm in planned.plan.arms if not arm_is_done(planned.store, arm)]
    return [{"plan": plan, "arm_id": arm.arm_id} for arm in missing]


@component
def train_qb(item: Dict) -> None:
    """An arm's QB phase, from its GB run's checkpoint at the switch. `item`: plan and arm_id."""
    from components.launch.task import task
    from components.store.plan_file import load_plan
    from components.train.run import check_gb_run
    from components.train.run import train_qb as train

    planned = load_plan(item["plan"])
    arm = planned.plan.arm(item["arm_id"])
    if arm.qb_run is None:  # it ends inside its GB run, whose failure is told there
        check_gb_run(planned.plan, planned.store, arm)
        return
    with task(planned.store, arm.qb_run):
        check_gb_run(planned.plan, planned.store, arm)
        train(planned.plan, planned.store, arm)
