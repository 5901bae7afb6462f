# ruff: noqa: PT017 (what is caught is looked at)
"""Recipes with something wrong in them: accepted or refused with a message, never a traceback, never a hang."""

import copy
import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from switchpoint.components.plan.data import plan_data
from switchpoint.components.recipe.epochs import check_sources, known_tokens
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.evaluation import evaluation_origin
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import load_study, parse_recipe, recipe_path
from switchpoint.components.recipe.recipe import tokenizer_origin
from switchpoint.components.recipe.scale import scaled_to_cpu
from switchpoint.components.recipe.source import origin_of, reference_origin
from switchpoint.components.store.store import Store

SLOW_SECONDS = 20
"""What hangs takes longer."""


def _recipes() -> list[dict[str, Any]]:
    """What is mutated: every kind of section that a recipe can have."""
    read = [yaml.safe_load(recipe_path(name).read_text()) for name in ("quickstart", "paper/table_7", "paper/warmup")]
    everything = copy.deepcopy(read[0]) | {
        "phases": {
            "general": {"blend": "uneven", "until": {"progress": 0.5}},
            "qa": {"blend": "mixed", "until": {"progress": 0.7}},
            "long": {"blend": "mixed", "sequence_length": 64, "batch_size": 2},
        },
        "seeds": [0, 1], "left_out": [],
        "grid": {"horizon_tokens": {"short": 200_000, "long": "300K"}, "schedule": {"a": {"kind": "constant"}}},
        "batch_size": {"start": 2, "end": 8, "over_tokens": 50_000},
        "schedule": {"kind": "infinite", "warmup_fraction": 0.1, "cooldown_tokens": 9_000, "constant_ratio": 0.5,
                     "anneal_fraction": 0.1},
        "budget": {"max_tokens": 10**9, "max_cost_usd": 100.0},
        "hardware": {"gpu": "B200", "num_gpus": 8, "mfu": 0.4, "usd_per_gpu_hour": 5},
        "arms": {
            "one": {},
            "two": {"phases": {"qa": {"blend": "qa"}}, "schedule": {"kind": "wsd", "decay_fraction": 0.1}},
        },
    }  # fmt: skip
    for name in ("gb", "qb", "switch"):
        everything.pop(name)
    everything["sources"]["qa"] |= {"tokens": 40_000, "excess": "move"}
    everything["sources"]["code"] |= {"tokens": 10**6}
    everything["blends"] |= {
        "prose": {"topics": 1}, "mixed": {"by": "share", "share": 0.1, "of": "q", "rest": "pretraining"},
        "q": {"by": "epochs", "epochs": {"qa": 0.5}, "rest": "pretraining"},
        "uneven": {"by": "multipliers", "base": "sized", "multiply": {"code": 2}},
        "sized": {"by": "tokens", "sources": ["code", "qa"], "temperature": 2.0},
    }  # fmt: skip
    everything["model"]["pretrain"]["batch_size"] = 8
    everything["sources"] |= {
        "web": {
            "folder": "web", "text_field": "content", "metadata_fields": ["language"], "on_error": "skip",
            "filters": ["c4_quality"], "deduplicate": "minhash", "decontaminate": True, "reference": "good",
            "tiers": {"high": {"tokens": 9_000, "best": 0.2}},
        },
        "megatron": {"token_file": "s3://bucket/corpus", "heldout": "valid"},
        "mined": {"mine": {"sources": ["web"], "like": ["qa"], "nearest": 2, "embedder": "tfidf"}},
        "own": {"generate": {"from": "base", "tokens": 9_000, "temperature": 0.9, "seed": 1}},
    }  # fmt: skip
    everything["blends"]["long"] = {
        "web": {"weight": 0.5, "tier": "high"},
        "mined": 0.25,
        "own": 0.125,
        "megatron": 0.125,
    }
    everything["phases"]["long"] |= {"blend": "long", "packing": "best_fit"}
    everything |= {"document_mask": True, "data_order": "keyed", "evaluation_sets": {"mmlu": "mmlu"}}
    return [*read, everything]


RECIPES = _recipes()
NUMBERS = [0, -1, 1, 2, 0.5, 1e-9, 1e300, math.inf, math.nan, 2**53, 2**53 + 1, 2**80, -0.0, 10**6, 1.5]
TEXTS = [
    "",
    "prose",
    "qa",
    "base",
    "1/3",
    "1/0",
    "300B",
    "1e999999999",
    "9" * 5000,
    "\0",
    "ü",
    "by",
    "~wsd",
    "a b",
    "null",
]
JUNK = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.none(), st.booleans(), st.just([]), st.just({}),
    st.just([{"a": 1}]), st.just({"by": "tokens"}), st.just({"kind": "wsd"}), st.just({"a": {"b": {"c": []}}}),
    st.just([[[]]]), st.floats(), st.text(max_size=8), st.just({1: 2}), st.just({"prose": 1}),
).map(copy.deepcopy)  # fmt: skip


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [inside for key, item in items for inside in _places(item, (*place, key))]


def _mutate(study: dict[str, Any], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(_places(study)), label="place")
    section: Any = study
    for key in place[:-1]:
        section = section[key]
    key = place[-1]
    how = data.draw(st.sampled_from(["replace", "remove", "rename", "add", "swap", "scale"]), label="how")
    if how == "replace" or isinstance(section, list):
        section[key] = data.draw(JUNK, label="value")
    elif how == "remove":
        del section[key]
    elif how == "rename":
        section[data.draw(st.sampled_from(["x", "", f"{key}s", str(key)[1:], "base", "by", "gb"]))] = section.pop(key)
    elif how == "add":
        section[data.draw(st.sampled_from(["x", "by", "kind", "tokens", "seed", "phases", "until"]))] = data.draw(JUNK)
    elif how == "swap":
        other = data.draw(st.sampled_from(sorted(section, key=str)))
        section[key], section[other] = section[other], section[key]
    elif isinstance(section[key], int | float) and not isinstance(section[key], bool):
        section[key] = section[key] * data.draw(st.sampled_from([-1, 0, 1e-6, 0.1, 3, 1000, 10**9]))
    else:
        section[key] = [section[key]]


def _plan(study: dict[str, Any], root: Path) -> bool:
    """Whether the study is accepted; refused means a message that names the file and what is wrong."""
    try:
        recipe = parse_recipe(study, "recipe.yaml")
        digests = {origin_of(source): "content" for source in recipe.sources.values()}
        digests |= {reference_origin(source): "content" for source in recipe.sources.values() if source.reference}
        digests |= {evaluation_origin(folder): "content" for folder in recipe.evaluation_sets.values()}
        folders = [tokenizer_origin(str(recipe.tokenizer.folder)), recipe.model.folder]
        plan = expand(recipe, digests | {str(folder): "content" for folder in folders}, "recipe.yaml")
        check_sources(plan, known_tokens(plan, {}), "recipe.yaml")  # as the command does first
        json.dumps(plan_data(plan, Store(root), {}, {}, lambda _: False))
    except BadInput as error:
        return _told(error, "recipe.yaml: ")
    for arm in plan.arms:
        assert sum(phase.num_samples for phase in arm.phases) == arm.clock.samples_at(arm.horizon_steps)
        assert all(sum(phase.weights.values()) == 1 for phase in arm.phases)
    return True


def _told(error: BadInput, beginning: str) -> bool:
    """Never whether it is accepted; that the message says where and what."""
    assert str(error).startswith(beginning), error
    assert error.problem
    return False


def _check(data: st.DataObject, root: Path) -> None:
    study = copy.deepcopy(data.draw(st.sampled_from(RECIPES), label="recipe"))
    if data.draw(st.booleans()) and data.draw(st.booleans()):
        try:
            study = scaled_to_cpu(study)
        except BadInput:
            return
    for _ in range(data.draw(st.integers(1, 3), label="mutations")):
        _mutate(study, data)
    _plan(study, root)


def test_the_recipes_that_are_mutated_are_accepted(tmp_path: Path) -> None:
    for number, study in enumerate(RECIPES):
        parse_recipe(copy.deepcopy(study), "recipe.yaml")
        assert _plan(copy.deepcopy(study), tmp_path), number


CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
FIXED: dict[str, Any] = {
    "deadline": timedelta(seconds=SLOW_SECONDS), "database": None, "suppress_health_check": CHECKS,
}  # fmt: skip


@seed(20240707)
@settings(max_examples=300, **FIXED)
@given(data=st.data())
def test_300_mutated_recipes(tmp_path: Path, data: st.DataObject) -> None:
    _check(data, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@seed(2407_07263)
@settings(max_examples=10_000, **FIXED)
@given(data=st.data())
def test_10_000_mutated_recipes(tmp_path: Path, data: st.DataObject) -> None:
    _check(data, tmp_path)


@settings(max_examples=200, **FIXED)
@given(
    text=st.one_of(st.text(max_size=200), st.sampled_from(["{" * 3000, "- " * 3000, "a: " * 500, "\t", "%", "&a *a"]))
)
def test_any_text_is_a_study_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        study = load_study(path)
        parse_recipe(study, str(path))
    except BadInput as error:
        assert _told(error, str(path)) is False
