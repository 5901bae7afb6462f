"""Questions from held-out docstrings, and scores with their standard errors."""

import math
from pathlib import Path

import pytest
import torch

from switchpoint.components.data.documents import Document, write_documents
from switchpoint.components.evaluate.model import LoadedModel
from switchpoint.components.evaluate.questions import multiple_choice
from switchpoint.components.evaluate.scores import (
    mean_of_scores,
    mean_score,
    means_of_pairs,
    ratio_score,
    resampled_score,
)
from switchpoint.components.evaluate.suite import build_tasks, cut, evaluate_local
from tests.components.evaluate.conftest import TEXTS


def questions() -> list[Document]:
    return [
        Document(
            unit=f"module_{number % 8}", part="qa", text=f"Question: q{number}\nAnswer: {text}",
            question=f"What does f{number} do?", answer=text,
        )
        for number, text in enumerate(TEXTS)
    ]  # fmt: skip


def test_a_question_has_one_right_answer_and_three_from_other_modules() -> None:
    found, too_long = multiple_choice(questions(), 20, lambda text: True)
    assert too_long == 0
    assert len(found) == 20
    module_of = {document.answer: document.unit for document in questions()}
    answer_to = {f"Question: {document.question}\nAnswer:": document.answer for document in questions()}
    for question in found:
        assert len(set(question["choices"])) == 4
        right = question["choices"][question["gold"]]
        assert right == answer_to[question["prompt"]]
        wrong = set(question["choices"]) - {right}
        assert module_of[right] not in {module_of[answer] for answer in wrong}
    assert len({question["gold"] for question in found}) > 1
    assert (found, 0) == multiple_choice(reversed(questions()), 20, lambda text: True)


def test_a_question_too_long_for_the_model_is_left_out_and_counted() -> None:
    found, too_long = multiple_choice(questions(), 100, lambda text: "number 7 " not in text)
    assert 0 < too_long == 40 - len(found)
    assert not any("number 7 " in choice for question in found for choice in question["choices"])


def test_documents_are_cut_to_the_budget() -> None:
    assert cut(["a" * 10, "b" * 10, "c" * 10], 15) == ["a" * 10, "b" * 10]
    assert cut(["é" * 9_000], 1) == ["é" * 6_000]


def test_standard_errors() -> None:
    score = mean_score([1.0, 0.0, 1.0, 0.0])
    assert (score["value"], score["n"]) == (0.5, 4)
    assert score["stderr"] == pytest.approx(math.sqrt((4 * 0.25 / 3) / 4))
    assert ratio_score([2.0, 4.0], [1, 2]) == {"value": 2.0, "stderr": 0.0, "n": 2}
    assert ratio_score([1.0, 3.0], [1, 1])["stderr"] == pytest.approx(1.0)


def test_a_mean_of_scores_and_of_translations() -> None:
    scores = [{"value": 0.2, "stderr": 0.03, "n": 10}, {"value": 0.6, "stderr": 0.04, "n": 30}]
    assert mean_of_scores(scores) == pytest.approx({"value": 0.4, "stderr": 0.025, "n": 40})
    assert means_of_pairs([[1, 0], [0, 0]]) == [0.5, 0.0]
    with pytest.raises(ValueError, match="not the same examples: 1 and 2"):
        means_of_pairs([[1], [0, 1]])


def test_the_bootstrap_of_a_mean_is_near_its_standard_error() -> None:
    values = [float(number % 3 == 0) for number in range(300)]
    score = resampled_score(values, lambda drawn: sum(drawn) / len(drawn))
    assert score["value"] == pytest.approx(1 / 3)
    assert score["stderr"] == pytest.approx(mean_score(values)["stderr"], rel=0.15)


def test_lm_eval_scores_a_model_as_by_hand(tmp_path: Path, model: LoadedModel) -> None:
    """Bits per byte of one short document, against the same sum made here."""
    tokenizer = model.documents
    write_documents(tmp_path / "qa.jsonl", questions())
    for name, text in (("prose", TEXTS[7]), ("letters", TEXTS[8] * 2)):
        write_documents(tmp_path / f"{name}.jsonl", [Document(unit="u", part="text", text=text)])
    parts = {"qa": ("qa", [tmp_path / "qa.jsonl"])}
    parts |= {name: ("text", [tmp_path / f"{name}.jsonl"]) for name in ("prose", "letters")}
    tasks, _ = build_tasks(parts, 12, 400, tokenizer, 64)
    results = evaluate_local(model.as_lm(64), tasks, {"prose": "books", "letters": "books"})
    sources = [f"bits_per_byte.{name}" for name in ("qa", "prose", "letters")]
    assert set(results.scores) == {
        "accuracy", "accuracy_normalised", "bits_per_byte", "bits_per_byte.category.books", *sources
    }  # fmt: skip
    assert results.scores["accuracy"]["n"] == 12
    ids = torch.tensor([0, *tokenizer.tokenizer.encode(TEXTS[7]).ids])
    with torch.no_grad():
        logs = torch.log_softmax(model.model(ids[None, :-1]).logits[0], dim=-1)
    bits = -logs[torch.arange(len(ids) - 1), ids[1:]].sum().item() / math.log(2)
    by_hand = bits / len(TEXTS[7].encode())
    assert results.scores["bits_per_byte.prose"]["value"] == pytest.approx(by_hand, rel=1e-5)
    of_sources = [results.scores[name] for name in sources]
    assert results.scores["bits_per_byte"] == pytest.approx(
        {
            "value": sum(score["value"] for score in of_sources) / 3,
            "stderr": math.hypot(*(score["stderr"] for score in of_sources)) / 3,
            "n": sum(score["n"] for score in of_sources),
        }
    )
    pairs = results.examples["bits_per_byte.prose"] + results.examples["bits_per_byte.letters"]
    pooled = sum(bits for bits, _ in pairs) / (len(TEXTS[7]) + 2 * len(TEXTS[8]))
    assert results.scores["bits_per_byte.category.books"]["value"] == pytest.approx(pooled)
