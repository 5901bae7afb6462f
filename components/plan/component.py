"""KFP component: plan."""

from typing import Dict

from switchpoint.components.launch.component import component


@component
def plan(
    study: Dict,
    store: str,
    recipe_file: str,
    options: str = "",
    stops: Dict = {},  # noqa: B006
) -> str:
    """Check the study and work out what will run. Return the plan's reference: its path in the store."""
    from switchpoint.components.launch.process import die_with_parent
    from switchpoint.components.plan.run import write_plan
    from switchpoint.components.store.opening import default_store

    die_with_parent()
    return write_plan(study, store or default_store(), recipe_file, options, stops)
