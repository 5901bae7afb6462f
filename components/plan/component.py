"""KFP component: plan."""

from typing import Dict, List, NamedTuple

from components.launch.component import component


@component
def plan(study: Dict, store: str, recipe_file: str) -> NamedTuple("Planned", [("Output", List[Dict]), ("plan", str)]):  # type: ignore[valid-type]
    """Checks the study and works out what will run. `Output`: the sources to tokenise.

    It has that name because KFP's local runner finds a loop's items only there.
    """
    from collections import namedtuple
    from pathlib import Path

    from components.launch.process import die_with_parent
    from components.plan.run import write_plan

    die_with_parent()
    path, sources = write_plan(study, Path(store), recipe_file)
    items = [{"plan": str(path), "source": name} for name in sources]
    return namedtuple("Planned", ["Output", "plan"])(items, str(path))  # type: ignore[call-arg]
