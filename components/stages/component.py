"""KFP components: train_base, train_gb, join, train_qb. Each launches its training, and what its gates evaluate, and
follows it.

A task passes the reference to the plan on to the task after it, so that Kubeflow's page draws one line of tasks. What
a loop runs over is named `Output`, the only output in which KFP's local runner finds a loop's items.
"""

from typing import Dict, List, NamedTuple

from kfp import dsl

from switchpoint.components.launch.component import component, launcher


@launcher
def train_base(plan: str, task_config: dsl.TaskConfig) -> NamedTuple("Based", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Pretrain the bases, transform them, or record where the user's lie; generate the text that they are the source
    of. `Output`: groups of GB runs that are left to train.
    """
    from collections import namedtuple

    from switchpoint.components.launch.side_by_side import divided
    from switchpoint.components.launch.site import keep_task_config
    from switchpoint.components.stages.bases import make_bases
    from switchpoint.components.store.plan_file import load_plan
    from switchpoint.components.train.outputs import missing_gb_runs

    keep_task_config(task_config)
    planned = load_plan(plan)
    make_bases(planned.plan, planned.store, planned.recipe_file)
    groups = divided([run.identity.digest for run in missing_gb_runs(planned.plan, planned.store)])
    items = [{"plan": plan, "gb_runs": group} for group in groups]
    return namedtuple("Based", ["Output", "plan"])(items, plan)  # type: ignore[call-arg]


@launcher
def train_gb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """Train GB runs that arms share, each kept at its arms' switch points. `item`: plan and gb_runs."""
    from pathlib import Path

    from switchpoint.components.launch.shown import NOTHING_LEFT, write_shown
    from switchpoint.components.launch.site import keep_task_config

    if not item["gb_runs"]:  # before torch is imported
        write_shown(Path(shown.path), [NOTHING_LEFT])
        return
    from switchpoint.components.stages.group import train_gb_group

    keep_task_config(task_config)
    train_gb_group(item["plan"], item["gb_runs"], Path(shown.path))


@component
def join(plan: str) -> NamedTuple("Joined", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Return what is left to train after all GB runs, whether they succeeded or not. `Output`: groups of arms."""
    from collections import namedtuple

    from switchpoint.components.launch.side_by_side import divided
    from switchpoint.components.store.plan_file import load_plan
    from switchpoint.components.train.outputs import missing_arms

    planned = load_plan(plan)
    groups = divided([arm.run_name for arm in missing_arms(planned.plan, planned.store)])
    items = [{"plan": plan, "arms": group} for group in groups]
    return namedtuple("Joined", ["Output", "plan"])(items, plan)  # type: ignore[call-arg]


@launcher
def train_qb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """Train the phases after GB of arms, each from its GB run's checkpoint at the switch. `item`: plan and arms."""
    from pathlib import Path

    from switchpoint.components.launch.shown import NOTHING_LEFT, write_shown
    from switchpoint.components.launch.site import keep_task_config

    if not item["arms"]:  # before torch is imported
        write_shown(Path(shown.path), [NOTHING_LEFT])
        return
    from switchpoint.components.stages.group import train_arm_group

    keep_task_config(task_config)
    train_arm_group(item["plan"], item["arms"], Path(shown.path))
