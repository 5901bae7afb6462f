"""Bases of several shapes: each arm costs what its own base makes it cost."""

from typing import Any

import pytest

from switchpoint.components.plan.data import plan_data
from switchpoint.components.plan.price import Price, model_shape, over_budget
from switchpoint.components.recipe.cost import checkpoint_bytes, model_bytes, train_flops
from switchpoint.components.store.store import Store
from tests.components.recipe.test_bases import HALF, SAME, other, planned

HARDWARE = {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 2}


def test_an_arm_costs_what_its_own_base_does(study: dict[str, Any]) -> None:
    bases = {"small": other(study), "half": HALF, "early": HALF | {"of": "small"}}
    arms = {"one": {}, "two": {"base": "small"}, "three": {"base": "early"}, "four": {"base": "half"}}
    plan = planned(study, bases=bases, arms=arms, hardware=HARDWARE)
    price = Price(plan)
    shapes = {name: model_shape(plan.recipe, base) for name, base in plan.bases.items()}
    costs = {arm.arm_id: price.arm(arm)["flops"] for arm in plan.arms}
    for arm in plan.arms:
        shape = shapes[arm.base]
        assert shape is not None
        parts = [train_flops(shape.model, shape.vocab_size, phase.tokens, 32) for phase in arm.phases]
        assert costs[arm.arm_id] == sum(parts)
    assert costs["one"] == costs["four"] < costs["two"] == costs["three"]
    assert price.runs(list(plan.runs))["flops"] == sum(costs.values())  # none shares a run
    # Two pretrainings, of which each is kept, and exported, at its middle and its end.
    assert price.pretrainings()["tokens"] == 2 * 5_120
    kept = sum(
        2 * (checkpoint_bytes(shape.model, shape.vocab_size) + model_bytes(shape.model, shape.vocab_size))
        for name in ("base", "small")
        if (shape := shapes[name])
    )
    assert sum(price.base_bytes(output) or 0 for output in plan.base_outputs.values()) == kept
    memory = {
        name: (Price(planned(study, bases=bases, arms={name: arms[name]}, hardware=HARDWARE)).memory() or {})
        for name in ("one", "two")
    }
    assert price.memory() == memory["two"] != memory["one"]


def test_a_budget_counts_every_pretraining(study: dict[str, Any]) -> None:
    given = {"arms": {"one": {}, "two": {"base": "small"}}, "budget": {"max_tokens": 4 * 5_120}}
    assert over_budget(planned(study, bases={"small": other(study)}, **given)) == []
    given["budget"] = {"max_tokens": 4 * 5_120 - 1}
    assert over_budget(planned(study, bases={"small": other(study)}, **given)) == [
        "20,480 tokens (with 10,240 of pretraining), and the budget is 20,479"
    ]


def test_the_plan_says_what_bases_are_and_which_are_left_out(study: dict[str, Any], tmp_path: Any) -> None:
    plan = planned(study, bases={"half": HALF, "same": SAME}, arms={"one": {"base": "half"}})
    data = plan_data(plan, Store(tmp_path), {}, {}, lambda _: False)
    assert [(base["name"], base["of"], base["step"], "tokens" in base) for base in data["bases"]] == [
        ("base", None, 40, True), ("half", "base", 20, False),
    ]  # fmt: skip
    assert data["arms"][0]["base"] == "half"
    assert "no arm starts from these bases, so they are not made: same" in data["warnings"]


@pytest.mark.parametrize("base", ["base", "same"])
def test_a_copy_has_the_shape_of_its_base(study: dict[str, Any], base: str) -> None:
    plan = planned(study, bases={"same": SAME}, arms={"one": {"base": base, "start": "fresh"}})
    assert model_shape(plan.recipe, plan.bases[base]) == model_shape(plan.recipe, plan.bases["base"])
