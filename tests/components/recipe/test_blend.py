"""Blends in every form that a recipe can give, and the catalogue's against the paper's figures."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from switchpoint.components.recipe.blend import BlendConfig, Resolver
from switchpoint.components.recipe.catalogue import blend_named, catalogue
from switchpoint.components.recipe.counting import phase_counts
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source, split_key

SOURCES = {
    "web": Source(tokens=800, category="english", tiers={"high": {"tokens": 80}}),
    "books": Source(tokens=100, category="english"),
    "code": Source(tokens=90, category="code"),
    "qa": Source(tokens=10, category="qa"),
}  # fmt: skip
BLENDS: TypeAdapter[Any] = TypeAdapter(dict[str, BlendConfig])
PLAIN = {"web": 0.6, "books": 0.3, "code": 0.1}


def weights(
    blend: Any, phase_tokens: int = 1000, left_out: set[str] | None = None, **others: Any
) -> dict[str, Fraction]:
    blends = BLENDS.validate_python({"plain": PLAIN, "only_qa": {"qa": 1}, "x": blend, **others})
    return Resolver(blends, SOURCES, frozenset(left_out or ())).weights("x", phase_tokens)


def parts(**given: Any) -> dict[str, Fraction]:
    return {name.replace("_at_", "@"): Fraction(str(weight)) for name, weight in given.items()}


@pytest.mark.parametrize(
    ("blend", "expected"),
    [
        (PLAIN, parts(web=0.6, books=0.3, code=0.1)),
        ({"web": {"weight": "1/3", "tier": "high"}, "qa": "2/3"}, parts(web_at_high="1/3", qa="2/3")),
        ({"by": "tokens", "sources": ["web", "books", "code", "qa"]}, parts(web=0.8, books=0.1, code=0.09, qa=0.01)),
        ({"by": "tokens", "sources": ["english", "code"]}, parts(web="80/99", books="10/99", code="9/99")),
        # a program's floats
        ({"web": 0.1 + 0.2, "qa": 0.7}, parts(web=0.3, qa=0.7)),
        ({"web": 1 / 3, "books": 1 / 3, "qa": 1 / 3}, parts(web="1/3", books="1/3", qa="1/3")),
        # a source stands for the blend of it alone
        (
            {"by": "share", "share": 0.1, "of": "qa", "rest": "plain"},
            parts(web=0.54, books=0.27, code=0.09, qa=0.1),
        ),
        ({"by": "replay", "replay": 0.05, "old": "web", "new": "code"}, parts(web=0.05, code=0.95)),
        ({"by": "multipliers", "base": "web", "tiers": {"web": "high"}}, parts(web_at_high=1)),
        ({"by": "epochs", "epochs": {"qa": 10}, "rest": "code"}, parts(qa=0.1, code=0.9)),
        # upweight, downweight, drop
        ({"by": "multipliers", "base": "plain", "multiply": {"code": 4}}, parts(web="6/13", books="3/13", code="4/13")),
        ({"by": "multipliers", "base": "plain", "multiply": {"web": 0.5}}, parts(web="3/7", books="3/7", code="1/7")),
        ({"by": "multipliers", "base": "plain", "multiply": {"web": 0}}, parts(books=0.75, code=0.25)),
        ({"by": "multipliers", "base": "plain", "multiply": {"english": 0, "books": 1}}, parts(books=0.75, code=0.25)),
        (
            {"by": "multipliers", "base": "plain", "tiers": {"web": "high"}},
            parts(web_at_high=0.6, books=0.3, code=0.1),
        ),
        (
            {"by": "share", "share": 0.1, "of": "only_qa", "rest": "plain"},
            parts(web=0.54, books=0.27, code=0.09, qa=0.1),
        ),
        (
            {"by": "replay", "replay": 0.05, "old": "plain", "new": "only_qa"},
            parts(web=0.03, books=0.015, code=0.005, qa=0.95),
        ),
        # 1.5 epochs of 10 tokens in a phase of 1,000
        (
            {"by": "epochs", "epochs": {"qa": 1.5}, "rest": "plain"},
            parts(qa=0.015, web="0.591", books="0.2955", code="0.0985"),
        ),
        ({"by": "epochs", "epochs": {"code": 1}, "rest": "plain"}, parts(code=0.09, web="91/150", books="91/300")),
    ],
)  # fmt: skip
def test_the_forms(blend: Any, expected: dict[str, Fraction]) -> None:
    assert weights(blend) == expected


def test_a_temperature_flattens_and_sums_to_one() -> None:
    found = weights({"by": "tokens", "sources": ["web", "qa"], "temperature": 2})
    assert sum(found.values()) == 1
    assert float(found["web"] / found["qa"]) == pytest.approx(80**0.5, rel=1e-9)
    assert float(weights({"by": "tokens", "sources": ["web", "qa"], "temperature": 1e6})["qa"]) == pytest.approx(
        0.5, abs=1e-5
    )


def test_what_has_no_text_gives_its_weight_to_the_others_of_its_blend() -> None:
    """Within its own blend: the share of QA stays what it was."""
    blend = {"by": "share", "share": 0.1, "of": "only_qa", "rest": "plain"}
    assert weights(blend, left_out={"web"}) == parts(books=0.675, code=0.225, qa=0.1)
    with pytest.raises(BadInput, match="nothing is left of the blend"):
        weights(blend, left_out={"qa"})


@pytest.mark.parametrize(
    ("blend", "message"),
    [
        ({"by": "epochs", "epochs": {"web": 2}, "rest": "plain"}, "hold more tokens than the phase's 1,000"),
        ({"by": "multipliers", "base": "plain", "multiply": {"web": 0, "books": 0, "code": 0}}, "nothing is left"),
        ({"by": "epochs", "epochs": {"qa": 1}, "rest": "only_qa"}, "holds no other source"),
    ],
)
def test_blends_that_come_to_nothing(blend: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        weights(blend)


def test_a_size_that_is_not_known_is_asked_for() -> None:
    blends = BLENDS.validate_python({"x": {"by": "tokens", "sources": ["a"]}})
    with pytest.raises(BadInput, match=r"(?s)needs the source's size.*sources.a.tokens"):
        Resolver(blends, {"a": Source(folder="a")}, frozenset()).weights("x", 1)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_weights_sum_to_one_however_blends_are_nested(data: st.DataObject) -> None:
    names = list(SOURCES)
    raw = data.draw(st.lists(st.integers(1, 1000), min_size=4, max_size=4))
    blends: dict[str, Any] = {"b0": {name: f"{part}/{sum(raw)}" for name, part in zip(names, raw, strict=True)}}
    for number in range(1, 6):
        one, two = data.draw(st.sampled_from(list(blends))), data.draw(st.sampled_from(list(blends)))
        share = f"{data.draw(st.integers(1, 99))}/100"
        factors = {name: data.draw(st.integers(1, 9)) for name in data.draw(st.sets(st.sampled_from(names)))}
        epochs = data.draw(st.sampled_from(["0.5", "1.25", "2"]))
        blends[f"b{number}"] = data.draw(
            st.sampled_from(
                [
                    {"by": "share", "share": share, "of": one, "rest": two},
                    {"by": "replay", "replay": share, "old": one, "new": two},
                    {"by": "multipliers", "base": one, "multiply": factors},
                    {"by": "epochs", "epochs": {"qa": epochs}, "rest": one},
                    {"by": "tokens", "sources": ["english", "qa"], "temperature": 1.7},
                ]
            )
        )
    resolver = Resolver(BLENDS.validate_python(blends), SOURCES, frozenset())
    for name in blends:
        found = resolver.weights(name, 1000)
        assert sum(found.values()) == 1
        assert min(found.values()) > 0
        counts = phase_counts(found, 5000, "key")
        assert sum(counts.values()) == 5000
        turned = phase_counts(dict(reversed(found.items())), 5000, "key")
        assert all(abs(counts[key] - turned[key]) <= 1 for key in counts)


# Figures 1 and 2 as they were measured on the bars, in percent.
FIGURE_1 = {
    "Pretraining": [46.4, 3.2, 4.7, 3.3, 1.5, 0.9, 1.0, 8.9, 15, 15],
    "Reweight Domains": [53.1, 3.6, 5.3, 3.7, 1.7, 1.0, 1.2, 10.3, 5, 15],
    "Pretraining w/ High Quality Web": [46.4, 3.2, 4.7, 3.3, 1.5, 0.9, 1.0, 8.9, 15, 15],
    "No Web": [0, 12.9, 4.8, 16.2, 11.0, 2.3, 4.8, 18.1, 15, 15],
    "UW Non Web w/ High Quality Web": [12.0, 10.7, 4.1, 13.4, 9.1, 1.8, 4.1, 14.9, 15, 15],
}
CATEGORIES = ["web", "books", "news", "papers", "encyclopedia", "legal", "finance", "misc", "multilingual", "code"]
FIGURE_2 = {
    "QA Blend 1": [42.4, 35.8, 4.8, 9.1, 7.9],
    "QA Blend 2": [42.7, 31.2, 11.4, 7.9, 6.8],
    "QA Blend 3": [40.5, 32.7, 10.9, 9.3, 6.6],
}


def paper_resolver() -> tuple[Resolver, dict[str, Source]]:
    known = catalogue("paper")
    sources = TypeAdapter(dict[str, Source]).validate_python(known["sources"])
    return Resolver(BLENDS.validate_python(known["blends"]), sources, frozenset()), sources


@pytest.mark.parametrize("title", FIGURE_1)
def test_figure_1(title: str) -> None:
    resolver, sources = paper_resolver()
    found = resolver.weights(blend_named(title), 1)
    by_category = dict.fromkeys(CATEGORIES, Fraction(0))
    for key, weight in found.items():
        by_category[sources[split_key(key)[0]].category] += weight
    assert [100 * float(weight) for weight in by_category.values()] == pytest.approx(FIGURE_1[title], abs=0.1)
    tiers = {split_key(key)[1] for key in found if key.startswith("web_crawl")}
    assert tiers == (set() if title == "No Web" else {"high"} if "High Quality" in title else {""})


@pytest.mark.parametrize("title", FIGURE_2)
def test_figure_2(title: str) -> None:
    resolver, _ = paper_resolver()
    found = resolver.weights(blend_named(title), 1)
    order = ["qa_world_knowledge", "qa_reasoning", "qa_stem", "qa_chat", "qa_code"]
    assert [100 * float(found[name]) for name in order] == pytest.approx(FIGURE_2[title], abs=0.2)


def test_tables_1_and_2() -> None:
    _, sources = paper_resolver()
    billions = {name: (source.tokens or 0) / 1e9 for name, source in sources.items()}
    assert billions["web_crawl"] == 5106
    assert sum(size for name, size in billions.items() if not name.startswith("qa_")) == pytest.approx(8508)
    assert sum(size for name, size in billions.items() if name.startswith("qa_")) == pytest.approx(2.81)
