"""Sources that bases generate: what they are made of, what follows them, and what is refused."""

from copy import deepcopy
from typing import Any

import pytest

from switchpoint.components.plan.data import plan_data
from switchpoint.components.plan.price import Price, model_shape, over_budget
from switchpoint.components.recipe.cost import model_size
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.stage import Generate
from switchpoint.components.store.store import Store
from tests.components.recipe.test_bases import HALF, other, planned

OWN = {"generate": {"from": "base", "tokens": 2_000}}
HARDWARE = {"gpu": "H100-SXM", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 2}


@pytest.fixture
def fed(study: dict[str, Any]) -> dict[str, Any]:
    """Two arms, of which one draws what the base generates."""
    study["sources"]["own"] = deepcopy(OWN)
    study["blends"]["fed"] = {"prose": 0.75, "own": 0.25}
    return study | {"arms": {"plain": {}, "fed": {"gb": "fed"}}}


def generated(study: dict[str, Any], **changes: Any) -> str:
    """Return the digest of the text, with other values in `generate:`."""
    study = deepcopy(study)
    study["sources"]["own"]["generate"] |= changes
    return planned(study).generations["own"].identity.digest


def test_a_generated_source_is_an_output_made_of_its_base(fed: dict[str, Any]) -> None:
    plan = planned(fed)
    base, output = plan.bases["base"], plan.generations["own"]
    assert isinstance(output.stage, Generate)
    assert output.identity.kind == "generated"
    assert output.identity.config == {"tokens": 2_000, "temperature": 1.0, "seed": 0, "sequence_length": 32}
    assert output.identity.inputs == {"model": base.model, "tokenizer": plan.tokenizer}
    assert plan.tokens["own"].inputs["text"] == output.identity
    blend = plan.arm("fed").phases[0].blend_identity
    assert blend.inputs["own"] == plan.tokens["own"]
    paths = [identity.path for identity in plan.identities()]
    order = [base.output.identity.path, output.identity.path, plan.tokens["own"].path, blend.path,
             plan.arm("fed").runs[0].path]  # fmt: skip
    assert sorted(order, key=paths.index) == order


def test_every_field_decides_the_text_and_so_does_the_model(fed: dict[str, Any]) -> None:
    half = fed | {"bases": {"half": HALF}}
    found = [
        generated(fed), generated(fed, temperature=0.5), generated(fed, seed=1), generated(fed, tokens=2_001),
        generated(half, **{"from": "half"}), generated(fed | {"sequence_length": 64}),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert generated(half) == found[0]
    longer = deepcopy(fed)
    longer["model"]["pretrain"]["tokens"] *= 2
    assert generated(longer) not in found


def test_it_changes_nothing_of_what_does_not_draw_it(fed: dict[str, Any]) -> None:
    """Neither the tokenizer nor the evaluation depends on it, and nothing is held out of it."""
    without = deepcopy(fed)
    del without["sources"]["own"], without["blends"]["fed"], without["arms"]["fed"]
    one, two = planned(without), planned(fed)
    assert {identity.path for identity in one.identities() if identity.kind != "report"} < {
        identity.path for identity in two.identities()
    }
    assert one.tokenizer == two.tokenizer
    assert one.arm("plain").evaluation == two.arm("plain").evaluation


def test_what_is_made_before_and_after_the_bases(fed: dict[str, Any]) -> None:
    plan = planned(fed)
    assert plan.sources_at_hand() == ["prose", "answers"]
    assert plan.generated_sources() == ["own"]
    assert {phase.blend: plan.generated_in(phase) for phase in plan.blends.values()} == {
        "prose": [], "mixed": [], "fed": ["own"],
    }  # fmt: skip


def test_what_no_blend_draws_is_not_generated_and_the_plan_says_so(fed: dict[str, Any], tmp_path: Any) -> None:
    fed["bases"] = {"small": other(fed)}
    fed["sources"]["own"]["generate"]["from"] = "small"
    plan = planned(fed | {"arms": {"plain": {}}})
    assert list(plan.bases) == ["base"]
    assert plan.generated_sources() == []
    assert "generated" not in {identity.kind for identity in plan.identities()}
    warnings = plan_data(plan, Store(tmp_path), {}, {}, lambda _: False)["warnings"]
    assert any("are not generated: own" in warning for warning in warnings)
    assert list(planned(fed).bases) == ["base", "small"]


def test_a_base_that_is_pretrained_on_generated_text_follows_the_base_that_generates_it(fed: dict[str, Any]) -> None:
    small = other(fed)
    small["pretrain"]["blend"] = "fed"
    fed["sources"]["own"]["generate"]["from"] = "teacher"
    plan = planned(fed, model=small, bases={"teacher": other(fed)}, arms={"one": {}})
    assert list(plan.bases) == ["teacher", "base"]
    assert plan.generations["own"].stage.model == plan.bases["teacher"].model
    assert "own" in plan.pretrainings["base"].stage.phase.weights


def test_it_is_priced_as_a_forward_pass_of_its_base(fed: dict[str, Any], tmp_path: Any) -> None:
    plan = planned(fed, hardware=HARDWARE)
    shape = model_shape(plan.recipe, plan.bases["base"])
    assert shape is not None
    price = Price(plan).generation(plan.generations["own"])
    # 1 layer, 2 heads of 16, 32 tokens of context, keys and values: 4 x 1 x 2 x 16 x 32.
    assert price["flops"] == 2_000 * (2 * model_size(shape.model, shape.vocab_size).matrices + 4_096)
    data = plan_data(plan, Store(tmp_path), {}, {}, lambda _: False)
    assert data["generated"] == [
        {"name": "own", "digest": plan.generations["own"].identity.digest, "from": "base", "tokens": 2_000,
         "temperature": 1.0, "seed": 0} | price
    ]  # fmt: skip
    samples = plan.arm("fed").phases[0].samples["own"]
    assert data["arms"][1]["phases"][0]["sources"]["own"]["epochs"] == samples / 62  # (2,000 - 1) // 32 an epoch
    study = Price(plan).runs(list(plan.runs))["cost_usd"] + Price(plan).pretrainings()["cost_usd"]
    assert over_budget(planned(fed, hardware=HARDWARE, budget={"max_cost_usd": study + price["cost_usd"] / 2}))
    assert not over_budget(planned(fed, hardware=HARDWARE, budget={"max_cost_usd": study + price["cost_usd"] * 2}))


def test_its_size_is_known_before_it_is_generated(fed: dict[str, Any]) -> None:
    fed["blends"]["fed"] = {"by": "epochs", "epochs": {"own": 0.5}, "rest": "prose"}
    phase = planned(fed).arm("fed").phases[0]
    assert float(phase.weights["own"]) == pytest.approx(0.5 * 2_000 / phase.tokens)
    fed["blends"]["fed"] = {"prose": 0.1, "own": 0.9}
    fed["sources"]["own"] |= {"max_epochs": 1, "excess": "move"}
    phase = planned(fed).arm("fed").phases[0]
    assert 62 - 4 <= phase.samples["own"] <= 62  # (2,000 - 1) // 32 are one epoch; counts are within two of weights
    assert phase.moved["own"] > 30


def test_generated_text_is_decontaminated_unless_it_says_otherwise(fed: dict[str, Any]) -> None:
    def contamination(study: dict[str, Any]) -> bool:
        from switchpoint.components.recipe.expand import expand
        from switchpoint.components.recipe.load import parse_recipe
        from tests.components.recipe.test_deciding import Folders

        plan = expand(parse_recipe(deepcopy(study), "recipe.yaml"), Folders())
        return "contamination" in plan.tokens["own"].inputs

    fed["evaluation_sets"] = {"mmlu": "mmlu"}
    assert contamination(fed)
    fed["sources"]["own"]["decontaminate"] = False
    assert not contamination(fed)


SHAPE_ONLY = {"blend": "prose", "tokens": 5_120, "max_learning_rate": 1e-2, "min_learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generate": {"from": "bse", "tokens": 9}}, r"own\.generate\.from: no such base; did you mean `base`"),
        ({"generate": {"from": "base", "tokens": 0}}, r"own\.generate\.tokens: must be greater than 0"),
        ({"generate": {"from": "base"}}, r"own\.generate\.tokens: is required(?s:.*)that are sampled"),
        ({"generate": {"tokens": 9}}, r"own\.generate\.from: is required(?s:.*)The base that generates"),
        ({"generate": {"form": "base", "tokens": 9}}, r"own\.generate\.form: unknown key; did you mean `from`"),
        ({"generate": {"from": "base", "tokens": 9, "temperature": -1}}, r"temperature: must be greater than 0"),
        ({"generate": {"from": "base", "tokens": 9, "temperature": 0}}, r"temperature: must be greater than 0"),
        (OWN | {"folder": "prose"}, r"sources\.own: give .*`folder:` or .*`generate:`, not both"),
        (OWN | {"tokens": 9}, r"the size of a generated source is `generate\.tokens:`"),
        (OWN | {"tiers": {"a": {"tokens": 9}}}, r"only `folder:` has such names"),
        (OWN | {"filters": ["c4_quality"]}, r"only the documents of a `folder:` are filtered"),
    ],
)
def test_what_cannot_be_a_generated_source_is_refused(
    fed: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    fed["sources"]["own"] = changes
    with pytest.raises(BadInput, match=message):
        planned(fed)


def test_a_base_is_not_pretrained_on_its_own_text(fed: dict[str, Any]) -> None:
    fed["model"]["pretrain"]["blend"] = "fed"
    message = r"model\.pretrain\.blend: the base is pretrained on text that it generates itself(?s:.*)base needs base"
    with pytest.raises(BadInput, match=message):
        planned(fed)
    fed["sources"]["own"]["generate"]["from"] = "half"
    with pytest.raises(BadInput, match=r"base needs half needs base"):
        planned(fed, bases={"half": HALF})


def test_a_circle_through_several_bases_is_refused(fed: dict[str, Any]) -> None:
    small = other(fed)
    small["pretrain"]["blend"] = "fed"
    fed["sources"] |= {"theirs": {"generate": {"from": "small", "tokens": 2_000}}}
    fed["blends"]["theirs"] = {"by": "share", "share": 0.5, "of": "other", "rest": "prose"}
    fed["blends"]["other"] = {"theirs": 1}
    fed["model"]["pretrain"]["blend"] = "theirs"
    with pytest.raises(BadInput, match=r"base needs small needs base"):
        planned(fed, bases={"small": small})


def test_a_published_base_has_no_model_to_generate_with(fed: dict[str, Any]) -> None:
    fed["model"] = {"architecture": fed["model"]["architecture"], "published": SHAPE_ONLY}
    with pytest.raises(BadInput, match=r"own\.generate\.from: the study has no model of this base"):
        planned(fed)


def test_two_sources_of_the_same_text_are_refused(fed: dict[str, Any]) -> None:
    fed["sources"]["twin"] = deepcopy(OWN)
    with pytest.raises(BadInput, match=r"sources\.twin\.generate: two sources on the same text"):
        planned(fed)
    fed["sources"]["twin"]["generate"]["seed"] = 1
    planned(fed)


def test_nothing_is_mined_from_generated_text(fed: dict[str, Any]) -> None:
    fed["sources"]["near"] = {"mine": {"sources": ["own"], "like": ["answers"]}}
    with pytest.raises(BadInput, match=r"mine\.sources\.0: there is no text of it to mine"):
        planned(fed)
