"""The folders that an evaluation reads: a user's own lm-eval tasks, and copies of data sets."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from switchpoint.components.data.corpus import FileDigests
from switchpoint.components.data.folder_text import text_files
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.evaluation import Evaluation, data_origin, suite_origin
from switchpoint.components.recipe.suites import data_sets

_DATA_SET = re.compile(r"^[\"']?dataset_path[\"']?:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


class _TaskLoader(yaml.SafeLoader):
    """A loader that reads task files without importing the functions that they name."""


_TaskLoader.add_constructor("!function", lambda _, node: str(node.value))


def read_suites(evaluation: Evaluation, file_digests: FileDigests) -> dict[str, str]:
    """Return the digests of the folders, by their origins. Raise BadInput for what is missing or cannot be used."""
    digests: dict[str, str] = {}
    wanted = data_sets(evaluation.named_suites)
    for number, suite in enumerate(evaluation.suites):
        if suite in evaluation.suite_folders:
            wanted += _check_tasks(suite, f"evaluation.suites.{number}")
            digests[suite_origin(suite)] = _digest([suite], f"evaluation.suites.{number}", file_digests)
    if evaluation.data_folder is not None:
        folder, field = evaluation.data_folder, "evaluation.data_folder"
        if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises where a parent is closed)
            raise BadInput("no such folder", file=folder, field=field, allowed="a folder with copies of data sets")
        # Only what the suites read: another data set beside it changes no score.
        copies = [path for name in sorted(set(wanted)) if os.path.isdir(path := f"{folder}/{name}")]  # noqa: PTH112
        digests[data_origin(folder)] = _digest(copies, field, file_digests)
    return digests


def _check_tasks(folder: str, field: str) -> list[str]:
    """Return the data sets that a folder's tasks name. Raise BadInput if there is no task, or one that cannot be
    used.
    """
    if not os.path.isdir(folder):  # noqa: PTH112
        raise BadInput("no such folder", file=folder, field=field, allowed="a folder of lm-eval task files (*.yaml)")
    num_tasks = 0
    found: list[str] = []
    for name, path in text_files(Path(folder), field):
        text = path.read_text(encoding="utf-8", errors="replace") if path.suffix in (".yaml", "") else ""
        found += _DATA_SET.findall(text)  # in templates, too, which have no suffix
        if path.suffix != ".yaml":
            continue
        config = _task_config(text, f"{folder}/{name}", field)
        if config.get("unsafe_code"):
            raise BadInput(
                "the task runs generated code, which lm-eval does without a sandbox", file=str(path), field=field,
                given="unsafe_code: true", allowed="tasks without; the suite `paper` has HumanEval in a sandbox",
            )  # fmt: skip
        num_tasks += isinstance(config.get("task"), str)
    if not num_tasks:
        raise BadInput(
            "the folder holds no task", file=folder, field=field, allowed="lm-eval task files: *.yaml with `task: NAME`"
        )
    return found


def _task_config(text: str, file: str, field: str) -> dict[str, Any]:
    try:
        config = yaml.load(text, Loader=_TaskLoader)
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {' '.join(str(error).split())}", file=file, field=field) from None
    if not isinstance(config, dict):
        raise BadInput("not a task", file=file, field=field, allowed="a mapping, such as `task: NAME`")
    return config


def _digest(folders: Iterable[str], field: str, file_digests: FileDigests) -> str:
    """Return the digest of all files in the folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for name, path in text_files(Path(folder), field):
            if "__pycache__" in name:
                continue
            try:
                stat = path.stat()
                content = file_digests.of(folder, name, (stat.st_size, stat.st_mtime_ns))
            except OSError as error:
                raise BadInput(f"the file cannot be read: {error.strerror}", file=str(path), field=field) from None
            digest.update(f"{Path(folder).name}\0{name}\0{content}\0".encode())
    return digest.hexdigest()[:16]
