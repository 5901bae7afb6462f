"""How large a study makes Argo's Workflow object, which may hold 1 MiB: refused before it is submitted, not when it
has trained for a week (pure).

Argo compresses only the nodes of the object (workflow/packer of Argo Workflows 4.0.5), and Kubeflow Pipelines' own
installation keeps none of them elsewhere.
"""

import json
from collections.abc import Sequence
from typing import Any

from switchpoint.components.data.shards import MAX_GROUPS
from switchpoint.components.launch.side_by_side import divided
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import Plan
from switchpoint.pipelines.compile import SPEC

MAX_BYTES = 1024 * 1024
ITEM_BYTES = 4_400
"""A loop's item with its task: 12 nodes, as Argo keeps them (gzip in base64). These four numbers were measured with
Argo's own packer on nodes of a real run: docs/kubernetes.md, "How large a study may be"."""
OUTSIDE_BYTES = 80_000
"""The nodes of all tasks outside loops."""
NAME_COPIES = 5
"""A name in an item: it stands in the item's inputs and in the pods that the drivers work out."""
SPEC_COPIES, STUDY_COPIES = 1.6, 3
"""The compiled pipeline in the object: components and executors as arguments, and the templates made of them. The
run's parameters: the Workflow's own argument, and inputs of the root's and the first task's driver."""


def bytes_of(*, items: int, names: Sequence[str], parameter_bytes: int) -> int:
    """Return about how many bytes a Workflow object has whose loops have `items` items with `names` in them."""
    nodes = OUTSIDE_BYTES + items * ITEM_BYTES + NAME_COPIES * sum(len(name) for name in names)
    return round(nodes + SPEC_COPIES * SPEC.stat().st_size + STUDY_COPIES * parameter_bytes)


def workflow_bytes(plan: Plan, parameters: dict[str, Any]) -> int:
    """Return about how many bytes the Workflow object of a whole run of the study has at its end."""
    gb_runs = [run.identity.digest for run in plan.gb_runs]
    arms = [arm.run_name for arm in plan.arms if plan.own_runs(arm)]
    derived = [one.run_name for one in plan.derived]
    items = len(divided(gb_runs)) + len(divided(arms)) + len(divided(derived)) + MAX_GROUPS
    return bytes_of(items=items, names=[*gb_runs, *arms, *derived], parameter_bytes=len(json.dumps(parameters)))


def check_workflow_size(plan: Plan, parameters: dict[str, Any], recipe_file: str) -> None:
    """Raise BadInput for a study whose Workflow object Argo would refuse, with the number."""
    needed = workflow_bytes(plan, parameters)
    if needed > MAX_BYTES:
        raise BadInput(
            f"the study is too large for one run of the pipeline: {len(plan.arms)} arms", file=recipe_file,
            field="arms", given=f"a Workflow object of about {needed / 1024:,.0f} KiB",
            allowed=f"{MAX_BYTES // 1024:,} KiB: fewer arms in a study (studies share what is trained in one store)",
        )  # fmt: skip
