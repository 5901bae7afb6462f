"""`--scale cpu`: amounts shrink together, shares and ratios stay."""

from typing import Any

import pytest

from switchpoint.components.recipe.catalogue import with_catalogue
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import as_mappings, load_study, parse_recipe, recipe_path
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.scale import scaled_to_cpu
from switchpoint.components.recipe.source import split_key

STUDIES = ["table_4", "table_5", "table_6", "table_7", "table_8", "table_9", "table_10", "warmup", "recipe"]


def study(name: str) -> dict[str, Any]:
    return with_catalogue(as_mappings(load_study(recipe_path(name))))


def planned(data: dict[str, Any]) -> Plan:
    return expand(parse_recipe(data, "r"), {}, "r")


@pytest.mark.parametrize("name", STUDIES)
def test_the_geometry_stays(name: str) -> None:
    large, small = planned(study(f"paper/{name}")), planned(scaled_to_cpu(study(f"paper/{name}")) | {"seeds": [0]})
    assert small.recipe.name == f"{name}-cpu"
    assert small.tokens_shared / small.tokens_alone == pytest.approx(
        large.tokens_shared / large.tokens_alone, abs=0.003
    )
    assert [len(run.keep_steps) for run in small.runs] == [len(run.keep_steps) for run in large.runs]
    for one, other in zip(large.arms, small.arms, strict=True):
        assert other.horizon_tokens == pytest.approx(one.horizon_tokens / 1e6, rel=0.01)
        for before, after in zip(one.phases, other.phases, strict=True):
            assert after.end_tokens / other.horizon_tokens == pytest.approx(
                before.end_tokens / one.horizon_tokens, abs=0.008
            )
            starts = [arm.learning_rates(phase)[0] / arm.schedule.max_learning_rate
                      for arm, phase in ((one, before), (other, after))]  # fmt: skip
            assert starts[0] == pytest.approx(starts[1], abs=0.01)
            for key, weight in before.weights.items():
                assert float(after.weights[key]) == pytest.approx(float(weight), rel=0.02), key


def test_the_base_is_pretrained_small_with_its_ramp() -> None:
    recipe = parse_recipe(scaled_to_cpu(study("paper/recipe")), "r")
    shape, pretrain = recipe.model.architecture, recipe.model.pretrain
    assert shape is not None
    assert pretrain is not None
    assert (shape.hidden_size / shape.num_heads, shape.num_heads / shape.num_kv_heads) == (16, 6)
    assert shape.ffn_size == 4 * shape.hidden_size
    assert pretrain.tokens == 2_000_000
    assert (pretrain.max_learning_rate, pretrain.min_learning_rate) == (1.5e-3, 1.5e-4)
    base = planned(scaled_to_cpu(study("paper/recipe"))).bases["base"].pretraining
    assert base is not None
    assert [base.clock.batch_size(step) for step in (0, base.end_step - 1)] == [2, 6]


def test_every_study_has_one_base() -> None:
    """Pretrained once, in one store, for all of them."""
    assert len({planned(scaled_to_cpu(study(f"paper/{name}"))).base.digest for name in STUDIES}) == 1


def test_amounts_in_every_place_shrink() -> None:
    data = study("paper/recipe") | {
        "arms": {"a": {"switch": {"tokens": "250B"}}, "b": {"switch": {"steps": 63_579 // 2}}},
        "grid": {"horizon_tokens": {"x": "100B", "y": "200B"}, "sequence_length": {"same": 4096}},
        "schedule": {"kind": "wsd", "warmup_tokens": "3B", "decay_fraction": 0.1, "max_learning_rate": 9e-5},
    }
    small = scaled_to_cpu(data)
    assert small["arms"]["a"]["switch"]["tokens"] == 250_000
    assert small["arms"]["b"]["switch"]["steps"] == pytest.approx(63_579 / 2 * 6144e-6, abs=1)
    assert small["grid"] == {"horizon_tokens": {"x": 100_000, "y": 200_000}, "sequence_length": {"same": 128}}
    assert small["schedule"] == {
        "kind": "wsd", "warmup_tokens": 3_000, "decay_fraction": 0.1, "max_learning_rate": 3e-4,
    }  # fmt: skip
    assert small["sources"]["web_crawl"]["tiers"]["high"]["tokens"] == 510_000
    assert {split_key(key)[1] for key in planned(small).tokens} == {"", "high"}


def test_small_arms_are_run_with_three_seeds_unless_the_study_says_which() -> None:
    data = study("paper/table_4")
    assert scaled_to_cpu(data)["seeds"] == [0, 1, 2]
    assert "seeds" not in scaled_to_cpu(data | {"seed": 7})
    assert "seeds" not in scaled_to_cpu(data | {"arms": {"a": {"seed": 7}}})
    assert scaled_to_cpu(data | {"seeds": [5]})["seeds"] == [5]


def test_a_study_without_a_published_base_is_not_scaled() -> None:
    with pytest.raises(BadInput, match="only a study with a published base"):
        scaled_to_cpu(study("quickstart"))
