"""Documents that are left out: those that repeat others, exactly or nearly, and those that break a rule."""

import json
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data import shards
from switchpoint.components.data.duplicates import find_duplicates
from tests.components.data.test_tokenise import TEXTS, Tokenised, planned, study

__all__ = ["study"]

LONG = [text for text in TEXTS if len(text) > 1_500][:20]


def with_copies(study: dict[str, Any], tmp_path: Path, kind: str | None) -> Tokenised:
    """Twenty documents, then five of them once more, five of them slightly changed, and five that share a beginning."""
    changed = [text.replace(" the ", " THE ", 2) + " The end." for text in LONG[5:10]]
    others = [text[:300] + "".join(f" word{number}{at}" for at in range(300)) for number, text in enumerate(LONG[:5])]
    for number, part in enumerate((LONG, [*LONG[:5], *changed], others)):
        lines = [json.dumps({"text": text}) + "\n" for text in part]
        (tmp_path / "lines" / f"{'abc'[number]}.jsonl").write_text("".join(lines))
    study["sources"]["prose"] = {"folder": str(tmp_path / "lines")} | ({"deduplicate": kind} if kind else {})
    done = planned(study, tmp_path / f"store-{kind}")
    if kind:
        find_duplicates(done.plan, done.store, done.corpora, "prose")
    return done.run()


@pytest.mark.parametrize(("kind", "dropped"), [(None, 0), ("exact", 5), ("minhash", 10)])
def test_what_repeats_is_left_out_and_counted(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, dropped: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 40_000)
    done = with_copies(study, tmp_path, kind)
    record = done.record("prose")
    assert len(record["shards"]) > 2
    assert record["dropped"].get("duplicate", 0) == dropped
    kept = [*done.decoded("prose"), *done.heldout("prose")]
    assert len(kept) == 35 - dropped
    assert len(set(kept)) == (30 if kind != "minhash" else 25)
    if kind == "exact":
        assert set(LONG) <= set(kept)
    if kind is not None:
        duplicates = done.store.record(done.plan.duplicates["prose"])
        assert duplicates is not None
        assert duplicates["outputs"] == {"duplicates": dropped, "shards": len(record["shards"])}


def test_documents_that_break_a_rule_are_counted_by_it(study: dict[str, Any], tmp_path: Path) -> None:
    """What datatrove says of each document by itself."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter

    study["sources"]["prose"]["filters"] = ["c4_quality", "fineweb_quality"]
    done = planned(study, tmp_path / "store").run()
    wanted: dict[str, int] = {}
    kept = []
    rules = {"c4_quality": C4QualityFilter(), "fineweb_quality": FineWebQualityFilter()}
    for text in TEXTS:
        answers = [(name, rule.filter(Document(text=text, id=""))) for name, rule in rules.items()]
        broken = [f"{name}: {answer[1]}" for name, answer in answers if answer is not True]
        if broken:
            wanted[broken[0]] = wanted.get(broken[0], 0) + 1
        else:
            kept.append(text)
    assert len(wanted) > 2
    assert done.record("prose")["dropped"] == wanted
    assert sorted([*done.decoded("prose"), *done.heldout("prose")]) == sorted(kept)
