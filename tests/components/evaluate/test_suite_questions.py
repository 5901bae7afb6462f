"""What runs are asked while they train: the suites' own questions, with the answers that lm-eval takes for right."""

from pathlib import Path

import pytest
import torch

from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.evaluate.harness import evaluate_suites
from switchpoint.components.evaluate.load import load_suites
from switchpoint.components.evaluate.make_probes import _of_suite
from switchpoint.components.evaluate.model import LoadedModel
from switchpoint.components.evaluate.suite_questions import suite_questions
from switchpoint.components.recipe.training import Training
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.probe_file import PROBES, ProbeFile
from switchpoint.components.train.probes import Probes


def test_the_probes_of_a_suite_have_the_scores_of_lm_eval(
    model: LoadedModel, model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    """All questions of the benchmarks that are multiple choice; LAMBADA is not."""
    loaded = load_suites(["retention"], str(data_folder))
    asked = suite_questions(loaded, 100)
    assert {one.score for one in asked} == {f"retention.{name}" for name in
                                            ("arc_easy", "arc_challenge", "piqa", "winogrande")}  # fmt: skip
    assert all(question.gold == 0 for question in asked)
    assert len(suite_questions(loaded, 2)) == 2 * 4
    tokenizer = DocumentTokenizer(model_folder)
    questions = [_of_suite(question, tokenizer, 512) for question in asked]
    file = tmp_path / PROBES
    file.write_text(ProbeFile(texts=[], questions=questions).model_dump_json())
    found = Probes(file, Ranks(0, 1, Training()), 512).evaluate(model.as_lm().model)
    scores = evaluate_suites(model.as_lm(), load_suites(["retention"], str(data_folder))).scores
    assert found == pytest.approx({name: scores[name]["value"] for name in found})


def test_a_long_prompt_loses_its_beginning(model_folder: Path, data_folder: Path) -> None:
    (question, *_) = suite_questions(load_suites(["retention"], str(data_folder)), 1)
    tokenizer = DocumentTokenizer(model_folder)
    whole = _of_suite(question, tokenizer, 512).pairs
    cut = _of_suite(question, tokenizer, 8).pairs
    for (before, choice), (all_before, all_choice) in zip(cut, whole, strict=True):
        assert choice == all_choice
        assert before == all_before[-len(before) :]
        assert len(before) == max(1, 9 - len(choice))


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)
