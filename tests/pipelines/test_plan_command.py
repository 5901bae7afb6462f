"""`switchpoint plan`, `schema`: what people and tools read before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchpoint.components.recipe.load import SHIPPED
from switchpoint.pipelines.schema import SCHEMA, recipe_schema
from tests.conftest import switchpoint
from tests.pipelines.conftest import Finished

RECIPES = sorted(SHIPPED.rglob("*.yaml"))


def plan(*arguments: str | Path, store: Path) -> dict[str, Any]:
    ended = switchpoint("plan", *arguments, "--store", store, "--json")
    assert ended.returncode == 0, ended.stderr
    assert not store.exists()
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_paper_study_is_planned_and_priced_without_any_data(tmp_path: Path) -> None:
    found = plan("paper/table_9", store=tmp_path / "store")
    assert (round(found["tokens_alone"] / 1e9), round(found["tokens_shared"] / 1e9)) == (1500, 894)
    arm = found["arms"][2]
    keys = {"arm_id", "seed", "gb_run", "switch_step", "switch_tokens", "switch_learning_rate", "horizon_tokens",
            "phases", "flops", "gpu_hours", "cost_usd"}  # fmt: skip
    assert keys <= arm.keys()
    assert arm["gb_run"] in {run["digest"] for run in found["gb_runs"]}
    assert {"digest", "end_step", "keep_steps"} <= found["gb_runs"][0].keys()
    for phase in arm["phases"]:
        assert {"name", "start_step", "end_step", "tokens", "sources"} <= phase.keys()
        assert sum(source["tokens"] for source in phase["sources"].values()) == phase["tokens"]
        assert sum(source["weight"] for source in phase["sources"].values()) == pytest.approx(1)
    assert arm["phases"][1]["sources"]["qa_stem"]["epochs"] == pytest.approx(3.06, abs=0.01)
    # 512 H100 at 40% of 989 TFLOP/s, at 2.50 USD an hour.
    assert arm["gpu_hours"] == pytest.approx(arm["flops"] / (989e12 * 0.4) / 3600)
    assert arm["cost_usd"] == pytest.approx(arm["gpu_hours"] * 2.5)
    assert found["total"]["flops"] == pytest.approx(
        sum(one["flops"] for one in found["arms"]) * 894.14 / 1500.02, rel=1e-4
    )
    assert found["cached"] == []


def test_running_it_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    ended = switchpoint("run", "paper/table_9", "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "model.published: the weights of the published base are not at hand" in ended.stderr
    assert "sources without text can be planned with, and not run" in ended.stderr
    assert "--scale cpu" in ended.stderr
    assert not (tmp_path / "store").exists()


def test_at_the_scale_of_a_cpu_it_says_what_is_bound_to_what(tmp_path: Path) -> None:
    ended = switchpoint("plan", "paper/table_6", "--scale", "cpu", "--store", tmp_path / "store")
    assert ended.returncode == 0, ended.stderr
    said = " ".join(ended.stdout.split())
    assert "web_crawl to descriptions" in said
    assert "without text, so their weight goes to the others in proportion: finance, parallel_corpora" in said


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot(tmp_path: Path, suffix: str) -> None:
    ended = switchpoint("plan", "paper/table_10", "--store", tmp_path / "store", "--plot", tmp_path / f"plan{suffix}")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / f"plan{suffix}").stat().st_size > 5_000
    ended = switchpoint("plan", "paper/table_10", "--plot", tmp_path / "plan.txt")
    assert ended.returncode == 2
    assert "--plot" in ended.stderr


def test_a_study_beyond_its_budget_is_planned_and_not_run(
    study: dict[str, Any], tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    recipe = write_recipe(study | {"budget": {"max_tokens": 10_000}})
    assert plan(recipe, store=tmp_path / "store")["over_budget"] == [
        "16,768 tokens (with 5,120 of pretraining), and the budget is 10,000"
    ]
    ended = switchpoint("run", recipe, "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "budget: the study exceeds its budget" in ended.stderr
    assert not (tmp_path / "store").exists()


def test_what_keeps_an_output_from_being_there_is_named(
    finished: Finished, tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    changed = yaml.safe_load(finished.recipe.read_text()) | {"schedule": {"kind": "cosine", "floor_ratio": 0.1}}
    for source in changed["sources"].values():
        source["folder"] = str(finished.recipe.parent / source["folder"])
    ended = switchpoint("plan", write_recipe(changed), "--store", finished.root, "--json")
    missing = [(entry["output"].split("/")[0], entry["why"]) for entry in json.loads(ended.stdout)["missing"]]
    assert "base" not in dict(missing)
    reasons = [why for kind, whys in missing for why in whys if kind == "phase"]
    assert any("schedule.end_learning_rate: 1e-05 -> 0.0001" in why for why in reasons)


def test_the_schema_is_committed_and_every_recipe_that_ships_fits_and_names_it() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert json.loads(SCHEMA.read_text()) == recipe_schema()
    printed = switchpoint("schema")
    assert json.loads(printed.stdout) == recipe_schema()
    validator = jsonschema.Draft202012Validator(recipe_schema())
    assert len(RECIPES) >= 10
    for path in RECIPES:
        first = path.read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema="), path
        assert (path.parent / first.split("=", 1)[1]).resolve() == SCHEMA.resolve()
        assert not list(validator.iter_errors(yaml.safe_load(path.read_text()))), path
    assert list(validator.iter_errors({"name": "x", "catalogue": "paper", "horizn_tokens": 1}))
