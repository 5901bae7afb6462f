"""What many tests share: a small study on a folder of real text, and the command as a person runs it."""

import json
import os
import pydoc_data.topics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube import Kube, running_server

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("MLFLOW_TRACKING_URI", None)


def tiny_study(folder: Path) -> dict[str, Any]:
    """A study that trains in seconds: two folders of documentation topics, a model of 25 thousand parameters."""
    topics = sorted(pydoc_data.topics.topics.items())
    for name, chosen in (("prose", topics[:16]), ("answers", topics[16:32])):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for topic, text in chosen:
            (folder / name / f"{topic}.txt").write_text(text, encoding="utf-8")
    return {
        "name": "tiny",
        "question": "Does it walk?",
        "sources": {
            "prose": {"folder": "prose"},
            "answers": {"folder": "answers", "max_epochs": 4, "excess": "refuse"},
        },
        "tokenizer": {"vocab_size": 512},
        "start": "new_schedule",
        "model": {
            "architecture": {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "ffn_size": 64},
            "pretrain": {
                "blend": "prose", "tokens": 5_120, "warmup_tokens": 512, "max_learning_rate": 1e-2,
                "min_learning_rate": 1e-3,
            }
        },
        "sequence_length": 32,
        "batch_size": 4,
        "blends": {"prose": {"prose": 1}, "mixed": {"prose": 0.7, "answers": 0.3}},
        "gb": "prose",
        "qb": "mixed",
        "horizon_tokens": 5_120,
        "arms": {"prose": {"qb": "prose"}, "mixed": {"gb": "mixed"}, "switched": {}},
        "evaluation": {"bytes_per_source": 4_000},
    }  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Any]:
    return tiny_study(tmp_path)


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(study: dict[str, Any]) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
        return path

    return write


def switchpoint(*arguments: str | Path, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "switchpoint.pipelines.commands.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def records(store: Path, kind: str) -> list[dict[str, Any]]:
    """Return the records of all outputs of a kind."""
    return [json.loads(path.read_text()) for path in sorted(store.glob(f"{kind}/*/record.json"))]


def weights(store: Path) -> dict[str, Any]:
    """What was trained: the digest of the weights of every base, GB run and QB run."""
    return {
        f"{kind}/{record['digest']}": record["outputs"]["weights_sha256"]
        for kind in ("base", "phase")
        for record in records(store, kind)
    }


def losses(store: Path) -> dict[str, list[tuple[int, float]]]:
    """Every step's loss of every training run."""
    return {
        str(path.parent.relative_to(store)): [
            (row["step"], row["loss"]) for row in map(json.loads, path.read_text().splitlines())
        ]
        for path in sorted(store.glob("*/*/metrics.jsonl"))
    }


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    with running_server(tmp_path_factory.mktemp("kube")) as server:
        yield server
