"""A study that would not fit into Argo's Workflow object is refused before it is submitted, with the number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.launch.side_by_side import MAX_TASKS, divided
from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import load_study
from switchpoint.pipelines.commands.submit import parameters_of
from switchpoint.pipelines.commands.workflow_size import MAX_BYTES, bytes_of, check_workflow_size, workflow_bytes

Write = Callable[[dict[str, Any]], Path]
QUICKSTART_PARAMETERS = 1_900
"""Bytes of the parameters of the run whose nodes were multiplied."""


@pytest.mark.parametrize(
    ("items", "names", "measured"),
    [
        # Loop items (GB runs, arms, groups of shards), names in an item, bytes as Argo's packer (4.0.5) said:
        # docs/kubernetes.md, "How large a study may be".
        ((32, 32, 1), 1, 427_076),
        ((64, 64, 1), 1, 681_884),
        ((115, 115, 1), 1, 1_086_040),
        ((500, 500, 1), 1, 4_096_884),
        ((32, 32, 1), 16, 507_184),
        ((32, 32, 32), 16, 643_128),
        ((40, 40, 40), 13, 748_820),
    ],
)
def test_the_estimate_is_what_argos_packer_says_or_a_little_more(
    items: tuple[int, int, int], names: int, measured: int
) -> None:
    digests = ["0123456789abcdef"] * ((items[0] + items[1]) * names)
    found = bytes_of(items=sum(items), names=digests, parameter_bytes=QUICKSTART_PARAMETERS)
    assert measured < found < 1.15 * measured


def many_arms(study: dict[str, Any], write_recipe: Write, number: int) -> dict[str, Any]:
    """Return a study every arm of which has a GB run of its own."""
    arms = {
        f"an_arm_with_a_long_name_{index:03}": {"schedule": {"max_learning_rate": 1e-3 + index * 1e-6}}
        for index in range(number)
    }
    return load_study(write_recipe(study | {"arms": arms}))


def test_five_hundred_arms_fit(study: dict[str, Any], write_recipe: Write, tmp_path: Path) -> None:
    large = many_arms(study, write_recipe, 500)
    plan, _ = check_study(large, "recipe.yaml", tmp_path / "store")
    assert len(plan.gb_runs) == 500
    assert len(divided([run.identity.digest for run in plan.gb_runs])) == MAX_TASKS
    parameters = parameters_of(large, "recipe.yaml", "", "s3://bucket/prefix")
    assert workflow_bytes(plan, parameters) < 0.95 * MAX_BYTES
    check_workflow_size(plan, parameters, "recipe.yaml")


def test_what_does_not_fit_is_refused_with_the_number(
    study: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    large = many_arms(study, write_recipe, 3_000)
    plan, _ = check_study(large, "recipe.yaml", tmp_path / "store")
    with pytest.raises(BadInput, match=r"3000 arms\n.*about [\d,]+ KiB\n.*1,024 KiB"):
        check_workflow_size(plan, parameters_of(large, "recipe.yaml", "", "s3://bucket/prefix"), "recipe.yaml")
