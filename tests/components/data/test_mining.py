"""Documents near to QA examples become a source of their own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from switchpoint.components.data.embedder import DIMENSIONS, HashedTfidf, open_embedder
from switchpoint.components.data.mining import SCORES, _nearest, mine
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import origin_of
from tests.components.data.test_tokenise import TEXTS, Tokenised, planned, study

__all__ = ["study"]

COOKING = [
    f"Recipe {n}: knead the flour with yeast and salt, bake the bread {n + 20} minutes in the oven." for n in range(12)
]
QUESTIONS = [
    f"How long does bread with yeast and flour bake in the oven? Answer {n}: it takes {n} minutes." for n in range(8)
]


def test_the_nearest_are_kept_whatever_the_batches() -> None:
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(5, 16)).astype("f4"), random.normal(size=(103, 16)).astype("f4")
    wanted = np.argsort(-(queries @ documents.T), axis=1)[:, :4]
    for size in (1, 7, 103):
        batches = (documents[start : start + size] for start in range(0, 103, size))
        scores, rows = _nearest(queries, batches, 4)
        assert np.array_equal(rows, wanted)
        assert np.allclose(scores, np.take_along_axis(queries @ documents.T, wanted, 1), atol=1e-5)
    scores, rows = _nearest(queries, iter([documents[:2]]), 4)
    assert (rows[:, 2:] == -1).all()


def test_the_hashed_embedding_keeps_what_is_near() -> None:
    embedder = HashedTfidf([*TEXTS, *COOKING])
    found = embedder.embed([*COOKING[:2], TEXTS[0], ""])
    assert found.shape == (4, DIMENSIONS)
    assert np.allclose(np.linalg.norm(found[:3], axis=1), 1)
    near, far = found[0] @ found[1], found[0] @ found[2]
    assert near > 0.6 > 0.3 > far
    assert np.array_equal(found, HashedTfidf([*TEXTS, *COOKING]).embed([*COOKING[:2], TEXTS[0], ""]))


def test_a_sentence_transformers_folder(tmp_path: Path) -> None:
    """A small one of random weights: mean over the words that there are, or the first one, as the folder says."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *sorted({word for text in QUESTIONS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(tmp_path)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16)  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    embedder = open_embedder(str(tmp_path), lambda: [])
    together = embedder.embed([QUESTIONS[0], "bread oven", QUESTIONS[0]])
    assert together.shape == (3, 16)
    assert np.allclose(together[1], embedder.embed(["bread oven"])[0], atol=1e-5)  # what fills a batch plays no part
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert not np.allclose(open_embedder(str(tmp_path), lambda: []).embed([QUESTIONS[0]])[0], together[0], atol=1e-3)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(BadInput, match="a pooling that is not known"):
        open_embedder(str(tmp_path), lambda: [])


def with_mined(study: dict[str, Any], tmp_path: Path) -> Tokenised:
    with (tmp_path / "lines" / "b.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in COOKING)
    for path in (tmp_path / "answers").iterdir():
        path.unlink()
    for number, text in enumerate(QUESTIONS):
        (tmp_path / "answers" / f"{number}.txt").write_text(text * 8)
    study["sources"]["mined"] = {"mine": {"sources": ["prose"], "like": ["answers"], "nearest": 2}}
    study["blends"]["mixed"] = {"prose": 0.7, "mined": 0.3}
    study["blends"]["prose"] = {"prose": 0.9, "answers": 0.1}
    return planned(study, tmp_path / "store")


def test_what_is_near_to_the_questions_is_mined(study: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    done = with_mined(study, tmp_path)
    mine(done.plan, done.store, done.corpora, "mined")
    done.run()
    mined = done.decoded("mined")
    assert 0 < len(mined) <= 2 * len(QUESTIONS)
    assert set(mined) <= set(COOKING) - set(done.heldout("prose"))
    origin = origin_of(done.plan.recipe.sources["mined"])
    table = pq.read_table(done.store.local_folder(done.plan.texts[origin]) / SCORES).to_pydict()
    assert len(table["score"]) == len(mined)
    assert all(0.2 < score <= 1.01 for score in table["score"])
    assert set(table["source"]) == {"prose"}
    assert done.plan.base == planned({**study, "arms": {"one": {}}}, tmp_path / "store").plan.base


@pytest.mark.parametrize(("changed", "message"), [
    ({"sources": ["nothing"]}, r"sources\.mined\.mine\.sources\.0: no such source"),
    ({"like": ["mined"]}, r"sources\.mined\.mine\.like\.0: there is no text of it to mine"),
    ({"embedder": "nowhere"}, r"sources\.mined\.mine\.embedder: no such folder"),
])  # fmt: skip
def test_bad_mining_is_refused(study: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    study["sources"]["mined"] = {"mine": {"sources": ["prose"], "like": ["answers"]} | changed}
    study["blends"]["mixed"] = {"prose": 0.7, "mined": 0.3}
    with pytest.raises(BadInput, match=message):
        planned(study, tmp_path / "store")
