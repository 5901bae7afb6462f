"""Rules of the Kubeflow Pipelines backend that a compiled spec can break although it compiles and uploads (pure).

Read in the source of KFP 2.17.0 and Argo Workflows 4.0.5, whose files are named beside each rule, and seen on a running
backend where that is said. Uploading a spec, or `kubectl apply` of one, only parses it: most of these show when a run
is made, or later. `make test` holds the committed spec to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
COMPILER = "kubeflow/pipelines backend/src/v2/compiler/argocompiler"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the backend does with a task of the spec."""

    task: str
    what: str
    refuses: bool
    """Whether `POST runs` answers with an error. Otherwise the run starts, and is not what the spec says."""
    source: str

    def __str__(self) -> str:
        return f"{self.task}: {self.what} ({self.source})"


def problems(spec: Mapping[str, Any]) -> list[Problem]:
    """Return what the backend would refuse, or run otherwise than it reads, in a pipeline spec (the IR)."""
    components = spec.get("components", {})
    found = []
    for name, dag in _dags(spec):
        tasks = dag["tasks"]
        found += [*_exits(tasks, components), *_orders(name, tasks), *_iterators(tasks), *_names(tasks)]
        if all(_is_exit(task) for task in tasks.values()):
            found.append(
                Problem(
                    task=name, what="the DAG has no task but exit tasks", refuses=True, source=f"{COMPILER}/dag.go:142"
                )
            )
    return found


def _dags(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "root", spec["root"]["dag"]
    yield from ((name, one["dag"]) for name, one in spec.get("components", {}).items() if "dag" in one)


def _is_exit(task: Mapping[str, Any]) -> bool:
    return bool(task.get("triggerPolicy", {}).get("strategy") == EXIT)


def _is_loop(task: Mapping[str, Any]) -> bool:
    return "parameterIterator" in task or "artifactIterator" in task


def _exits(tasks: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[Problem]:
    """A task that runs whatever happened before it becomes an exit hook of what it depends on, and leaves the DAG.

    Safe is one alone, on one upstream DAG that is no loop (what `dsl.ExitHandler` makes); even that one does not fail
    the run when it fails, and hides all else on Kubeflow's page behind one box. So our spec has none.
    """
    source = f"{COMPILER}/dag.go:60-127; seen on 2.17.0"
    for name, task in tasks.items():
        if not _is_exit(task):
            continue
        for upstream in task.get("dependentTasks", []):
            one = tasks.get(upstream, {})
            if _is_loop(one):
                what = f"runs as a hook of the loop {upstream}, and hooks of loops are dropped: it never runs"
                yield Problem(task=name, what=what, refuses=False, source=source)
            elif "dag" not in components.get(one.get("componentRef", {}).get("name", ""), {}):
                what = f"becomes an exit hook of {upstream}, which is no DAG"
                yield Problem(task=name, what=what, refuses=False, source=source)
        if len(task.get("dependentTasks", [])) > 1:
            what = "becomes an exit hook of each upstream task, and runs once for each of them"
            yield Problem(task=name, what=what, refuses=False, source=source)
        what = (
            "is an exit task: its failure does not fail the run, `:retry` never repeats it, and the page hides the rest"
        )
        yield Problem(task=name, what=what, refuses=False, source=source)


def _orders(dag: str, tasks: Mapping[str, Any]) -> Iterator[Problem]:
    """Argo sorts the tasks of a DAG by their dependencies, and knows no exit hook among them."""
    known = {name for name, task in tasks.items() if not _is_exit(task)}
    for name, task in tasks.items():
        for upstream in task.get("dependentTasks", []) if not _is_exit(task) else []:
            if upstream not in known:
                yield Problem(
                    task=name, what=f"templates.{dag} sorting failed: invalid dependency {upstream}", refuses=True,
                    source="argoproj/argo-workflows workflow/validate/validate.go:1368; seen on 2.17.0",
                )  # fmt: skip
    left = {name: set(tasks[name].get("dependentTasks", [])) & known for name in known}
    while ready := [name for name, upstream in left.items() if not upstream]:
        left = {name: upstream - set(ready) for name, upstream in left.items() if name not in ready}
    if left:
        yield Problem(
            task=dag, what=f"templates.{dag} sorting failed: {', '.join(sorted(left))} wait for each other",
            refuses=True, source="argoproj/argo-workflows workflow/validate/validate.go:1368",
        )  # fmt: skip


def _iterators(tasks: Mapping[str, Any]) -> Iterator[Problem]:
    for name, task in tasks.items():
        if "artifactIterator" in task:
            yield Problem(
                task=name, what="artifact iterator not implemented yet", refuses=True, source=f"{COMPILER}/dag.go:68"
            )


def _names(tasks: Mapping[str, Any]) -> Iterator[Problem]:
    """Every task has a driver beside it, which takes the task's name with `-driver` behind it."""
    for name in tasks:
        if f"{name}-driver" in tasks:
            yield Problem(
                task=f"{name}-driver", what=f"has the name of the driver of {name}", refuses=True,
                source=f"{COMPILER}/dag.go:239",
            )  # fmt: skip
