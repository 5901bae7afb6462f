"""The local suite: lm-eval tasks made from the held-out text, and their scores."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.documents import Document, read_documents
from switchpoint.components.evaluate.questions import QUESTION_PARTS, multiple_choice
from switchpoint.components.evaluate.scores import Results, Score, mean_of_scores

QUESTIONS_TASK = "questions"
BITS_PER_BYTE = "bits_per_byte."
MAX_DOCUMENT_CHARACTERS = 6_000
"""Bits per byte are measured on the beginning of each document, so that many documents fit into the budget."""


def build_tasks(
    parts: dict[str, tuple[str, list[Path]]],
    num_questions: int,
    bytes_per_source: int,
    tokenizer: DocumentTokenizer,
    sequence_length: int,
) -> tuple[dict[str, Any], int]:
    """Return lm-eval tasks by name, and how many questions did not fit into `sequence_length` tokens.

    `parts`: for each source its part and the files of its held-out documents.
    """
    tasks: dict[str, Any] = {}
    too_long = 0
    for source, (part, paths) in parts.items():
        if part in QUESTION_PARTS and QUESTIONS_TASK not in tasks:
            questions, too_long = multiple_choice(
                list(_documents(paths)), num_questions,
                lambda text: len(tokenizer.encode_document(text)) <= sequence_length,
            )  # fmt: skip
            if questions:
                tasks[QUESTIONS_TASK] = _task(
                    QUESTIONS_TASK, questions, output_type="multiple_choice", doc_to_text="prompt",
                    doc_to_choice="choices", doc_to_target="gold",
                    metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
                )  # fmt: skip
        name = f"{BITS_PER_BYTE}{source}"
        texts = cut((document.text for document in _documents(paths)), bytes_per_source)
        tasks[name] = _task(
            name, [{"text": text} for text in texts], output_type="loglikelihood_rolling", doc_to_text="",
            doc_to_target="text", metric_list=[{"metric": "bits_per_byte"}],
        )  # fmt: skip
    return tasks, too_long


def _documents(paths: list[Path]) -> Iterator[Document]:
    for path in paths:
        yield from read_documents(path)


def _task(name: str, rows: list[dict[str, Any]], **config: Any) -> Any:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    def rows_as_dataset(**_: Any) -> dict[str, Any]:
        return {"test": Dataset.from_list(rows)}

    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": rows_as_dataset,
            "test_split": "test",
            "num_fewshot": 0,
            **config,
        }
    )


def cut(texts: Iterable[str], num_bytes: int) -> list[str]:
    """Return the beginnings of the documents, in order, until together they hold `num_bytes`."""
    chosen, size = [], 0
    for text in texts:
        if size >= num_bytes:
            break
        chosen.append(text[:MAX_DOCUMENT_CHARACTERS])
        size += len(chosen[-1].encode())
    return chosen


def evaluate_local(lm: Any, tasks: dict[str, Any], categories: Mapping[str, str]) -> Results:
    """Return the scores of `build_tasks`' tasks. `categories`: the category of each source that has one."""
    from lm_eval.evaluator import evaluate

    found = evaluate(lm, dict(tasks), bootstrap_iters=0, log_samples=True) if tasks else {"samples": {}, "results": {}}
    assert found is not None
    results = Results()
    bits_per_byte: dict[str, Score] = {}
    for name in tasks:
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        if name == QUESTIONS_TASK:
            for metric, score in (("acc", "accuracy"), ("acc_norm", "accuracy_normalised")):
                results.add_mean(score, [float(sample[metric]) for sample in samples])
        else:
            bits = [[-loglikelihood / math.log(2), size] for loglikelihood, size in _pairs(samples)]
            measured = bits_per_byte[name.removeprefix(BITS_PER_BYTE)] = results.add_ratio(name, bits)
            assert math.isclose(measured["value"], found["results"][name]["bits_per_byte,none"], rel_tol=1e-9)
    for category in sorted({categories[source] for source in bits_per_byte if source in categories}):
        sources = [source for source in bits_per_byte if categories.get(source) == category]
        pairs = [pair for source in sources for pair in results.examples[f"{BITS_PER_BYTE}{source}"]]
        results.add_ratio(f"{BITS_PER_BYTE}category.{category}", pairs)
    if bits_per_byte:
        results.scores["bits_per_byte"] = mean_of_scores(list(bits_per_byte.values()))
    return results


def _pairs(samples: list[dict[str, Any]]) -> list[tuple[float, int]]:
    """Return (log-likelihood, bytes) of each document."""
    return [sample["bits_per_byte"] for sample in samples]
