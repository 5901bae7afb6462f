"""The compiled spec keeps to what the Kubeflow Pipelines backend does; the checker finds what does not."""

import copy
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from switchpoint.pipelines.backend_rules import problems
from switchpoint.pipelines.commands.kfp_server import TASKS
from switchpoint.pipelines.compile import SPEC


def spec() -> dict[str, Any]:
    return next(iter(yaml.safe_load_all(SPEC.read_text())))


def test_the_committed_spec_breaks_no_rule() -> None:
    assert problems(spec()) == []


def test_no_task_waits_for_others_whether_they_failed_or_not() -> None:
    assert "ALL_UPSTREAM_TASKS_COMPLETED" not in SPEC.read_text()


def test_every_loop_runs_over_an_output_of_that_name() -> None:
    """KFP's local runner finds a loop's items only in an output named `Output`."""
    loops = [task for task in spec()["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    assert len(loops) == 4
    for task in loops:
        ((_, given),) = task["inputs"]["parameters"].items()
        assert given["taskOutputParameter"]["outputParameterKey"] == "Output"


def test_inside_a_loop_a_task_takes_the_whole_item_and_nothing_else() -> None:
    whole = spec()
    for task in whole["root"]["dag"]["tasks"].values():
        if "parameterIterator" in task:
            (inner,) = whole["components"][task["componentRef"]["name"]]["dag"]["tasks"].values()
            assert list(inner["inputs"]["parameters"]) == ["item"]


def test_the_page_draws_one_line_of_tasks() -> None:
    """Outside loops every task but the first has one task before it, and around a loop the loop too."""
    tasks = spec()["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        loops = [one for one in task.get("dependentTasks", []) if "parameterIterator" in tasks[one]]
        others = set(task.get("dependentTasks", [])) - set(loops)
        assert len(others) == (name != "plan"), name
        assert len(loops) <= 1, name


def test_the_tasks_that_status_shows_are_those_of_the_spec() -> None:
    whole = spec()
    dags = [whole["root"], *(one for one in whole["components"].values() if "dag" in one)]
    names = {name for dag in dags for name, task in dag["dag"]["tasks"].items() if "parameterIterator" not in task}
    assert names == set(TASKS)


@dsl.component(base_image="python")
def listed() -> list:
    return []


@dsl.component(base_image="python")
def one(item: str = "") -> str:
    return item


def compiled(pipeline: Any, tmp_path: Any) -> dict[str, Any]:
    path = tmp_path / "spec.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return next(iter(yaml.safe_load_all(path.read_text())))


def test_a_task_that_depends_on_one_that_ignores_failures_is_refused(tmp_path: Any) -> None:
    """As the backend said of such a pipeline: "sorting failed: invalid dependency join"."""

    @dsl.pipeline
    def refused() -> None:
        with dsl.ParallelFor(listed().output) as item:
            inside = one(item=item)
        join = one(item="").after(inside).ignore_upstream_failure()
        one(item=join.output)

    found = problems(compiled(refused, tmp_path))
    assert [problem.what for problem in found if problem.refuses] == [
        "templates.root sorting failed: invalid dependency one-2"
    ]
    assert any("hooks of loops are dropped: it never runs" in problem.what for problem in found)


def test_an_exit_handler_is_not_refused_and_is_a_problem_all_the_same(tmp_path: Any) -> None:
    @dsl.pipeline
    def handled() -> None:
        with dsl.ExitHandler(one()):
            one(item="inside")

    found = problems(compiled(handled, tmp_path))
    assert found
    assert not any(problem.refuses for problem in found)
    assert "its failure does not fail the run" in str(found[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plan": {"dependentTasks": ["report"]}}, "wait for each other"),
        ({"plan": {"dependentTasks": ["nobody"]}}, "invalid dependency nobody"),
        ({"plan-driver": {"componentRef": {"name": "comp-plan"}}}, "has the name of the driver of plan"),
        ({"plan": {"artifactIterator": {}}}, "artifact iterator not implemented yet"),
    ],
)
def test_what_argo_refuses_is_found(change: dict[str, Any], said: str) -> None:
    changed = copy.deepcopy(spec())
    for name, fields in change.items():
        changed["root"]["dag"]["tasks"].setdefault(name, {}).update(fields)
    (found,) = [problem for problem in problems(changed) if problem.refuses]
    assert said in str(found)
