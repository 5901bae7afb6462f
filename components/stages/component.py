"""KFP components: train_gb, train_qb. Each launches its training, and what its gates evaluate, and follows it."""

from typing import Dict

from kfp import dsl

from switchpoint.components.launch.component import launcher


@launcher
def train_gb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """Train GB runs that arms share, each kept at its arms' switch points. `item`: plan and gb_runs."""
    from pathlib import Path

    from switchpoint.components.launch.site import keep_task_config
    from switchpoint.components.train.shown import NOTHING_LEFT, write_shown

    if not item["gb_runs"]:  # before torch is imported
        write_shown(Path(shown.path), [NOTHING_LEFT])
        return
    from switchpoint.components.stages.group import train_gb_group

    keep_task_config(task_config)
    train_gb_group(item["plan"], item["gb_runs"], Path(shown.path))


@launcher
def train_qb(item: Dict, shown: dsl.Output[dsl.Markdown], task_config: dsl.TaskConfig) -> None:
    """Train the phases after GB of arms, each from its GB run's checkpoint at the switch. `item`: plan and arms."""
    from pathlib import Path

    from switchpoint.components.launch.site import keep_task_config
    from switchpoint.components.train.shown import NOTHING_LEFT, write_shown

    if not item["arms"]:  # before torch is imported
        write_shown(Path(shown.path), [NOTHING_LEFT])
        return
    from switchpoint.components.stages.group import train_arm_group

    keep_task_config(task_config)
    train_arm_group(item["plan"], item["arms"], Path(shown.path))
