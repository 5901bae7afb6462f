"""Training documents that hold a piece of an evaluation set are left out, and counted by task."""

import json
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.data.contamination import NUM_WORDS, EvaluationSets, gram_hashes
from switchpoint.components.data.contamination import read_evaluation_sets as read_sets
from switchpoint.components.recipe.errors import BadInput
from tests.components.data.test_tokenise import TEXTS, planned, study

__all__ = ["study"]

QUESTION = "Which of these four planets is the one that has the largest number of known moons today?"


def test_a_copy_is_found_whatever_its_layout_and_a_shorter_one_is_not() -> None:
    sets, counts = EvaluationSets.of({"facts": [QUESTION, "too short"], "others": ["word " * 20]})
    assert counts == {"facts": {"texts": 2, "too_short": 1}, "others": {"texts": 1, "too_short": 0}}
    words = QUESTION.split()
    assert sets.task_with(f"before {QUESTION.upper()} after") == "facts"
    assert sets.task_with("... ".join(words[2 : 2 + NUM_WORDS])) == "facts"
    assert sets.task_with(" ".join(words[2 : 1 + NUM_WORDS])) is None
    assert sets.task_with("word " * NUM_WORDS) == "others"
    assert sets.task_with("") is None
    assert len(gram_hashes(QUESTION)) == len(words) - NUM_WORDS + 1


def with_sets(study: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """One document holds a question of `facts`, one a bit less of it, one is an example of `stories`."""
    for name, rows in (("facts", [{"question": QUESTION, "choices": ["Saturn", "Earth"]}]), ("stories", [TEXTS[50]])):
        (tmp_path / name).mkdir()
        lines = [json.dumps(row if isinstance(row, dict) else {"ctx": row}) for row in rows]
        (tmp_path / name / "test.jsonl").write_text("\n".join(lines))
    with (tmp_path / "lines" / "b.jsonl").open("a") as file:
        for text in (f"A quiz. {QUESTION} Saturn.", f"Another: {QUESTION.replace('largest ', '')} Maybe Saturn."):
            file.write(json.dumps({"text": text}) + "\n")
    return study | {"evaluation_sets": {name: str(tmp_path / name) for name in ("facts", "stories")}}


@pytest.mark.parametrize("asked", [{"category": "qa"}, {"decontaminate": True}])
def test_contaminated_documents_are_dropped_and_counted(
    study: dict[str, Any], tmp_path: Path, asked: dict[str, Any]
) -> None:
    study = with_sets(study, tmp_path)
    study["sources"]["prose"] |= asked
    done = planned(study, tmp_path / "store")
    read_sets(done.plan, done.store, done.corpora)
    done.run()
    found = done.record("prose")
    assert found["dropped"] == {"contaminated: facts": 1, "contaminated: stories": 1}
    kept = [*done.decoded("prose"), *done.heldout("prose")]
    assert len(kept) == len(TEXTS) - 1 + 1
    assert TEXTS[50] not in kept
    assert not any(QUESTION in text for text in kept)
    assert done.record("answers")["dropped"] == {}


def test_a_set_that_changed_after_it_was_planned_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    study = with_sets(study, tmp_path) | {}
    study["sources"]["prose"]["decontaminate"] = True
    done = planned(study, tmp_path / "store")
    (tmp_path / "facts" / "test.jsonl").write_text('{"question": "another"}')
    with pytest.raises(BadInput, match="the text has changed since it was planned"):
        read_sets(done.plan, done.store, done.corpora)


def test_other_sources_are_left_as_they_are(study: dict[str, Any], tmp_path: Path) -> None:
    done = planned(with_sets(study, tmp_path), tmp_path / "store")
    assert done.plan.contamination is None
    done.run()
    assert done.record("prose")["dropped"] == {}


def test_an_evaluation_set_that_is_not_there_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    study["evaluation_sets"] = {"facts": str(tmp_path / "nowhere")}
    with pytest.raises(BadInput, match=r"nowhere: evaluation_sets\.facts: no such folder"):
        planned(study, tmp_path / "store")
