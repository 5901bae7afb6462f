"""CPUs as Kubernetes takes them: a number, or millicores, exact."""

from typing import Any

import pytest
from pydantic import ValidationError

from switchpoint.components.recipe.cluster import Cluster


@pytest.mark.parametrize(
    ("given", "millicpus"),
    [
        (96, 96_000), (2.0, 2_000), (0.5, 500), ("0.5", 500), ("500m", 500), (" 250m ", 250), ("1m", 1), ("2", 2_000),
        (0.001, 1), ("1500.0m", 1_500), (0.29, 290), (1.001, 1_001), (1_000_000, 1_000_000_000),
    ],
)  # fmt: skip
def test_cpus_are_exact(given: Any, millicpus: int) -> None:
    cluster = Cluster.model_validate({"cpus_per_node": given})
    assert cluster.millicpus_per_node == millicpus
    assert Cluster.model_validate(cluster.model_dump(mode="json")) == cluster


@pytest.mark.parametrize(
    "given", [0, 0.0, -1, 0.0005, 1.0005, "0.5m", "0.9m", "1.5m", "0m", "m", "", "half", 2**70, "2k", True, None,
              [4], float("nan"), "1e99"],
)  # fmt: skip
def test_less_than_a_millicore_or_more_exact_than_one_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError, match=r"a number of CPUs such as 96 or 0\.5, or millicores such as 500m"):
        Cluster.model_validate({"cpus_per_node": given})


def test_the_default_is_four() -> None:
    assert Cluster().millicpus_per_node == 4_000
