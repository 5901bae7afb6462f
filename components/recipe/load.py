"""A recipe from its YAML file, or a message that says what is wrong with it: all that is wrong, each with its line."""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from switchpoint.components.recipe.check import check_names, check_recipe
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.evaluation import is_folder
from switchpoint.components.recipe.phase import Arm
from switchpoint.components.recipe.problems import did_you_mean, problems_of
from switchpoint.components.recipe.recipe import MAX_ARMS, Recipe
from switchpoint.components.recipe.suites import QUICKSTART, SUITES
from switchpoint.components.recipe.yaml_file import Lines, read_yaml

ORDERED_FIELDS = ("sources", "arms", "phases", "grid")
PATH_FIELDS = ("folder", "token_file", "heldout", "reference")
SHIPPED = Path(__file__).parents[2] / "pipelines" / "recipes"

Problems = list[tuple[tuple[str, ...], BadInput]]


def recipe_path(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of one that ships (`quickstart`, `paper/table_9`).

    Raise BadInput if there is neither.
    """
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path
    shipped = SHIPPED / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    known = sorted(str(file.relative_to(SHIPPED).with_suffix("")) for file in SHIPPED.rglob("*.yaml"))
    raise BadInput(
        f"no such recipe{did_you_mean(name, known)}", file=name, allowed=f"a YAML file, or one of {', '.join(known)}"
    )


def load_study(path: Path) -> dict[str, Any]:
    """Return the study as plain data, its relative paths made absolute: the pipeline's parameter.

    Raise BadInput if the file cannot be read or is not YAML.
    """
    study = read_yaml(path, "the recipe")
    absolute_folders(study, path.parent)
    return as_lists(study)


def absolute_folders(study: dict[str, Any], folder: Path) -> None:
    models = (study.get("model"), *_children(study, "bases"))
    for section in (*_children(study, "sources"), study.get("tokenizer"), *models):
        mined = section.get("mine") if isinstance(section, dict) else None
        if isinstance(mined, dict) and mined.get("embedder", "tfidf") != "tfidf":
            mined["embedder"] = _absolute(mined["embedder"], folder)
        for field in PATH_FIELDS if isinstance(section, dict) else ():
            if field in section:
                section[field] = _absolute(section[field], folder)
    sets = study.get("evaluation_sets")
    if isinstance(sets, dict):
        study["evaluation_sets"] = {name: _absolute(path, folder) for name, path in sets.items()}
    evaluation = study.get("evaluation")
    if isinstance(evaluation, dict):
        if "data_folder" in evaluation:
            evaluation["data_folder"] = _absolute(evaluation["data_folder"], folder)
        if isinstance(evaluation.get("suites"), list):
            evaluation["suites"] = [_suite(suite, folder) for suite in evaluation["suites"]]


def _suite(suite: Any, folder: Path) -> Any:
    """Return a suite's name as it is, a folder of tasks by its path."""
    if not isinstance(suite, str) or "\0" in suite or suite in (QUICKSTART, *SUITES):
        return suite
    return _absolute(suite, folder) if is_folder(suite) or os.path.isdir(folder / suite) else suite  # noqa: PTH112


def _absolute(path: Any, folder: Path) -> Any:
    if isinstance(path, str) and "\0" not in path and "://" not in path:
        return str((folder / Path(path).expanduser()).resolve())
    return path


def as_lists(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study with mappings as lists: KFP keeps the order of lists but not of mappings, and a table shows its
    arms in the recipe's order.
    """
    changed = dict(study)
    for field in ORDERED_FIELDS:
        if isinstance(study.get(field), dict):
            changed[field] = [{name: value} for name, value in study[field].items()]
    if isinstance(changed.get("grid"), list):
        changed["grid"] = [
            {axis: [{name: value} for name, value in values.items()] if isinstance(values, dict) else values}
            for item in changed["grid"]
            for axis, values in item.items()
        ]
    return changed


def as_mappings(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study with its ordered lists turned back into mappings."""
    changed = {field: _mapping(study[field]) for field in ORDERED_FIELDS if field in study}
    if isinstance(changed.get("grid"), dict):
        changed["grid"] = {axis: _mapping(values) for axis, values in changed["grid"].items()}
    return study | changed


def _mapping(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, dict) and len(item) == 1 for item in value):
        return {name: one for item in value for name, one in item.items()}
    return value


def _children(study: dict[str, Any], field: str) -> list[Any]:
    section = study.get(field)
    return list(section.values()) if isinstance(section, dict) else []


def parse_recipe(study: dict[str, Any], file: str) -> Recipe:
    """Return the recipe that `study` describes. `file` is named in messages, with the lines of its fields where it is
    there.

    Raise BadInput with every problem that was found.
    """
    study = as_mappings(study)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(study)
        problems: Problems = []
    except ValidationError as error:
        problems = problems_of(error)
    problems += _grid_problems(study)
    problems += check_names(study)
    if recipe is not None and not problems:
        problems += check_recipe(recipe)
    if problems:
        lines = Lines(file)
        raise_all([problem.at(file, ".".join(place), lines.of(place)) for place, problem in problems])
    assert recipe is not None
    return recipe


def _grid_problems(study: dict[str, Any]) -> Problems:
    """Return a grid's problems: each value is checked as the override that it is; at most MAX_ARMS combinations."""
    grid = study.get("grid")
    if not isinstance(grid, dict):
        return []
    problems: Problems = []
    size = 1
    for axis, values in grid.items():
        if not isinstance(axis, str) or axis not in Arm.model_fields:
            message = f"an arm has no such field{did_you_mean(axis, Arm.model_fields)}"
            problems.append((("grid", str(axis)), BadInput(message, allowed=", ".join(Arm.model_fields))))
            continue
        if not isinstance(values, dict) or not values:
            message = "the values of a grid have names, which make up the arms' names"
            problems.append((("grid", axis), BadInput(message, allowed="NAME: VALUE, at least one")))
            continue
        size *= len(values)
        for name, value in values.items():
            try:
                Arm.model_validate({axis: value})
            except ValidationError as error:
                for place, problem in problems_of(error, ("arms", "grid")):
                    problems.append((("grid", axis, str(name), *place[3:]), problem))
    if size > MAX_ARMS:
        problems.append((("grid",), BadInput(f"{size:,} combinations", allowed=f"at most {MAX_ARMS:,}")))
    return problems
