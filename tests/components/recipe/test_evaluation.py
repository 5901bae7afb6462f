"""Suites in a recipe: their names, their folders, and what the digests of scores depend on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.plan.run import check_study
from switchpoint.components.recipe import suites
from switchpoint.components.recipe.continual import Continual
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.evaluation import Evaluation
from switchpoint.components.recipe.load import load_study
from switchpoint.components.recipe.suites import SUITES, suite_scores

Write = Callable[[dict[str, Any]], Path]


def digest(study: dict[str, Any], write_recipe: Write, root: Path) -> str:
    recipe = write_recipe(study)
    return check_study(load_study(recipe), str(recipe), root)[0].base_evaluation.digest


def with_evaluation(study: dict[str, Any], **evaluation: Any) -> dict[str, Any]:
    return study | {"evaluation": study["evaluation"] | evaluation}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with one task, and the function that it names."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "one.yaml").write_text("task: one\ndataset_path: some/data\nprocess_docs: !function code.process\n")
    (folder / "code.py").write_text("def process(docs):\n    return docs\n")
    return folder


@pytest.mark.parametrize(
    ("evaluation", "field", "problem"),
    [
        ({"suites": ["papr"]}, "evaluation.suites.0", "no such suite; did you mean `paper`?"),
        ({"suites": ["paper"]}, "evaluation.run_generated_code", "executes generated code"),
        ({"suites": ["./nowhere"]}, "evaluation.suites.0", "no such folder"),
        ({"suites": ["quickstart", "./prose"]}, "evaluation.suites.1", "holds no task"),
        ({"suites": ["./un safe"]}, "evaluation.suites.0", "begin with the folder's name"),
        ({"suites": ["retention", "./x/retention"]}, "evaluation", "two called `retention`"),
        ({"suites": []}, "evaluation.suites", "at least 1"),
        ({"data_folder": "nowhere"}, "evaluation.data_folder", "no such folder"),
        ({"metric": "paper.average"}, "evaluation.metric", "no such score"),
        ({"metric": "bits_per_byte.prosa"}, "evaluation.metric", "did you mean `bits_per_byte.prose`?"),
    ],
)
def test_what_cannot_be_is_told_with_its_field(
    study: dict[str, Any], write_recipe: Write, tmp_path: Path, evaluation: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(BadInput) as caught:
        digest(with_evaluation(study, **evaluation), write_recipe, tmp_path / "store")
    assert f"{field}: " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: [", "not YAML"),
        ("- task", "not a task"),
        ("task: code\nunsafe_code: true", "without a sandbox"),
        ("group: all\ntask: [one]", "holds no task"),
    ],
)
def test_task_files_that_cannot_be_used(
    study: dict[str, Any], write_recipe: Write, tmp_path: Path, tasks: Path, text: str, problem: str
) -> None:
    (tasks / "one.yaml").write_text(text)
    with pytest.raises(BadInput, match=problem):
        digest(with_evaluation(study, suites=["./mine"]), write_recipe, tmp_path / "store")


def test_scores_depend_on_what_decides_them(
    study: dict[str, Any], write_recipe: Write, tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now(**evaluation: Any) -> str:
        return digest(with_evaluation(study, **evaluation), write_recipe, tmp_path / "store")

    (tmp_path / "data/some/data").mkdir(parents=True)
    (tmp_path / "data/some/data/rows.jsonl").write_text("{}\n")
    (tmp_path / "data/other").mkdir()
    plain = now()
    assert plain == now(metric="bits_per_byte.prose") == now(suites=["quickstart"], run_generated_code=True)
    mine = now(suites=["mine"], data_folder="data")  # a name without a slash, and a folder of that name
    assert len({plain, mine, now(suites=["retention"]), now(suites=["./mine"])}) == 4
    (tmp_path / "data/other/rows.jsonl").write_text("{}\n")  # which no task reads
    assert now(suites=["./mine"], data_folder="data") == mine
    (tmp_path / "data/some/data/rows.jsonl").write_text('{"a": 1}\n')
    changed = now(suites=["./mine"], data_folder="data")
    (tasks / "code.py").write_text("def process(docs):\n    return list(docs)\n")
    assert len({mine, changed, now(suites=["./mine"], data_folder="data")}) == 3
    before = now(suites=["retention"])
    monkeypatch.setitem(suites.SUITES, "retention", SUITES["retention"][:-1])
    assert now(suites=["retention"]) != before


def test_what_arms_are_ranked_by() -> None:
    assert Evaluation().ranked_by == "bits_per_byte"
    assert Evaluation(suites=["quickstart", "paper"], run_generated_code=True).ranked_by == "paper.average"
    assert Evaluation(metric="accuracy").ranked_by == "accuracy"
    assert suite_scores("paper") == [
        "paper.average", "paper.mmlu", "paper.mmlu.stem", "paper.mmlu.humanities", "paper.mmlu.social_sciences",
        "paper.mmlu.other", "paper.hellaswag", "paper.mgsm", "paper.mgsm.es", "paper.mgsm.ja", "paper.mgsm.th",
        "paper.humaneval",
    ]  # fmt: skip


def test_the_papers_studies_are_evaluated_as_there() -> None:
    from switchpoint.components.recipe.load import parse_recipe, recipe_path
    from switchpoint.pipelines.commands.study_file import read_study

    large, _ = read_study("paper/table_9")
    assert parse_recipe(large, "r").evaluation.suites == ["paper"]
    small, _ = read_study(str(recipe_path("paper/table_9")), "cpu")
    assert parse_recipe(small, "r").evaluation.model_copy(update={"continual": None}) == Evaluation()


def test_more_evaluations_than_anybody_looks_at_are_refused() -> None:
    """And not listed: a slip of the pen in the horizon would fill the memory."""
    continual = Continual(every_steps=25)
    assert len(continual.steps([100], 1_000)) == 41
    with pytest.raises(BadInput, match=r"evaluation\.continual: a run of 300,000,000,000 steps would be evaluated"):
        continual.steps([100], 300_000_000_000)
    dense = Continual(every_steps=10**9, dense_steps=10**9)
    with pytest.raises(BadInput, match="at most 20,000 times"):
        dense.steps([100], 10**9)
