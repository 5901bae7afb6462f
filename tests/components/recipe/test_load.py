# ruff: noqa: E501 (a case is a line)
"""Law 7: what a recipe gets wrong is said with file, line, field, what was given and what is allowed."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.recipe.errors import BadInput, BadInputs
from switchpoint.components.recipe.load import as_mappings, load_study, parse_recipe, recipe_path

Study = dict[str, Any]
SHAPE = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "ffn_size": 64}


def _phases(study: Study, **phases: Any) -> None:
    for name in ("gb", "qb"):
        study.pop(name)
    study.update(phases=phases, arms={"only": {}})


BAD: list[tuple[str, Callable[[Study], Any], str]] = [
    ("unknown key", lambda s: s.update(horizon_token=1), r"horizon_token: unknown key; did you mean `horizon_tokens`"),
    (
        "unknown key inside",
        lambda s: s["model"]["architecture"].update(hiden_size=1),
        r"model.architecture.hiden_size: unknown key; did you mean `hidden_size`",
    ),
    ("unknown key in an arm", lambda s: s["arms"]["mixed"].update(gbb="x"), r"arms.mixed.gbb: unknown key"),
    (
        "unknown key in a schedule",
        lambda s: s.update(schedule={"kind": "wsd", "decay_fraction": 0.1, "warmup_token": 1}),
        r"schedule.warmup_token: unknown key; did you mean `warmup_tokens`",
    ),
    (
        "unknown key in a blend",
        lambda s: s["blends"].update(x={"by": "share", "share": 0.1, "of": "prose", "rset": "mixed", "rest": "mixed"}),
        r"blends.x.rset: unknown key; did you mean `rest`",
    ),
    ("unknown schedule", lambda s: s.update(schedule={"kind": "cosin"}), r"schedule: no such kind; did you mean `cosine`"),
    ("unknown blend form", lambda s: s["blends"].update(x={"by": "shares"}), r"blends.x: no such kind; did you mean `share`"),
    ("missing", lambda s: s.pop("horizon_tokens"), r"horizon_tokens: is required\n  allowed: Total tokens"),
    ("missing start", lambda s: s.pop("start"), r"(?s)start: is required.*new_schedule.*fresh"),
    ("weights", lambda s: s["blends"].update(mixed={"prose": 0.7}), r"blends.mixed: the weights must sum to 1"),
    ("weight", lambda s: s["blends"].update(mixed={"prose": -1}), r"blends.mixed.prose: a weight lies above 0"),
    ("weight in words", lambda s: s["blends"].update(mixed={"prose": "all"}), r"blends.mixed.prose: a weight is a number"),
    ("no such source", lambda s: s["blends"].update(mixed={"prse": 1}), r"blends.mixed.prse: no such source; did you mean"),
    ("no such blend", lambda s: s.update(gb="proze"), r"gb: no such blend; did you mean `prose`"),
    ("no such blend in an arm", lambda s: s["arms"]["mixed"].update(gb="x"), r"arms.mixed.gb: no such blend"),
    (
        "no such blend in a blend",
        lambda s: s["blends"].update(x={"by": "share", "share": 0.1, "of": "proze", "rest": "mixed"}),
        r"blends.x.of: no such blend or source; did you mean `prose`",
    ),
    (
        "a blend of itself",
        lambda s: s["blends"].update(
            x={"by": "replay", "replay": 0.1, "old": "prose", "new": "y"}, y={"by": "multipliers", "base": "x"}
        ),
        r"blends.x: the blend is made from itself",
    ),
    ("no such tier", lambda s: s["blends"].update(x={"prose": {"weight": 1, "tier": "hi"}}), r"x.prose.tier: no such tier"),
    ("no such category", lambda s: s["blends"].update(x={"by": "tokens", "sources": ["q"]}), r"sources.0: no such source or"),
    ("no such phase", lambda s: s["arms"]["mixed"].update(phases={"bq": {}}), r"mixed.phases.bq: no such phase"),
    ("two places", lambda s: s["sources"]["prose"].update(python="code"), r"sources.prose: give `python:` or"),
    ("no place", lambda s: s["sources"].update(x={}), r"sources.x: give `folder:`"),
    ("no arms", lambda s: s.update(arms={}), r"a study has at least one arm"),
    ("ratio", lambda s: s.update(switch={"learning_rate_ratio": 2}), r"switch.learning_rate_ratio: .*\n  given:   2"),
    ("two switches", lambda s: s.update(switch={"tokens": 5, "steps": 1}), r"switch: give one of .*, not tokens and steps"),
    ("tokens", lambda s: s.update(horizon_tokens=0), r"horizon_tokens: .*greater than 0"),
    ("tokens in words", lambda s: s.update(horizon_tokens="300 billion"), r"horizon_tokens: tokens are a whole number"),
    (
        "minimum above maximum",
        lambda s: s["model"]["pretrain"].update(min_learning_rate=0.5),
        r"min_learning_rate lies above",
    ),
    ("a name", lambda s: s["sources"].update({"web (en)": {"folder": "x"}}), r"sources.web \(en\): a name holds"),
    ("an arm called base", lambda s: s["arms"].update(base={}), r"an arm cannot be called `base`"),
    ("seed", lambda s: s.update(seed=2**60), r"seed: "),
    ("too many arms", lambda s: s.update(seeds=list(range(1000)), arms={f"a{n}": {} for n in range(11)}), r"arms: 11,000 runs"),
    ("seed and seeds", lambda s: s.update(seed=1, seeds=[1]), r"give `seed:` or `seeds:`"),
    ("a seed twice", lambda s: s.update(seeds=[1, 1]), r"`seeds:` names a seed twice"),
    (
        "processes",
        lambda s: s["model"]["pretrain"].update(num_processes=3),
        r"batch_size 4 cannot be divided over 3 num_processes",
    ),
    (
        "folder base without a learning rate",
        lambda s: s.update(model={"folder": "m"}, tokenizer={"folder": "t"}, start="fresh"),
        r"schedule.max_learning_rate: a Hugging Face folder does not tell",
    ),
    (
        "folder base without a tokenizer",
        lambda s: s.update(model={"folder": "m"}, start="fresh"),
        r"tokenizer.folder: a base from",
    ),
    ("folder base with a state", lambda s: s.update(model={"folder": "m"}), r"start: it needs the base's optimizer state"),
    ("folder and shape", lambda s: s.update(model={"folder": "m", "architecture": SHAPE}), r"model: `architecture:`"),
    (
        "conflicting overrides",
        lambda s: s["arms"].update(x={"gb": "mixed", "phases": {"gb": {"blend": "prose"}}}),
        r"arms.x: `gb:` and `phases.gb.blend:` say the same",
    ),
    ("phases and gb", lambda s: s.update(phases={"a": {"blend": "prose"}}), r"both say which phases"),
    ("a cap without a choice", lambda s: s["sources"]["answers"].pop("excess"), r"sources.answers: `max_epochs:` and"),
    ("moving without a size", lambda s: s["sources"]["answers"].update(excess="move"), r"the source's size must be known"),
    ("a grid of nothing", lambda s: s.update(grid={"swich": {"a": 1}}), r"grid.swich: an arm has no such field; did you mean `switch`"),
    ("a grid without names", lambda s: s.update(grid={"qb": ["prose"]}), r"grid.qb: "),
    ("a grid's value", lambda s: s.update(grid={"horizon_tokens": {"a": -1}}), r"grid.horizon_tokens.a: .*greater than 0"),
    ("a grid's name twice", lambda s: s.update(grid={"qb": {"mixed": "mixed"}}), r"grid: the grid makes an arm `mixed`"),
    ("hardware", lambda s: s.update(hardware={"gpu": "H100"}), r"hardware.gpu: no such value; did you mean `H100-SXM`"),
    ("catalogue", lambda s: s.update(catalogue="papers"), r"catalogue: no such value; did you mean `paper`"),
    ("left out", lambda s: s.update(left_out=["prosa"]), r"left_out.0: no such source; did you mean `prose`"),
    ("a list for a mapping", lambda s: s.update(merges=["a"]), "merges: must be a mapping, `name: value`"),
    ("too few", lambda s: s.update(merges={"soup": {"of": ["a"]}}), "merges.soup.of: holds too few entries: 1, at least 2"),
    ("no such preset", lambda s: s["model"].update(architecture={"preset": "2m"}), r"preset: no such value[^\n]*\n[^\n]*\n[^\n]*$"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_input_is_refused(study: Study, name: str, spoil: Callable[[Study], Any], message: str) -> None:
    spoiled = deepcopy(study)
    spoil(spoiled)
    with pytest.raises(BadInput, match=message) as caught:
        parse_recipe(spoiled, "recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml: ")
    assert "~" not in str(caught.value)


def test_every_problem_is_told_at_once_with_its_line(tmp_path: Path, study: Study) -> None:
    import yaml

    study |= {"batch_size": 0, "seed": -1, "gb": "proze", "horizn": 1}
    study["blends"]["mixed"] = {"prose": 0.7, "anwers": 0.3}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    lines = path.read_text().splitlines()
    with pytest.raises(BadInputs) as caught:
        parse_recipe(load_study(path), str(path))
    told = {problem.field: problem.line for problem in caught.value.problems}
    assert set(told) == {"batch_size", "seed", "gb", "horizn", "blends.mixed.anwers"}
    for field, line in told.items():
        assert line is not None
        assert lines[line - 1].strip().startswith(field.split(".")[-1] + ":")
        assert f"{path}:{line}: {field}: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"recipe.yaml:\d: not YAML"),
        ("- a", "is a mapping of fields"),
        ("", "an empty file"),
        ("arms: {a: {}, a: {gb: x}}", r"recipe.yaml:1: not YAML: the key `a` is given twice"),
        ("a: &x 1\nb: *x", r"recipe.yaml:2: not YAML: aliases are not supported"),
        ("? [a]\n: 1", "a key is a word"),
        ("a: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        load_study(path)


def test_a_missing_file_and_a_misspelt_recipe_that_ships(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_study(tmp_path / "none.yaml")
    assert recipe_path("paper/table_9").name == "table_9.yaml"
    with pytest.raises(BadInput, match=r"no such recipe; did you mean `paper/table_9`"):
        recipe_path("paper/tabel_9")


def test_weights_are_exact_and_fractions_may_be_written(study: Study) -> None:
    study["blends"]["mixed"] = {"prose": "1/3", "answers": "2/3"}
    parse_recipe(study, "r")
    study["blends"]["mixed"] = {"prose": 0.1, "answers": 0.9000000001}
    with pytest.raises(BadInput, match="sum to 1"):
        parse_recipe(study, "r")


@pytest.mark.parametrize(
    ("written", "tokens"), [("300B", 300 * 10**9), ("1.5T", 15 * 10**11), ("250e9", 250 * 10**9), ("5_120", 5120)]
)
def test_tokens_may_be_written_in_units(study: Study, written: str, tokens: int) -> None:
    assert parse_recipe(study | {"horizon_tokens": written}, "r").horizon_tokens == tokens


def test_order_and_numbers_survive_kfp(study: Study, write_recipe: Callable[[Study], Path]) -> None:
    """KFP hands a dict over with its keys in any order and every number a float."""

    def as_kfp(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: as_kfp(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [as_kfp(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    study |= {
        "grid": {"switch": {"late": {"steps": 30}, "early": {"steps": 3}}}, "seeds": [3, 1],
        "batch_size": {"start": 4, "end": 8, "over_tokens": 640},
    }  # fmt: skip
    loaded = load_study(write_recipe(study))
    recipe = parse_recipe(as_kfp(loaded), "r")
    assert recipe == parse_recipe(loaded, "r")
    assert list(recipe.arms) == ["prose", "mixed", "switched"]
    assert list(recipe.sources) == ["prose", "answers"]
    assert list(recipe.grid_points()) == ["late", "early"]
    assert as_mappings(loaded)["grid"] == study["grid"]


def test_paths_are_relative_to_the_recipe(
    study: Study, write_recipe: Callable[[Study], Path], tmp_path: Path
) -> None:  # fmt: skip
    recipe = parse_recipe(load_study(write_recipe(study)), "r")
    assert recipe.sources["prose"].folder == str(tmp_path / "prose")
