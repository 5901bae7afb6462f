"""Documents by how much they are like a reference corpus."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from switchpoint.components.data.perplexity import BACK_OFF, NgramModel, bound_of_best
from switchpoint.components.data.quality import train_scorer
from switchpoint.components.recipe.errors import BadInput
from tests.components.data.test_tokenise import ANSWERS, TEXTS, Tokenised, planned, study

__all__ = ["study"]


def test_the_perplexity_is_that_of_the_counts() -> None:
    """By hand: the corpus is 0 1 2 0 1; the document 0 1 3."""
    model = NgramModel(4)
    model.train([np.array([0, 1, 2, 0, 1])])
    single = [3 / 9, 3 / 9, 2 / 9, 1 / 9]  # (count + 1) / (5 + 4)
    first = single[0]
    second = (1 - BACK_OFF) * 2 / 2 + BACK_OFF * single[1]  # 0 is followed by 1 both times
    after_one = (1 - BACK_OFF) * 0 + BACK_OFF * single[3]  # 1 never by 3
    third = (1 - BACK_OFF) * 0 + BACK_OFF * after_one
    wanted = (first * second * third) ** (-1 / 3)
    ids = np.array([0, 1, 3, 0, 1, 3, 2])
    found = model.perplexities(ids, np.array([3, 6, 7]))
    assert found == pytest.approx([wanted, wanted, 1 / single[2]])
    assert model.perplexities(np.array([], dtype=np.int64), np.array([0])).tolist() == [np.inf]


def test_the_best_hold_their_share_of_the_tokens() -> None:
    scores, sizes = np.array([5.0, 1.0, 3.0, 2.0]), np.array([10, 50, 20, 20])
    assert [bound_of_best(scores, sizes, share) for share in (0.1, 0.5, 0.6, 0.7, 0.95)] == [1, 1, 2, 2, 5]


def scored(study: dict[str, Any], tmp_path: Path) -> Tokenised:
    """Documentation and noise in one source; the reference is other documentation."""
    noise = ["".join(chr(97 + (number * 7 + at * at) % 26) for at in range(3_000)) for number in range(30)]
    lines = [json.dumps({"text": text}) + "\n" for text in noise]
    (tmp_path / "lines" / "c.jsonl").write_text("".join(lines))
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "text.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in ANSWERS))
    study["sources"]["prose"] |= {
        "reference": str(tmp_path / "reference"), "tiers": {"good": {"tokens": 30_000, "best": 0.4}},
    }  # fmt: skip
    study["blends"]["prose"] = {"prose": {"weight": 1, "tier": "good"}}
    return planned(study, tmp_path / "store")


def test_a_tier_of_the_best_leaves_out_what_is_not_like_the_reference(study: dict[str, Any], tmp_path: Path) -> None:
    done = scored(study, tmp_path)
    from switchpoint.components.data.tokenizer import train_tokenizer

    train_tokenizer(done.plan, done.store, done.corpora)
    train_scorer(done.plan, done.store, done.corpora, "prose")
    done.run()
    good = done.decoded("prose@good")
    assert set(good) < set(TEXTS)
    assert len(good) > 10
    sizes = done.record("prose")["tokens"]
    assert 0.4 <= sizes["good"] / sizes["all"] < 0.6  # documents are large here
    table = pq.read_table(done.store.root / done.record("prose")["shards"][0] / "documents.parquet").to_pydict()
    bound = done.store.record(done.plan.scorers["prose"])["outputs"]["bounds"]["good"]  # type: ignore[index]
    for tiers, perplexity in zip(table["tiers"], table["perplexity"], strict=True):
        assert (tiers == "good") == (perplexity <= np.float32(bound))


def test_a_reference_and_tiers_by_it_go_together(study: dict[str, Any], tmp_path: Path) -> None:
    study["sources"]["prose"]["tiers"] = {"good": {"tokens": 1_000, "best": 0.4}}
    with pytest.raises(BadInput, match="`reference:` and tiers with `best:` go together"):
        planned(study, tmp_path / "store")
