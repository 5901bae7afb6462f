"""Merges in the plan: which models they are made of, for which seeds, and what is refused."""

from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.source import origin_of


def planned(study: dict[str, Any], **changes: Any) -> Plan:
    recipe = parse_recipe(deepcopy(study) | changes, "recipe.yaml")
    return expand(recipe, {origin_of(source): "content" for source in recipe.sources.values()}, "recipe.yaml")


def test_a_merge_is_made_of_arms_at_their_ends(study: dict[str, Any]) -> None:
    plan = planned(study, merges={"soup": {"of": ["prose", "mixed"], "weights": ["1/3", "2/3"]}})
    (soup,) = plan.derived
    assert [model.inputs["run"] for model in soup.output.stage.models] == [
        plan.arm(name).runs[-1] for name in ("prose", "mixed")
    ]
    assert soup.output.stage.weights == (Fraction(1, 3), Fraction(2, 3))
    assert (soup.run_name, soup.seed, soup.described) == ("soup", 0, "0.333333 prose, 0.666667 mixed")
    assert plan.evaluations()[soup.evaluation.digest] == (soup.model, soup.evaluation)
    paths = [identity.path for identity in plan.identities()]
    assert paths.index(soup.model.path) > paths.index(plan.arm("switched").runs[-1].path)
    assert {one.path for one in planned(study).identities()} - {planned(study).report.path} < set(paths)


def test_a_checkpoint_that_is_merged_is_requested_of_its_run(study: dict[str, Any]) -> None:
    of = [{"arm": "switched", "at": "switch"}, {"arm": "switched", "at": 0.9}, "switched"]
    plan, arm = planned(study, merges={"path": {"of": of}}), planned(study).arm("switched")
    (path,) = plan.derived
    steps = [model.config["step"] for model in path.output.stage.models]
    assert steps == [arm.switch_step, 36, 40]
    gb, qb = plan.run(arm.gb_run.digest), plan.run(arm.runs[-1].digest)
    assert arm.switch_step in gb.export_steps
    assert set(qb.export_steps) == {36, 40}
    # What only a merge needs changes no digest of what is trained.
    assert [run.identity for run in plan.runs] == [run.identity for run in planned(study).runs]


def test_a_merge_of_arms_is_made_for_every_seed_and_one_of_seeds_once(study: dict[str, Any]) -> None:
    merges = {"soup": {"of": ["prose", "mixed"]}, "seeds": {"of": ["mixed-seed-1", "mixed-seed-2"]}}
    plan = planned(study, seeds=[1, 2], merges=merges)
    assert [(one.run_name, one.seed) for one in plan.derived] == [
        ("soup-seed-1", 1), ("soup-seed-2", 2), ("seeds", None),
    ]  # fmt: skip
    assert plan.derived[0].output.stage.models[0].inputs["run"] == plan.arm("prose-seed-1").runs[-1]


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        ({"of": ["prose"]}, r"merges.soup.of: "),
        ({"of": ["prose", "mixd"]}, r"merges.soup.of.1: there is no such arm.*`mixed`"),
        ({"of": ["prose", "mixed"], "weights": [1]}, r"merges.soup.weights: |2 models are merged with 1 weights"),
        ({"of": ["prose", "mixed"], "weights": [0.5, 0.6]}, r"the weights must sum to exactly 1: 0.5 \+ 0.6 = 1.1"),
        ({"of": ["prose", {"arm": "mixed", "at": "switch"}]}, r"merges.soup.of.1.at: the arm never switches"),
    ],
)
def test_what_cannot_be_merged_is_refused(study: dict[str, Any], merge: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        planned(study, merges={"soup": merge})


def test_names_of_rows_are_not_used_twice_and_arms_that_stop_are_not_merged(study: dict[str, Any]) -> None:
    soup = {"of": ["prose", "mixed"]}
    with pytest.raises(BadInput, match=r"merges\.mixed: the name is that of another row"):
        planned(study, merges={"mixed": soup})
    with pytest.raises(BadInput, match="`halving:` stops arms before"):
        planned(study, merges={"soup": soup}, halving={"at": [0.5]})
