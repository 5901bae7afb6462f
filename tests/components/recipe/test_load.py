"""Law 7: what a recipe gets wrong is said with file, field, what was given and what is allowed."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from components.recipe.errors import BadInput
from components.recipe.load import load_study, parse_recipe

BAD: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("unknown key", lambda s: s.update(horizon_token=1), r"horizon_token: unknown key; did you mean `horizon_tokens`"),
    (
        "unknown key inside",
        lambda s: s["model"]["pretrain"].update(hiden_size=1),
        r"model.pretrain.hiden_size: unknown key; did you mean `hidden_size`",
    ),
    ("unknown key in an arm", lambda s: s["arms"]["mixed"].update(gbb="x"), r"arms.mixed.gbb: unknown key"),
    ("missing", lambda s: s.pop("horizon_tokens"), r"horizon_tokens: is required"),
    ("weights", lambda s: s["blends"].update(mixed={"prose": 0.7}), r"blends.mixed: the weights must sum to 1"),
    ("weight", lambda s: s["blends"].update(mixed={"prose": -1}), r"blends.mixed.prose: a weight lies above 0"),
    ("no such source", lambda s: s["blends"].update(mixed={"prse": 1}), r"blends.mixed.prse: no such source"),
    ("no such blend", lambda s: s.update(gb="proze"), r"gb: no such blend"),
    ("no such blend in an arm", lambda s: s["arms"]["mixed"].update(gb="x"), r"arms.mixed.gb: no such blend"),
    ("two places", lambda s: s["sources"]["prose"].update(python="code"), r"sources.prose: give either"),
    ("no arms", lambda s: s.update(arms={}), r"arms: "),
    ("ratio", lambda s: s.update(switch={"learning_rate_ratio": 2}), r"switch.learning_rate_ratio: .*\n  given:   2"),
    ("tokens", lambda s: s.update(horizon_tokens=0), r"horizon_tokens: .*greater than 0"),
    (
        "minimum above maximum",
        lambda s: s["model"]["pretrain"].update(min_learning_rate=0.5),
        r"min_learning_rate lies above",
    ),
    ("a name", lambda s: s["sources"].update({"web (en)": {"folder": "x"}}), r"sources.web \(en\)"),
    ("an arm called base", lambda s: s["arms"].update(base={}), r"an arm cannot be called `base`"),
    ("seed", lambda s: s.update(seed=2**60), r"seed: "),
    (
        "processes",
        lambda s: s["model"]["pretrain"].update(num_processes=3),
        r"batch_size 4 cannot be divided over 3 num_processes",
    ),
    (
        "folder base without a learning rate",
        lambda s: s.update(model={"folder": "m"}, tokenizer={"folder": "t"}),
        r"schedule.max_learning_rate: a Hugging Face folder does not tell",
    ),
    ("folder base without a tokenizer", lambda s: s.update(model={"folder": "m"}), r"tokenizer.folder: a base from"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_input_is_refused(
    study: dict[str, Any], name: str, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    spoiled = deepcopy(study)
    spoil(spoiled)
    with pytest.raises(BadInput, match=message) as caught:
        parse_recipe(spoiled, "recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml: ")


def test_every_problem_is_told_at_once(study: dict[str, Any]) -> None:
    study |= {"batch_size": 0, "seed": -1}
    with pytest.raises(BadInput, match=r"(?s)batch_size.*seed|seed.*batch_size"):
        parse_recipe(study, "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("- a", "a recipe is a mapping"),
        ("arms: {a: {}, a: {gb: x}}", "the key `a` is given twice"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        load_study(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_study(tmp_path / "none.yaml")


def test_weights_are_exact_and_fractions_may_be_written(study: dict[str, Any]) -> None:
    study["blends"]["mixed"] = {"prose": "1/3", "answers": "2/3"}
    assert sum(parse_recipe(study, "r").blends["mixed"].values()) == 1


def test_order_and_numbers_survive_kfp(study: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]) -> None:
    """KFP hands a dict over with its keys in any order and every number a float."""

    def as_kfp(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: as_kfp(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [as_kfp(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    loaded = load_study(write_recipe(study))
    recipe = parse_recipe(as_kfp(loaded), "r")
    assert recipe == parse_recipe(loaded, "r")
    assert list(recipe.arms) == ["prose", "mixed", "switched"]
    assert list(recipe.sources) == ["prose", "answers"]


def test_paths_are_relative_to_the_recipe(
    study: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    recipe = parse_recipe(load_study(write_recipe(study)), "r")
    assert recipe.sources["prose"].folder == str(tmp_path / "prose")
