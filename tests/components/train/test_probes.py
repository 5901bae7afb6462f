"""Evaluation while a run trains: the right numbers, and not a bit of the training changed."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from switchpoint.components.recipe.training import Training
from switchpoint.components.store.plan_file import Planned
from switchpoint.components.train.checkpoint import model_path
from switchpoint.components.train.loop import Trainer
from switchpoint.components.train.metrics import append_to_series, read_series
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.probe_file import PROBES, ProbeFile, ProbeQuestion, ProbeText
from switchpoint.components.train.probes import Probes
from tests.components.train.test_loop import END, alone, job, losses, run, weights

__all__ = ["alone"]  # a fixture

TEXTS = [("prose", 9, 20), ("prose", 30, 61), ("answers", 17, 40)]


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_probes(tmp_path / "some_digest")


def write_probes(folder: Path) -> Path:
    """Three texts of two sources and two questions, of ids without a meaning."""
    generator = torch.Generator().manual_seed(7)

    def ids(number: int) -> list[int]:
        return torch.randint(0, 500, (number,), generator=generator).tolist()

    texts = [ProbeText(source=source, tokens=ids(size), num_bytes=held) for source, size, held in TEXTS]
    questions = [
        ProbeQuestion(
            task="accuracy",
            pairs=[(ids(6), ids(3)), (ids(5), ids(5)), (ids(6), ids(4))],
            lengths=[1, 2, 1.5],
            gold=gold,
        )
        for gold in (0, 2)
    ]
    folder.mkdir()
    (folder / PROBES).write_text(ProbeFile(texts=texts, questions=questions).model_dump_json())
    return folder / PROBES


def by_hand(model: Any, file: Path) -> dict[str, float]:
    """One sequence at a time, without padding."""
    data = json.loads(file.read_text())

    def likelihoods(tokens: list[int]) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([tokens[:-1]])).logits[0]
        return F.log_softmax(logits.double(), -1)

    scores: dict[str, float] = {}
    for source in ("prose", "answers"):
        bits, held, right, number = 0.0, 0, 0, 0
        for text in (text for text in data["texts"] if text["source"] == source):
            found, labels = likelihoods(text["tokens"]), torch.tensor(text["tokens"][1:])
            bits -= found[torch.arange(len(labels)), labels].sum().item() / math.log(2)
            right += int((found.argmax(-1) == labels).sum())
            held, number = held + text["num_bytes"], number + len(labels)
        scores |= {f"bits_per_byte.{source}": bits / held, f"next_token_accuracy.{source}": right / number}
    answers = []
    for question in data["questions"]:
        sums = []
        for (context, choice), length in zip(question["pairs"], question["lengths"], strict=True):
            found = likelihoods(context + choice)[-len(choice) :]
            sums.append(found[torch.arange(len(choice)), torch.tensor(choice)].sum().item() / length)
        answers.append(sums.index(max(sums)) == question["gold"])
    return scores | {"accuracy": sum(answers) / len(answers)}


def test_scores_are_those_of_one_sequence_at_a_time(prepared: Planned, tmp_path: Path, probes: Path) -> None:
    trainer = Trainer(job(prepared, tmp_path / "run"), 0, 1)
    found = Probes(probes, Ranks(0, 1, Training()), 512).evaluate(trainer.model)
    with torch.no_grad():
        wanted = by_hand(trainer.model.eval(), probes)
    assert found == pytest.approx(wanted, rel=1e-6)


def test_evaluation_changes_no_bit_and_a_cut_run_has_the_same_series(
    prepared: Planned, alone: Path, tmp_path: Path, probes: Path
) -> None:
    steps = [0, 5, 24, END]
    evaluated = {"probes": str(probes), "evaluation_steps": steps}
    run(job(prepared, tmp_path / "whole", **evaluated))
    assert weights(tmp_path / "whole", END) == weights(alone, END)
    assert losses(tmp_path / "whole") == losses(alone)
    series = read_series(tmp_path / "whole", "some_digest")
    assert list(series) == steps
    assert series[END]["tokens"] == losses(alone)[-1][0] * 128
    assert series[END]["scores"]["bits_per_byte.prose"] != series[0]["scores"]["bits_per_byte.prose"]
    assert not read_series(tmp_path / "whole", "another_digest")
    # Ended at step 10, in the middle of a line, and gone on from there.
    cut = tmp_path / "cut"
    run(job(prepared, cut, **evaluated | {"keep_steps": [10], "export_steps": []}))
    with (cut / "evaluation.jsonl").open("a") as file:
        file.write('{"step": 30, "sco')
    run(job(prepared, cut, **evaluated))
    again = read_series(cut, "some_digest")
    assert {step: row["scores"] for step, row in again.items()} == {s: row["scores"] for s, row in series.items()}
    assert weights(cut, END) == weights(alone, END)


def test_a_run_that_is_there_is_not_trained_again_for_its_series(prepared: Planned, alone: Path, probes: Path) -> None:
    before = losses(alone)
    run(job(prepared, alone, probes=str(probes), evaluation_steps=[0, 5, END]))
    assert losses(alone) == before
    assert list(read_series(alone, "some_digest")) == [END]  # where it stands
    assert model_path(alone, END).is_dir()


def test_rows_of_other_probes_stay(tmp_path: Path) -> None:
    for probes, step in (("a", 1), ("b", 1), ("a", 2)):
        append_to_series(tmp_path, {"step": step, "probes": probes, "scores": {}})
    assert list(read_series(tmp_path, "a")) == [1, 2]
    assert list(read_series(tmp_path, "b")) == [1]
