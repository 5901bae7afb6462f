"""The named suites, with lm-eval's own tasks on a few rows, and a user's own tasks."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchpoint.components.evaluate import humaneval
from switchpoint.components.evaluate.harness import evaluate_suites
from switchpoint.components.evaluate.load import SuiteUnreachable, _lm_eval_tasks, _names, _task_index, load_suites
from switchpoint.components.evaluate.model import LoadedModel
from switchpoint.components.evaluate.scores import Results
from switchpoint.components.recipe import suites
from switchpoint.components.recipe.suites import SUITES, suite_scores

CATEGORIES = {
    "stem": ("mmlu_anatomy", "mmlu_astronomy"), "humanities": ("mmlu_philosophy",),
    "social_sciences": ("mmlu_econometrics",), "other": ("mmlu_marketing",),
}  # fmt: skip


@pytest.fixture
def few_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMLU with five of its 57 subjects."""
    mmlu, *others = SUITES["paper"]
    parts = tuple((category, task) for category, tasks in CATEGORIES.items() for task in tasks[-1:])
    monkeypatch.setitem(suites.SUITES, "paper", (dataclasses.replace(mmlu, parts=parts), *others))


def test_the_paper_suite_end_to_end(
    few_subjects: None, model: LoadedModel, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_suites(["quickstart", "paper"], str(data_folder))
    assert [task.config.num_fewshot for one in loaded for task in one.tasks] == [5, 5, 5, 5, 0, 8, 8, 8, 0]
    asked: list[tuple[Any, ...]] = []
    programs: list[str] = []
    lm = model.as_lm()
    assert lm.max_length == 512
    generate = lm.generate_until

    def answers(requests: list[Any], **options: Any) -> list[str]:
        asked.extend(request.args for request in requests)
        generate(requests, **options)  # the model's own way must work; what it says is replaced
        if "def add_" in requests[0].args[0]:
            return [" 1\n", " 1", " 1", " 3 +"]
        right = {"1": " La respuesta es 1.", "2": " La respuesta es 7.", "3": " La respuesta es 3."}
        last = [request.args[0].rsplit("\n", 1)[0].rsplit(" + 1?", 1)[0][-1] for request in requests]
        return [right[str(int(number) + 1)] for number in last]

    monkeypatch.setattr(lm, "generate_until", answers)
    program_of = humaneval.program_of
    monkeypatch.setattr(
        humaneval, "program_of", lambda *arguments: programs.append(program_of(*arguments)) or programs[-1]
    )
    results = evaluate_suites(lm, loaded)
    scores = results.scores
    assert set(scores) == set(suite_scores("paper"))
    assert [scores[f"paper.mmlu.{name}"]["n"] for name in CATEGORIES] == [3, 4, 5, 6]
    assert scores["paper.mmlu"]["n"] == 18
    pooled = [value for name in CATEGORIES for value in results.examples[f"paper.mmlu.{name}"]]
    assert results.examples["paper.mmlu"] == pooled
    assert scores["paper.mmlu"]["value"] == pytest.approx(sum(pooled) / 18)
    # Only the Spanish answers read as such: problems 1 and 3 are right in one language of three.
    assert results.examples["paper.mgsm.es"] == [1.0, 0.0, 1.0]
    assert results.examples["paper.mgsm.ja"] == results.examples["paper.mgsm.th"] == [0.0, 0.0, 0.0]
    assert results.examples["paper.mgsm"] == pytest.approx([1 / 3, 0, 1 / 3])
    assert scores["paper.mgsm"]["stderr"] == pytest.approx(1 / 9)
    assert results.examples["paper.humaneval"] == [0.0, 1.0, 0.0, 0.0]
    assert programs[1] == "def add_1(x):\n    return x + 1\n\ndef check(f):\n    assert f(1) == 2\n\n\ncheck(add_1)\n"
    four = [scores[f"paper.{name}"] for name in ("mmlu", "hellaswag", "mgsm", "humaneval")]
    assert scores["paper.average"]["value"] == pytest.approx(sum(one["value"] for one in four) / 4)
    assert scores["paper.average"]["stderr"] == pytest.approx(math.hypot(*(one["stderr"] for one in four)) / 4)
    limits = {arguments["max_gen_toks"] for _, arguments in asked}
    assert limits == {256}  # 1,024 would be more than half of this model's window
    assert results.prompts_cut == {"paper.mgsm": 9}  # eight shots in a quarter of a thousand tokens
    prompt = next(text for text, _ in asked if "Pregunta" in text)
    assert prompt.count("Respuesta paso a paso:") == 9
    again = evaluate_suites(lm, loaded)  # another model in the same process: the same prompts
    assert again.scores == scores


def test_retention(model: LoadedModel, data_folder: Path) -> None:
    results = evaluate_suites(model.as_lm(), load_suites(["retention"], str(data_folder)))
    assert set(results.scores) == set(suite_scores("retention"))
    assert {len(values) for values in results.examples.values()} == {3}


def test_mmlu_is_all_of_its_57_subjects() -> None:
    index = _task_index(_lm_eval_tasks() / "mmlu/default")
    assert [len(_names(index[tag])) for _, tag in SUITES["paper"][0].parts] == [19, 13, 12, 13]


def test_a_folder_of_ones_own_tasks(model: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [{"text": f"{n} and", "answer": str(n)} for n in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}}, "test_split": "test",
        "doc_to_text": "text", "doc_to_target": "answer",
    }  # fmt: skip
    (folder / "_common").write_text(yaml.safe_dump(common))
    counting = {"include": "_common", "task": "counting", "output_type": "loglikelihood"}
    counting["metric_list"] = [{"metric": "perplexity"}, {"metric": "acc"}]
    (folder / "counting.yaml").write_text(yaml.safe_dump(counting))
    (folder / "choice.yaml").write_text(
        yaml.safe_dump(
            {"include": "_common", "task": "choice", "output_type": "multiple_choice", "num_fewshot": 1,
             "fewshot_split": "test", "doc_to_choice": ["0", "1", "2", "3"], "metric_list": [{"metric": "acc"}]}
        )
    )  # fmt: skip
    results: Results = evaluate_suites(model.as_lm(), load_suites([str(folder)]))
    assert set(results.scores) == {"mine.counting", "mine.choice"}
    assert "mine.counting" not in results.examples  # not their mean
    assert results.scores["mine.counting"]["value"] > 1
    assert [results.scores[name].get("lower_is_better") for name in ("mine.counting", "mine.choice")] == [1.0, None]
    assert results.scores["mine.counting"]["stderr"] > 0
    assert results.scores["mine.choice"]["n"] == 4
    (folder / "again.yaml").write_text((folder / "choice.yaml").read_text())
    with pytest.raises(SuiteUnreachable, match=r"choice.yaml, for mine: .* another file has a task of this name"):
        load_suites([str(folder)])


def test_data_that_is_not_there_is_told_with_what_mends_it(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Rowan").mkdir()
    (tmp_path / "Rowan/hellaswag").symlink_to(data_folder / "Rowan/hellaswag")
    with pytest.raises(SuiteUnreachable) as caught:
        load_suites(["paper"], str(tmp_path))
    message = str(caught.value)
    assert "cais/mmlu, for paper.mmlu (task mmlu_" in message
    assert "openai/openai_humaneval, for paper.humaneval (task humaneval)" in message
    assert "juletxara/mgsm, for paper.mgsm" in message
    assert "Rowan/hellaswag, for" not in message
    assert "evaluation.data_folder" in message
    assert message.count("\n") == 4  # a line for each data set, not for each of 57 subjects
