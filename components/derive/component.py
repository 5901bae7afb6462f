"""KFP components: join_arms, derive."""

from typing import Dict, List, NamedTuple

from kfp import dsl

from switchpoint.components.launch.component import component


@component
def join_arms(plan: str) -> NamedTuple("ArmsJoined", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Return what is left to make after all arms. `Output`: groups of outputs that are made of the arms' models."""
    from collections import namedtuple

    from switchpoint.components.derive.run import missing_derived
    from switchpoint.components.launch.side_by_side import divided
    from switchpoint.components.store.plan_file import load_plan

    planned = load_plan(plan)
    groups = divided([one.run_name for one in missing_derived(planned.plan, planned.store)])
    items = [{"plan": plan, "derived": group} for group in groups]
    return namedtuple("ArmsJoined", ["Output", "plan"])(items, plan)  # type: ignore[call-arg]


@component
def derive(item: Dict, shown: dsl.Output[dsl.Markdown]) -> None:
    """Make outputs of the arms' models, such as merges. `item`: plan and derived, by the names of their rows."""
    from pathlib import Path

    from switchpoint.components.launch.shown import NOTHING_LEFT, write_shown

    if not item["derived"]:  # before torch is imported
        write_shown(Path(shown.path), [NOTHING_LEFT])
        return
    from switchpoint.components.derive.run import derive_group

    derive_group(item["plan"], item["derived"], Path(shown.path))
