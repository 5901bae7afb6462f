"""Data cards: what they say is what the tokens hold."""

import json
from pathlib import Path
from typing import Any

from switchpoint.components.data.tokenise import DOCUMENTS
from tests.components.data.test_contamination import with_sets
from tests.components.data.test_tokenise import TEXTS, planned, study

__all__ = ["study"]


def test_a_card_says_what_the_source_holds(study: dict[str, Any], tmp_path: Path) -> None:
    from switchpoint.components.data.contamination import read_evaluation_sets

    study = with_sets(study, tmp_path)
    study["sources"]["prose"]["category"] = "qa"
    with (tmp_path / "lines" / "b.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text, "language": "de"}) + "\n" for text in TEXTS[:20])
    done = planned(study, tmp_path / "store")
    read_evaluation_sets(done.plan, done.store, done.corpora)
    done.run()
    folder, record = done.store.local_folder(done.plan.tokens["prose"]), done.record("prose")
    card = json.loads((folder / "card.json").read_text())
    documents = done.decoded("prose")
    assert card["documents"] == len(documents) == sum(card["documents_by_tokens"].values())
    assert card["tokens"] == record["tokens"]["all"]
    assert card["bytes_per_token"] == sum(len(text.encode()) for text in documents) / card["tokens"]
    assert card["copies"] == len(documents) - len(set(documents))
    assert set(card["languages"]) == {"en", "de", "unknown"}
    assert sum(card["languages"].values()) == len(documents)
    assert card["dropped"] == {"contaminated: facts": 1, "contaminated: stories": 1}
    assert len(card["excerpts"]) == 10
    for excerpt in card["excerpts"]:
        assert any(text.startswith(excerpt.removesuffix("<|endoftext|>")[:200]) for text in documents)
    page = (folder / "card.html").read_text()
    for shown in ("prose", f"{card['tokens']:,}", "contaminated: facts", "language de"):
        assert shown in page
    for outside in ("src=", "<link", "<script"):
        assert outside not in page
    phase = done.plan.arm("mixed").phases[0]
    blend = json.loads((done.store.local_folder(phase.blend_identity) / "card.json").read_text())
    assert {row["source"]: row["weight"] for row in blend["sources"]} == {"prose": "7/10", "answers": "3/10"}
    assert blend["sources"][1]["tokens"] == card["tokens"]
    assert (done.store.root / record["shards"][0] / DOCUMENTS).exists()
