"""The page, the Markdown and the JSON of a study that was trained and evaluated, made up; and of a very large one."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.evaluate import results
from switchpoint.components.evaluate.results import Row
from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.report.content import gather
from switchpoint.components.report.html import render
from switchpoint.components.report.reproduce import again, reproduce_table
from switchpoint.components.store.location import read_json
from switchpoint.components.store.store import Store, write_json
from tests.components.tracking.made_study import make_study, report
from tests.conftest import tiny_study

SECTIONS = (
    "## Is the difference real?", "## What was forgotten, and the gap after a switch", "## At chosen checkpoints",
    "## What each arm was trained on", "## Cost", "## Reproduce",
)  # fmt: skip


def evaluated_study(folder: Path) -> dict[str, Any]:
    study = tiny_study(folder)
    study["evaluation"] |= {"continual": {"every_steps": 10}, "checkpoints": [0.5]}
    return study | {"seeds": [1, 2]}


class Made:
    """A study, and its report; with questions that were too long, and prompts that were cut."""

    def __init__(self, folder: Path) -> None:
        self.plan, self.store = make_study(folder, evaluated_study(folder))
        for number, arm in enumerate(self.plan.arms):
            file = self.store.local_folder(arm.evaluation) / "record.json"
            record = read_json(file)
            record["outputs"] |= {"questions_too_long": 7, "prompts_cut": {"paper.mgsm": number, "paper.mmlu": 0}}
            write_json(file, record)
        self.folder = report(self.plan, self.store).parent
        self.page = (self.folder / "report.html").read_text()
        self.markdown = (self.folder / "report.md").read_text()
        self.data = json.loads((self.folder / "report.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


def test_the_markdown_has_what_the_page_has(made: Made) -> None:
    for section in SECTIONS:
        assert section in made.markdown
        assert section.removeprefix("## ") in made.page
    # A GB run that switches: two phases with what they draw.
    assert "| switched | gb | prose | 3,712 | prose 100.0% |" in made.markdown
    assert "|  | qb | mixed | 1,408 | prose" in made.markdown
    for arm in made.plan.arms:
        assert f"| {arm.run_name} | 5,120 |" in made.markdown


def test_every_row_says_how_it_is_made_again(made: Made) -> None:
    whole = f"switchpoint run recipe.yaml --store {made.store.root}"
    assert f"| base | {whole} | {made.plan.base.path} |" in made.markdown
    assert "switchpoint run recipe.yaml --arm mixed-seed-2 --store NEW" in made.markdown
    rows = {row["name"]: row for row in made.data["rows"]}
    assert rows["base"]["command"] == made.data["command"] == whole
    assert rows["mixed-seed-2"]["command"] == "switchpoint run recipe.yaml --arm mixed-seed-2 --store NEW"
    assert rows["mixed-seed-2"]["runs"] == [run.path for run in made.plan.arm("mixed-seed-2").runs]


def test_an_arm_that_was_stopped_says_so(made: Made) -> None:
    """Alone, it would go on: the study makes it again."""
    arm = replace(made.plan.arms[0], stopped="place 3 of 3")
    row = Row(name=arm.run_name, arm=arm, scores={}, failure="", log="")
    (one,) = again(made.plan, made.store, [row], "recipe.yaml", "--scale cpu")
    assert one.command == f"switchpoint run recipe.yaml --scale cpu --store {made.store.root}"
    assert reproduce_table([one])[1][1] == f"{one.command} (it was stopped: place 3 of 3)"


def test_the_json_has_costs_and_blends(made: Made) -> None:
    data, plan = made.data, made.plan
    assert data["costs"]["all_alone"]["tokens"] == plan.tokens_alone == 6 * 5_120
    assert data["costs"]["shared"]["tokens"] == plan.tokens_shared
    switched = next(row for row in data["rows"] if row["name"] == "switched-seed-1")
    # 1,408 tokens of its own at the 10 tokens per second of the metrics.
    assert switched["cost"]["own"] == {"tokens": 1_408, "seconds": 140.8, "usd": None}
    assert switched["cost"]["alone"] == {"tokens": 5_120, "seconds": 512.0, "usd": None}
    gb, qb = switched["phases"]
    assert (gb["blend"], gb["steps"], gb["tokens_by_source"]) == ("prose", [0, 29], {"prose": 3_712})
    assert sum(qb["tokens_by_source"].values()) == qb["tokens"] == 1_408


def test_scores_at_checkpoints_are_shown(made: Made) -> None:
    line = ["switched", "2,560", "2.312 ± 0.000"]
    assert f"| {' | '.join(line)} |" in made.markdown
    assert '<td class="word">switched</td><td>2,560</td><td>2.312 <small>± 0.000</small></td>' in made.page


def test_what_was_trained_is_counted_and_not_only_planned(made: Made) -> None:
    """The base is no part of the study's tokens."""
    steps = made.plan.tokens_shared // 128
    assert f"have {steps:,} of the {steps:,} planned steps" in made.markdown
    run = made.plan.later_runs[0]
    file = made.store.local_folder(run.identity) / "metrics.jsonl"
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:-4]))
    found = gather(made.plan, made.store, results.rows(made.plan, made.store), "recipe.yaml", "")
    file.write_text(whole)
    assert (found.costs.trained_steps, found.costs.planned_steps) == (steps - 4, steps)


def test_what_had_no_room_is_said_by_suite(made: Made) -> None:
    for said in (
        "quickstart: 7 questions did not fit into a sample, and were left out.",
        "paper: prompts longer than the model&#x27;s window lost their beginning (mgsm 5).",
    ):
        assert said in made.page
        assert said.replace("&#x27;", "'") in made.markdown
        assert said.replace("&#x27;", "'") in made.data["notes"]


def test_intervals_are_said_to_be_of_one_pair(made: Made) -> None:
    assert "they are not corrected for the number of pairs" in made.markdown


def large_study(folder: Path) -> dict[str, Any]:
    """A hundred arms, three seeds, 20 sources, 2,000 evaluations of each arm."""
    study = tiny_study(folder)
    study["sources"] = {f"source_{number}": {"folder": f"source_{number}"} for number in range(20)}
    study["blends"] = {
        "prose": {f"source_{number}": 1 / 10 for number in range(10)},
        "mixed": {f"source_{number}": 1 / 20 for number in range(20)},
    }
    study["arms"] = {f"arm_with_a_long_name_{number}": {"switch": {"progress": 0.5}} for number in range(100)}
    study["evaluation"]["continual"] = {"every_steps": 1}
    return study | {"horizon_tokens": 1_999 * 128, "seeds": [0, 1, 2]}


def noise(plan: Plan) -> list[dict[str, Any]]:
    """A row of metrics, and of evaluations, of every step: nothing that a line could be drawn shorter for."""
    rng = random.Random(0)
    sources = list(plan.recipe.sources)
    return [
        {
            "step": step, "tokens": step * 128, "loss": rng.random(), "learning_rate": rng.random(),
            "scores": {f"bits_per_byte.{source}": rng.random() for source in sources}
            | {f"next_token_accuracy.{source}": rng.random() for source in sources},
        }
        for step in range(2_000)
    ]  # fmt: skip


def test_a_large_study_has_a_page_below_two_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = large_study(tmp_path)
    recipe = parse_recipe(study, "recipe.yaml")
    plan = expand(recipe, {str(source.folder): "x" for source in recipe.sources.values()})
    store, series = Store(tmp_path / "store"), noise(plan)
    assert len(plan.arms) == 300
    monkeypatch.setattr(results, "series", lambda *_: series)
    monkeypatch.setattr(results, "curve", lambda *_: series)
    names = ["accuracy", "bits_per_byte", *(f"bits_per_byte.{source}" for source in study["sources"])]
    scores = {name: {"value": 2.125, "stderr": 0.125, "n": 5} for name in names}
    rows = [Row(name="base", arm=None, scores=scores, failure="", log="")]
    rows += [
        Row(name=arm.run_name, arm=arm, scores=scores, failure="", log="", checkpoints={50: scores})
        for arm in plan.arms
    ]
    content = gather(plan, store, rows, "recipe.yaml", "")
    page = render(plan, store, content, [])
    assert len(page.encode()) < 2_000_000, f"{len(page.encode()):,} bytes"
    assert "and 180 more in report.json" in page  # of 300 rows
    assert "and 77 more in report.json" in page  # of the columns of arms
    assert "<summary>arm: 100 lines</summary>" in page
