"""What a recipe asks a cluster for: checked before anything runs, and in no digest."""

from typing import Any

import pytest

from switchpoint.components.recipe.cluster import Cluster, Toleration
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe

DIGESTS = {"prose": "1", "answers": "2"}


def test_nodes_follow_from_processes() -> None:
    eight = Cluster(processes_per_node=8)
    assert [eight.num_nodes(processes) for processes in (1, 8, 32)] == [1, 1, 4]
    assert eight.world_sizes(32) == [32]
    assert Cluster(processes_per_node=8, min_nodes=2).world_sizes(32) == [16, 24, 32]
    assert Cluster(processes_per_node=8, min_nodes=2).world_sizes(8) == [8]


@pytest.mark.parametrize(
    ("cluster", "training", "words"),
    [
        ({"processes_per_node": 8}, {"num_processes": 12}, "do not fill whole nodes of 8"),
        ({"min_nodes": 4}, {"num_processes": 2}, "`cluster.min_nodes` 4 is more than the 2"),
        ({"min_nodes": 2}, {"num_processes": 4}, "batch_size 4 cannot be divided over 3 num_processes"),
        ({"queue": "Not A Name"}, {}, "cluster.queue"),
        ({"tolerations": [{"operator": "Equal", "key": "gpu"}]}, {}, "needs a `value:`"),
        ({"gpus": 8}, {}, "gpus"),
    ],
)
def test_what_cannot_be_is_refused(
    study: dict[str, Any], cluster: dict[str, Any], training: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        parse_recipe(study | {"cluster": cluster, "training": training}, "recipe.yaml")


def test_it_is_in_no_digest(study: dict[str, Any]) -> None:
    plain = expand(parse_recipe(study, "recipe.yaml"), DIGESTS, "recipe.yaml")
    asked = study | {"cluster": {"processes_per_node": 4, "queue": "pretraining", "device": "none"}}
    there = expand(parse_recipe(asked, "recipe.yaml"), DIGESTS, "recipe.yaml")
    assert [one.digest for one in there.identities()] == [one.digest for one in plain.identities()]


def test_a_toleration_is_written_as_kubernetes_reads_it() -> None:
    assert Toleration(key="gpu", effect="NoSchedule").spec() == {
        "key": "gpu", "operator": "Exists", "effect": "NoSchedule",
    }  # fmt: skip
