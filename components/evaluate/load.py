"""The tasks of the suites with data of their own, built by lm-eval."""

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchpoint.components.evaluate import humaneval, sandbox
from switchpoint.components.evaluate.hub import ask_only_the_cache, hub_answers
from switchpoint.components.recipe.evaluation import is_folder, suite_name
from switchpoint.components.recipe.suites import QUICKSTART, SUITES, Benchmark

GENERATED_TOKENS = 256
"""The largest number of tokens to generate, for a task that does not say: lm-eval's default."""


class SuiteUnreachable(RuntimeError):
    """A suite's data, or what it needs to run, is not there."""


@dataclass(frozen=True)
class LoadedBenchmark:
    """A score, and the lm-eval tasks that it comes from."""

    suite: str
    benchmark: Benchmark
    parts: dict[str, list[Any]]
    max_generated: dict[str, int]
    """The largest number of tokens to generate, by task, as the task's file says."""

    @property
    def name(self) -> str:
        return f"{self.suite}.{self.benchmark.score}"

    @property
    def tasks(self) -> list[Any]:
        return [task for part in self.parts.values() for task in part]


def load_suites(suites: Sequence[str], data_folder: str | None = None) -> list[LoadedBenchmark]:
    """Return all tasks of `suites` (names, or folders of tasks) with their data, from `data_folder` where it has a
    copy.

    Raise SuiteUnreachable with all that is missing, and how to get it.
    """
    loader = _Loader(data_folder)
    loaded: list[LoadedBenchmark] = []
    for suite in suites:
        if is_folder(suite):
            loaded += loader.folder(suite)
        elif suite != QUICKSTART:
            loaded += [loader.benchmark(suite, benchmark) for benchmark in SUITES[suite]]
    loader.raise_problems()
    return loaded


class _Loader:
    def __init__(self, data_folder: str | None) -> None:
        self.data_folder = data_folder
        self.problems: dict[str, str] = {}
        """The first task that needs a data set, and what is wrong, by data set."""
        self.hub_is_known = False

    def benchmark(self, suite: str, benchmark: Benchmark) -> LoadedBenchmark:
        if benchmark.runs_code:
            try:
                sandbox.check_available()
            except sandbox.SandboxUnavailable as error:
                self.problems["the sandbox"] = f"{suite}.{benchmark.score}: {error}"
        if not benchmark.folder:
            configs = {part: [humaneval.task_config(task, benchmark.data)] for part, task in benchmark.parts}
        else:
            index = _task_index(_lm_eval_tasks() / benchmark.folder)
            configs = {part: [_config(index[name]) for name in _names(index[task])] for part, task in benchmark.parts}
        parts = {
            part: self._tasks(f"{suite}.{benchmark.score}", listed, benchmark.num_shots)
            for part, listed in configs.items()
        }
        return _loaded(suite, benchmark, parts)

    def folder(self, folder: str) -> list[LoadedBenchmark]:
        """Return a score for each task of the folder: the first of the task's metrics, as the first of its filters
        reads it.
        """
        suite, loaded = suite_name(folder), []
        entries = {name: one for name, one in _task_index(Path(folder)).items() if one.kind.name in ("TASK", "PY_TASK")}
        for path in _left_out(Path(folder), entries.values()):
            self.problems[str(path)] = (
                f"{suite}: lm-eval does not take it for a task: another file has a task of this name, or what it "
                "includes is not there"
            )
        for name, entry in entries.items():
            config = _config(entry)
            _local_files(config, Path(entry.yaml_path).parent)
            tasks = self._tasks(f"{suite}.{name}", [config], None)
            for task in tasks:
                filters = task.config.filter_list
                benchmark = Benchmark(
                    score=name, parts=(("", name),), folder=folder, data=str(task.config.dataset_path or ""),
                    num_shots=task.config.num_fewshot, metric=next(iter(task.aggregation())),
                    filter=filters[0]["name"] if filters else "none",
                )  # fmt: skip
                loaded.append(_loaded(suite, benchmark, {"": tasks}))
        return loaded

    def _tasks(self, score: str, configs: Iterable[dict[str, Any]], num_shots: int | None) -> list[Any]:
        """Return the tasks, without those whose data set is not there."""
        found = []
        for config in configs:
            data = str(config.get("dataset_path") or f"task {config['task']}")
            if data in self.problems:
                continue
            try:
                found.append(self._task(config, num_shots))
            except Exception as error:  # each kind of data set fails in its own way
                reason = " ".join(str(error).split())
                self.problems[data] = f"{score} (task {config['task']}): {type(error).__name__}: {reason}"
        return found

    def _task(self, config: dict[str, Any], num_shots: int | None) -> Any:
        from lm_eval.api.task import ConfigurableTask

        if config.get("unsafe_code"):
            raise ValueError("lm-eval would run generated code without a sandbox")
        shots = config.get("num_fewshot") if num_shots is None else num_shots
        changed = {key: value for key, value in config.items() if key not in ("tag", "group", "class")}
        changed["num_fewshot"] = shots or 0
        self._place_data(changed)
        return config["class"](config=changed) if "class" in config else ConfigurableTask(config=changed)

    def _place_data(self, config: dict[str, Any]) -> None:
        """Let the data set be read from its copy; if there is no copy, test once whether the hub answers."""
        data = config.get("dataset_path")
        if not data:
            return
        copied = Path(self.data_folder) / data if self.data_folder else Path(data)
        if copied.is_dir():
            config["dataset_path"] = str(copied)
        elif "/" in data and not self.hub_is_known:  # others are readers of files, such as `json`
            self.hub_is_known = True
            if not hub_answers():
                ask_only_the_cache()

    def raise_problems(self) -> None:
        if not self.problems:
            return
        listed = "\n".join(f"  {data}, for {problem}" for data, problem in self.problems.items())
        looked = f"copies in {self.data_folder}, " if self.data_folder else ""
        raise SuiteUnreachable(
            f"not all that the suites need is there (looked at: {looked}the Hugging Face hub, its cache):\n{listed}\n"
            "  to fix it: put copies of these data sets, each under its name, into a folder and give it as "
            "`evaluation.data_folder`; or run where the hub is reached, once, so that its cache (HF_HOME) has them"
        )


def _loaded(suite: str, benchmark: Benchmark, parts: dict[str, list[Any]]) -> LoadedBenchmark:
    limits = {
        task.config.task: int(task.config.generation_kwargs.get("max_gen_toks", GENERATED_TOKENS))
        for part in parts.values()
        for task in part
        if task.OUTPUT_TYPE == "generate_until"
    }
    return LoadedBenchmark(suite, benchmark, parts, limits)


def _lm_eval_tasks() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent


def _task_index(folder: Path) -> dict[str, Any]:
    """Return a folder's tasks and tags. Not all of lm-eval's own are read: that takes a quarter of a minute."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    return dict(TaskManager(include_path=str(folder), include_defaults=False).task_index)


def _names(entry: Any) -> list[str]:
    """Return a task's own name, or those of the tasks that have this tag."""
    return sorted(entry.tags) if entry.kind.name == "TAG" else [entry.name]


def _left_out(folder: Path, entries: Iterable[Any]) -> list[Path]:
    """Return the files of tasks that are not among the entries."""
    from lm_eval.tasks._yaml_loader import load_yaml

    known = {Path(entry.yaml_path).resolve() for entry in entries}
    others = [path for path in sorted(folder.rglob("*.yaml")) if path.resolve() not in known]
    named = [load_yaml(path, resolve_func=False, recursive=False).get("task") for path in others]
    return [path for path, name in zip(others, named, strict=True) if isinstance(name, str)]


def _config(entry: Any) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    return copy.deepcopy(load_yaml(entry.yaml_path, resolve_func=True))


def _local_files(config: dict[str, Any], folder: Path) -> None:
    """Turn data files that a task names relative to its own file into absolute paths."""
    arguments = config.get("dataset_kwargs")
    if not isinstance(arguments, dict) or "data_files" not in arguments:
        return

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [placed(one) for one in value]
        return str(folder / value) if isinstance(value, str) and (folder / value).exists() else value

    config["dataset_kwargs"] = {**arguments, "data_files": placed(arguments["data_files"])}
