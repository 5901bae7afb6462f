"""KFP component: plan."""

from typing import Dict, List, NamedTuple

from components.launch.component import component


@component
def plan(
    study: Dict,
    store: str,
    recipe_file: str,
    options: str = "",
    stops: Dict = {},  # noqa: B006
) -> NamedTuple("Planned", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Checks the study and works out what will run. `Output`: the groups of shards to tokenise.

    It has that name because KFP's local runner finds a loop's items only there.
    """
    from collections import namedtuple

    from components.launch.process import die_with_parent
    from components.plan.run import write_plan
    from components.store.opening import default_store

    die_with_parent()
    reference, groups = write_plan(study, store or default_store(), recipe_file, options, stops)
    items = [{"plan": reference, "group": group, "groups": groups} for group in range(groups)]
    return namedtuple("Planned", ["Output", "plan"])(items, reference)  # type: ignore[call-arg]
