"""A paper's sources bound to text of the environment, or of the user."""

from pathlib import Path

import pytest
import yaml

from switchpoint.components.data.binding import BINDING, bound_to_environment, bound_to_user, has_enough
from switchpoint.components.data.environment_places import part_files
from switchpoint.components.data.environment_text import ENVIRONMENT_PARTS
from switchpoint.components.recipe.catalogue import catalogue
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import parse_recipe, recipe_path
from switchpoint.pipelines.commands.study_file import read_study


def test_every_name_of_the_table_is_one() -> None:
    assert set(BINDING) <= set(catalogue("paper")["sources"])
    assert set(BINDING.values()) <= set(ENVIRONMENT_PARTS)


def test_a_source_that_finds_too_little_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.doctest").write_text("text " * 100)
    assert not has_enough("tutorials", [("a.doctest", tmp_path / "a.doctest")])
    study = {"sources": {"finance": {"tokens": 5}, "encyclopedia": {"tokens": 7, "category": "encyclopedia"}}}
    bound = bound_to_environment(study)
    assert bound["left_out"] == ["finance"]
    assert bound["sources"]["encyclopedia"] == {"tokens": 7, "category": "encyclopedia", "environment": "topics"}
    assert has_enough("topics", part_files(["topics"])["topics"])


def test_a_file_of_sources(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = tmp_path / "sources.yaml"
    path.write_text("web_crawl: {folder: mine}\nfinance: null\n")
    study, _ = read_study("paper/recipe", sources=path)
    recipe = parse_recipe(study, "r")
    assert recipe.sources["web_crawl"].folder == str(tmp_path / "mine")
    assert recipe.sources["web_crawl"].tokens == 5106 * 10**9
    assert recipe.left_out == ["finance"]
    assert "catalogue" not in study


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"web_crawel": {"folder": "x"}}, r"sources.yaml:1: web_crawel: no such source; did you mean `web_crawl`"),
        ({"web_crawl": "folder"}, r"sources.yaml:1: web_crawl: a source is a mapping"),
    ],
)
def test_a_bad_file_of_sources(tmp_path: Path, given: dict[str, object], message: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(given))
    with pytest.raises(BadInput, match=message):
        bound_to_user(yaml.safe_load(recipe_path("paper/recipe").read_text()) | catalogue("paper"), path)
