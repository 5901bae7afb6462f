"""Questions from held-out docstrings, and scores with their standard errors."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.blend.documents import Document, write_documents
from components.blend.tokenizer import byte_level_bpe
from components.evaluate.questions import multiple_choice
from components.evaluate.suite import build_tasks, cut, evaluate_model, mean_score, ratio_score
from components.train.model import model_config

TEXTS = [f"Function number {number} adds {number} to what it is given and returns it." for number in range(40)]


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


def test_lm_eval_scores_a_model_as_by_hand(tmp_path: Path) -> None:
    """Bits per byte of one short document, against the same sum made here."""
    tokenizer = byte_level_bpe(iter(TEXTS * 3), 512)
    folder = tmp_path / "model"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        model_config(
            {
                "kind": "llama", "vocab_size": 512, "hidden_size": 32, "ffn_size": 64, "num_layers": 1,
                "num_heads": 2, "num_kv_heads": 1, "head_width": 16, "tied_embeddings": True, "end_of_document": 0,
            }
        ),
        dtype=torch.float32,
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    write_documents(tmp_path / "qa.jsonl", questions())
    write_documents(tmp_path / "text.jsonl", [Document(unit="u", part="text", text=TEXTS[7])])
    parts = {"qa": ("qa", [tmp_path / "qa.jsonl"]), "prose": ("text", [tmp_path / "text.jsonl"])}
    tasks, _ = build_tasks(parts, 12, 400, tokenizer, 64)
    result = evaluate_model(folder, folder, tasks, sequence_length=64, batch_size=8)
    assert set(result["scores"]) == {"accuracy", "accuracy_normalised", "bits_per_byte.qa", "bits_per_byte.prose"}
    assert result["scores"]["accuracy"]["n"] == 12
    ids = torch.tensor([0, *tokenizer.encode(TEXTS[7]).ids])
    with torch.no_grad():
        logs = torch.log_softmax(model(ids[None, :-1]).logits[0], dim=-1)
    bits = -logs[torch.arange(len(ids) - 1), ids[1:]].sum().item() / math.log(2)
    by_hand = bits / len(TEXTS[7].encode())
    assert result["scores"]["bits_per_byte.prose"]["value"] == pytest.approx(by_hand, rel=1e-5)
