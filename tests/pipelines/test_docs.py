"""What the documentation shows can be pasted: its YAML blocks are parts of recipes."""

import re
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe

DOCS = Path(__file__).parents[2] / "docs"


def recipe_of(document: str) -> dict[str, Any]:
    """All of its YAML blocks, with what they take for granted."""
    recipe: dict[str, Any] = {
        "name": "guide", "start": "new_schedule", "tokenizer": {"vocab_size": 256_000},
        "model": {
            "architecture": {
                "kind": "nemotron", "num_layers": 32, "hidden_size": 6144, "num_heads": 48, "num_kv_heads": 8,
                "ffn_size": 24_576, "tied_embeddings": False,
            },
            "published": {"blend": "plain", "tokens": "8T", "max_learning_rate": 4.5e-4, "min_learning_rate": 4.5e-5},
        },
        "sequence_length": 4096, "batch_size": 1152, "horizon_tokens": "300B",
    }  # fmt: skip
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / document).read_text(encoding="utf-8"), re.DOTALL):
        for field, value in yaml.safe_load(block).items():
            recipe[field] = recipe[field] | value if field == "model" else value
    return recipe


def test_the_guides_recipe_plans() -> None:
    recipe = recipe_of("recipe.md")
    recipe["sources"] = {name: source | {"folder": None} for name, source in recipe["sources"].items()}
    plan = expand(parse_recipe(recipe, "guide.yaml"), {}, "guide.yaml")
    assert len(plan.arms) == (1 + 1 + 2 * 2) * 3
    assert [phase.name for phase in plan.arms[0].phases] == ["gb", "qb", "long"]


def test_the_data_guides_recipe_is_one() -> None:
    blends = {"plain": {"web": {"weight": 0.5, "tier": "high"}, "books": 0.3, "exams": 0.2}}
    recipe = recipe_of("data.md") | {"blends": blends, "gb": "plain", "qb": "plain", "arms": {"one": {}}}
    assert parse_recipe(recipe, "guide.yaml").sources["exams"].is_decontaminated


def test_the_evaluation_guides_recipe_is_one() -> None:
    recipe = recipe_of("evaluation.md")
    recipe |= {"sources": {"web": {"folder": "web"}}, "blends": {"plain": {"web": 1}}, "gb": "plain", "qb": "plain"}
    made = parse_recipe(recipe | {"arms": {"one": {}}}, "guide.yaml")
    assert made.evaluation.named_suites == ["paper", "retention"]
    assert made.evaluation.suite_folders == ["./my_tasks"]


def test_the_training_guides_recipe_is_one() -> None:
    recipe = recipe_of("training.md")
    recipe |= {"sources": {"web": {"folder": "web"}}, "blends": {"plain": {"web": 1}}, "gb": "plain", "qb": "plain"}
    made = parse_recipe(recipe | {"arms": {"one": {}}}, "guide.yaml")
    assert made.model.architecture is not None
    assert (made.model.architecture.kind, made.model.architecture.num_layers) == ("qwen3", 16)
    assert made.training.replicas == 8


def test_the_studies_guides_recipe_is_one() -> None:
    recipe = recipe_of("studies.md")
    del recipe["merges"]  # another example: it does not go together with `halving:`
    recipe |= {"sources": {"web": {"folder": "web"}}, "blends": {"plain": {"web": 1}}, "gb": "plain", "qb": "plain"}
    made = parse_recipe(recipe | {"arms": {"one": {}}}, "guide.yaml")
    assert made.halving is not None
    assert made.evaluation.continual is not None
    assert made.evaluation.checkpoints[0] == "switch"


def test_the_studies_guides_bases_are_ones() -> None:
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "bases:" in one]
    recipe = recipe_of("recipe.md") | yaml.safe_load(block) | {"seeds": None, "grid": {}}
    recipe["sources"] = {name: source | {"folder": None} for name, source in recipe["sources"].items()}
    plan = expand(parse_recipe(recipe, "guide.yaml"), {}, "guide.yaml")
    assert {arm.arm_id: arm.base for arm in plan.arms} == {"early": "half", "compact": "small", "copied": "same"}


def test_the_studies_guides_generated_source_is_one() -> None:
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (bases,) = [one for one in blocks if "bases:" in one]
    (block,) = [one for one in blocks if "generate:" in one]
    recipe = recipe_of("recipe.md") | yaml.safe_load(bases) | yaml.safe_load(block) | {"gb": "plain", "qb": "plain"}
    recipe |= {"seeds": None, "grid": {}, "phases": None}
    recipe["sources"]["web"] = {"tokens": "1T"}
    plan = expand(parse_recipe(recipe, "guide.yaml"), {}, "guide.yaml")
    assert plan.generations["own"].stage.model == plan.bases["small"].model
    assert plan.generated_sources() == ["own"]


def test_the_readmes_recipe_is_complete() -> None:
    """As it stands there, with nothing beside it."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    recipe = parse_recipe(yaml.safe_load(block), "mine.yaml")
    assert set(recipe.arms) == {"paper", "early"}


def test_the_studies_guides_gate_is_one() -> None:
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "gate:" in one]
    recipe = recipe_of("recipe.md") | yaml.safe_load(block) | {"seeds": None}
    recipe["sources"] = {name: source | {"folder": None} for name, source in recipe["sources"].items()}
    (gate,) = expand(parse_recipe(recipe, "guide.yaml"), {}, "guide.yaml").arm("gated").gates
    assert len(gate.checks) == 3


def test_the_studies_guides_merges_are_ones() -> None:
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "merges:" in one]
    recipe = recipe_of("recipe.md") | yaml.safe_load(block) | {"seeds": None}
    recipe["sources"] = {name: source | {"folder": None} for name, source in recipe["sources"].items()}
    plan = expand(parse_recipe(recipe, "guide.yaml"), {}, "guide.yaml")
    assert [one.run_name for one in plan.derived] == ["soup", "path"]
