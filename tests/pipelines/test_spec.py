"""The compiled spec: what is committed is what the code compiles to, and what runs is what was meant."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.launch.component import IMAGE
from switchpoint.components.recipe.digest import canonical
from switchpoint.components.recipe.load import load_study
from switchpoint.components.store.plan_file import plan_reference
from switchpoint.pipelines.compile import SPEC, compile_spec
from tests.conftest import records, switchpoint
from tests.pipelines.conftest import Finished


def test_the_committed_spec_is_up_to_date(tmp_path: Path) -> None:
    """`make specs` renews it."""
    assert SPEC.read_text() == compile_spec(tmp_path / "study.yaml").read_text()


def executors() -> Iterator[tuple[str, dict[str, Any]]]:
    spec = next(iter(yaml.safe_load_all(SPEC.read_text())))
    yield from ((name, executor["container"]) for name, executor in spec["deploymentSpec"]["executors"].items())


def test_no_task_installs_anything_when_it_runs() -> None:
    for name, container in executors():
        assert "pip install" not in " ".join(container["command"]), name
        assert "python" in container["image"], name


def test_the_image_of_every_task_can_be_given(tmp_path: Path) -> None:
    given = "registry.example/team/switchpoint-python@sha256:0f3a"
    ended = switchpoint("compile", "--image", given, "--output", tmp_path / "study.yaml")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "study.yaml").read_text() == SPEC.read_text().replace(IMAGE, given)
    refused = switchpoint("compile", "--image", "switchpoint:1", "--output", tmp_path / "none.yaml")
    assert refused.returncode == 2
    assert "--image: python must stand in the image's name" in refused.stderr
    assert not (tmp_path / "none.yaml").exists()


def test_the_default_study_is_the_quickstart() -> None:
    spec = next(iter(yaml.safe_load_all(SPEC.read_text())))
    default = spec["root"]["inputDefinitions"]["parameters"]["study"]["defaultValue"]
    quickstart = SPEC.parents[1] / "recipes" / "quickstart.yaml"
    assert canonical(default) == canonical(load_study(quickstart))


def test_the_executed_tasks_and_their_values(finished: Finished) -> None:
    """Every task once, loops over the right items, each task with the values that were meant for it."""
    study = load_study(finished.recipe)
    plan_file = plan_reference(study, finished.store)
    plan = finished.plan
    parameters = {"study": canonical(study), "store": str(finished.root), "stops": {}, "options": ""}
    launched = {"task_config": None}  # KFP's settings for pods: there are none on one machine
    expected: list[tuple[str, dict[str, Any]]] = [
        ("plan", parameters | {"recipe_file": str(finished.recipe)}),
        ("prepare_text", {"plan": plan_file}),
        ("train_tokenizer", {"plan": plan_file}),
        # Small sources are one group of shards; that the loop takes several is asserted in tests of the groups.
        ("tokenise", {"item": {"plan": plan_file, "group": 0, "groups": 1}}),
        ("build_blend", {"plan": plan_file}),
        ("prepare_evaluation", {"plan": plan_file, **launched}),
        ("train_base", {"plan": plan_file, **launched}),
        *(
            ("train_gb", {"item": {"plan": plan_file, "gb_runs": [run.identity.digest]}, **launched})
            for run in plan.gb_runs
        ),
        ("join", {"plan": plan_file}),
        # Of the three arms only one switches; the others are done when their GB runs are.
        ("train_qb", {"item": {"plan": plan_file, "arms": ["switched"]}, **launched}),
        ("join_arms", {"plan": plan_file}),
        ("derive", {"item": {"plan": plan_file, "derived": []}}),
        ("evaluate", {"plan": plan_file, **launched}),
        ("report", {"plan": plan_file}),
        ("check_outcome", {"plan": plan_file}),
    ]  # fmt: skip
    ran = [(entry["task"], canonical(entry["values"])) for entry in finished.tasks]
    assert sorted(ran, key=str) == sorted(expected, key=str)
    assert [task for task, _ in ran if task not in ("tokenise", "train_gb")] == [
        task for task, _ in expected if task not in ("tokenise", "train_gb")
    ]


def outputs_of(finished: Finished, name: str) -> dict[str, list[str]]:
    """What tasks show in the pipeline's UI, by task: the artifacts of this name."""
    found: dict[str, list[str]] = {}
    for path in sorted((finished.root.parent / "kfp").rglob(name)):
        found.setdefault(path.parent.name, []).extend([path.read_text()] if path.is_file() else [])
    return found


def test_the_report_is_shown_in_the_pipelines_ui(finished: Finished) -> None:
    folder = finished.store.local_folder(finished.plan.report)
    assert outputs_of(finished, "shown")["report"] == [(folder / "report.md").read_text()]
    assert outputs_of(finished, "page") == {"report": [(folder / "report.html").read_text()]}
    assert "has the lowest bits/byte" in outputs_of(finished, "shown")["report"][0]


def test_training_tasks_show_their_curve_in_the_pipelines_ui(finished: Finished) -> None:
    by_task = outputs_of(finished, "shown")
    assert by_task["derive"] == ["Nothing is left to train here.\n"]
    shown = [text for task, texts in by_task.items() if task not in ("report", "derive") for text in texts]
    assert len(shown) == 3
    for text in shown:
        assert "**trained**" in text
        assert "tokens/s" in text
        assert "▁" in text
    assert sum("# GB" in text for text in shown) == 2


def test_the_shared_gb_run_is_trained_once(finished: Finished) -> None:
    plan = finished.plan
    assert (len(plan.gb_runs), len(plan.later_runs), len(records(finished.root, "phase"))) == (2, 1, 3)
    trained = sum(len(path.read_text().splitlines()) for path in finished.root.glob("phase/*/metrics.jsonl"))
    assert trained * 128 == plan.tokens_shared < plan.tokens_alone
