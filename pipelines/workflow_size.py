"""How large a study makes Argo's Workflow object, which may hold 1 MiB: refused before it is submitted, not when it
has trained for a week (pure).

Of the object Argo compresses the nodes alone (workflow/packer of Argo Workflows 4.0.5), and Kubeflow Pipelines' own
installation keeps none of them elsewhere.
"""

import json
from typing import Any

from components.blend.shards import MAX_GROUPS
from components.launch.side_by_side import divided
from components.recipe.errors import BadInput
from components.recipe.plan import Plan
from pipelines.compile import SPEC

MAX_BYTES = 1024 * 1024
TASK_BYTES, ITEM_BYTES = 4_400, 7_200
"""Of a task outside loops, and of a loop's item with its task: nodes as Argo keeps them, gzip in base64. Measured:
docs/kubernetes.md, "How large a study may be"."""
TASKS_OUTSIDE = 10
SPEC_COPIES = 1.5
"""The compiled pipeline in the object: components and executors as arguments, and the templates made of them."""
STUDY_COPIES = 3
"""The run's parameters: the Workflow's own argument, and as inputs of the root's and the first task's driver."""


def workflow_bytes(plan: Plan, parameters: dict[str, Any]) -> int:
    """Return about how many bytes the Workflow object of a whole run of the study has at its end."""
    items = len(divided([run.identity.digest for run in plan.gb_runs]))
    items += len(divided([arm.run_name for arm in plan.arms if plan.own_runs(arm)]))
    items += min(MAX_GROUPS, len(plan.tokenised_sources()))
    nodes = TASKS_OUTSIDE * TASK_BYTES + items * ITEM_BYTES
    return round(nodes + SPEC_COPIES * SPEC.stat().st_size + STUDY_COPIES * len(json.dumps(parameters)))


def check_workflow_size(plan: Plan, parameters: dict[str, Any], recipe_file: str) -> None:
    """Raises BadInput for a study whose Workflow object Argo would refuse, with the number."""
    needed = workflow_bytes(plan, parameters)
    if needed > MAX_BYTES:
        raise BadInput(
            f"the study is too large for one run of the pipeline: {len(plan.arms)} arms", file=recipe_file,
            field="arms",
            given=f"a Workflow object of about {needed / 1024:,.0f} KiB",
            allowed=f"{MAX_BYTES // 1024:,} KiB: fewer arms in a study (studies share what is trained in one store)",
        )  # fmt: skip
