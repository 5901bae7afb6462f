"""The suite: lm-eval tasks made from the held-out text, and their scores with standard errors."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from components.blend.documents import Document, read_documents
from components.evaluate.questions import QUESTION_PARTS, multiple_choice

QUESTIONS_TASK = "questions"
MAX_DOCUMENT_CHARACTERS = 6_000
"""Bits per byte are measured on the beginning of each document, so that many documents fit into the budget."""


def build_tasks(
    parts: dict[str, tuple[str, list[Path]]],
    num_questions: int,
    bytes_per_source: int,
    tokenizer: Tokenizer,
    sequence_length: int,
) -> tuple[dict[str, Any], int]:
    """lm-eval tasks by name, and how many questions did not fit into `sequence_length` tokens.

    `parts`: for each source its part and the files of its held-out documents.
    """
    tasks: dict[str, Any] = {}
    too_long = 0
    for source, (part, paths) in parts.items():
        if part in QUESTION_PARTS and QUESTIONS_TASK not in tasks:
            questions, too_long = multiple_choice(
                list(_documents(paths)), num_questions, lambda text: len(tokenizer.encode(text).ids) <= sequence_length
            )
            if questions:
                tasks[QUESTIONS_TASK] = _task(
                    QUESTIONS_TASK, questions, output_type="multiple_choice", doc_to_text="prompt",
                    doc_to_choice="choices", doc_to_target="gold",
                    metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
                )  # fmt: skip
        name = f"bits_per_byte.{source}"
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
    """The beginnings of the documents, in order, until together they hold `num_bytes`."""
    chosen, size = [], 0
    for text in texts:
        if size >= num_bytes:
            break
        chosen.append(text[:MAX_DOCUMENT_CHARACTERS])
        size += len(chosen[-1].encode())
    return chosen


def evaluate_model(
    model_folder: Path, tokenizer: Path, tasks: dict[str, Any], sequence_length: int, batch_size: int
) -> dict[str, Any]:
    """Scores by name, each `{value, stderr, n}`, and the per-example numbers that they are means of."""
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, local_files_only=True).eval()
    lm = HFLM(
        pretrained=model, tokenizer=AutoTokenizer.from_pretrained(tokenizer, local_files_only=True),
        max_length=sequence_length, batch_size=batch_size,
    )  # fmt: skip
    results = evaluate(lm, dict(tasks), bootstrap_iters=0, log_samples=True)
    assert results is not None
    scores: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    for name in tasks:
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        if name == QUESTIONS_TASK:
            for metric, score in (("acc", "accuracy"), ("acc_norm", "accuracy_normalised")):
                right = [float(sample[metric]) for sample in samples]
                scores[score] = mean_score(right)
                examples[score] = right
        else:
            pairs = [sample["bits_per_byte"] for sample in samples]
            bits = [-loglikelihood / math.log(2) for loglikelihood, _ in pairs]
            sizes = [size for _, size in pairs]
            scores[name] = ratio_score(bits, sizes)
            assert math.isclose(scores[name]["value"], results["results"][name]["bits_per_byte,none"], rel_tol=1e-9)
            examples[name] = [list(pair) for pair in zip(bits, sizes, strict=True)]
    return {"scores": scores, "examples": examples}


def mean_score(values: list[float]) -> dict[str, float]:
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, n - 1)
    return {"value": mean, "stderr": math.sqrt(variance / n), "n": n}


def ratio_score(numerators: list[float], denominators: list[float]) -> dict[str, float]:
    """Sum over sum, with the standard error of a ratio over documents (delta method)."""
    n, total = len(numerators), math.fsum(denominators)
    ratio = math.fsum(numerators) / total
    residuals = [top - ratio * bottom for top, bottom in zip(numerators, denominators, strict=True)]
    spread = math.sqrt(n / max(1, n - 1) * math.fsum(residual**2 for residual in residuals))
    return {"value": ratio, "stderr": spread / total, "n": n}
