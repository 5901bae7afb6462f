"""A small random model, and the benchmarks' data sets with a few rows of our own, as the hub has them."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import AutoModelForCausalLM

from switchpoint.components.data.tokenizer import byte_level_bpe
from switchpoint.components.evaluate.model import LoadedModel, load_model
from switchpoint.components.train.model import model_config

TEXTS = [f"Function number {number} adds {number} to what it is given and returns it." for number in range(40)]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer with a window of 512 tokens, and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = model_config(
        {
            "kind": "llama", "vocab_size": 512, "hidden_size": 32, "ffn_size": 64, "num_layers": 1,
            "num_heads": 2, "num_kv_heads": 1, "head_width": 16, "tied_embeddings": True, "end_of_document": 0,
        }
    )  # fmt: skip
    config.max_position_embeddings = 512
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    byte_level_bpe(iter(TEXTS * 3), 512).save(str(folder / "tokenizer.json"))
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> LoadedModel:
    return load_model(model_folder, model_folder, 8)


def write_data_set(folder: Path, configs: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """`configs`: by name, for each split its rows."""
    folder.mkdir(parents=True)
    card = ["---", "configs:"]
    for name, splits in configs.items():
        card += [f"- config_name: {name}", "  data_files:"]
        for split, rows in splits.items():
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            card += [f"  - split: {split}", f"    path: {name}/{split}.jsonl"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))


SUBJECTS = ("anatomy", "astronomy", "philosophy", "econometrics", "marketing")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the data sets of both suites, MMLU with five subjects."""
    root = tmp_path_factory.mktemp("data")
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")

    def choices(subject: str, count: int) -> list[dict[str, Any]]:
        return [
            {"question": f"{subject} {n}?", "choices": [f"a {n}", "b", "c", "d"], "answer": n % 4, "subject": subject}
            for n in range(count)
        ]

    write_data_set(
        root / "cais/mmlu",
        {
            subject: {"test": choices(subject, 2 + place), "dev": choices(subject, 5)}
            for place, subject in enumerate(SUBJECTS)
        },
    )
    endings = [
        {"activity_label": "Cooking", "ctx_a": "A cook takes a pan.", "ctx_b": f"the cook {n}", "label": str(n % 4),
         "endings": ["puts it down.", "eats it.", "flies to the moon.", "heats some oil in it."]}
        for n in range(6)
    ]  # fmt: skip
    write_data_set(root / "Rowan/hellaswag", {"default": {"train": endings, "validation": endings[:5]}})
    problems = [{"question": f"{n} + 1?", "answer": None, "answer_number": n + 1} for n in range(3)]
    shots = [
        {"question": f"Pregunta: {n} + 2?", "answer": f"Respuesta paso a paso: La respuesta es {n + 2}.",
         "answer_number": n + 2}
        for n in range(8)
    ]  # fmt: skip
    write_data_set(root / "juletxara/mgsm", {name: {"train": shots, "test": problems} for name in ("es", "ja", "th")})
    functions = [
        {"task_id": f"HumanEval/{n}", "prompt": f"def add_{n}(x):\n    return x +", "entry_point": f"add_{n}",
         "canonical_solution": f" {n}\n", "test": f"def check(f):\n    assert f(1) == {n + 1}\n"}
        for n in range(4)
    ]  # fmt: skip
    write_data_set(root / "openai/openai_humaneval", {"openai_humaneval": {"test": functions}})
    science = [
        {"question": "What is wet?", "choices": {"text": ["Water", "Sand"], "label": ["A", "B"]}, "answerKey": "A"}
    ] * 3
    arc = {name: {"train": science, "validation": science, "test": science} for name in ("ARC-Easy", "ARC-Challenge")}
    write_data_set(root / "allenai/ai2_arc", arc)
    goals = [{"goal": "Open a door", "sol1": "Turn the handle", "sol2": "Eat the handle", "label": 0}] * 3
    write_data_set(root / "baber/piqa", {"default": {"train": goals, "validation": goals}})
    gaps = [{"sentence": "The _ barked at the cat.", "option1": "dog", "option2": "tree", "answer": "1"}] * 3
    write_data_set(root / "allenai/winogrande", {"winogrande_xl": {"train": gaps, "validation": gaps}})
    write_data_set(root / "EleutherAI/lambada_openai", {"default": {"test": [{"text": "The cat sat on the mat"}] * 3}})
    return root
