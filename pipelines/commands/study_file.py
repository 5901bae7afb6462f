"""The study that a command is about: a file or the name of one that ships, at a scale, with its sources bound."""

import shlex
from pathlib import Path
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.catalogue import with_catalogue
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.fields import read_tokens
from switchpoint.components.recipe.load import as_lists, as_mappings, load_study, parse_recipe, recipe_path
from switchpoint.components.recipe.problems import unknown
from switchpoint.components.recipe.recipe import OF_SEVERAL_ARMS

SCALES = ("cpu",)


def read_study(
    recipe: str,
    scale: str | None = None,
    sources: Path | None = None,
    budget: str | None = None,
    arm: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Return the study as the pipeline's parameter, and the file that messages name. Raise BadInput."""
    path = recipe_path(recipe)
    study = load_study(path)
    study, file = _at_scale(study, path, scale, sources)
    if budget is not None:
        given = study.get("budget")
        study["budget"] = (given if isinstance(given, dict) else {}) | {"max_tokens": _tokens(budget)}
    return (study if arm is None else _only(study, file, arm)), file


def _only(study: dict[str, Any], file: str, run_name: str) -> dict[str, Any]:
    """Return the study with one arm and one of its seeds: what a row of a report is made by, alone."""
    recipe = parse_recipe(study, file)
    known = {}
    for arm_id, (_, arm) in arms_of(recipe).items():
        several: list[int | None] = [recipe.seed] if recipe.seeds is None else [*recipe.seeds]
        seeds = [arm.seed] if arm.seed is not None else several
        for seed in seeds:
            known[arm_id if len(seeds) == 1 else f"{arm_id}-seed-{seed}"] = (arm_id, arm, seed)
    if run_name not in known:
        raise unknown("arm", run_name, known).at(file)
    arm_id, arm, seed = known[run_name]
    changed = arm.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"seed"})
    left = {name: value for name, value in study.items() if name not in (*OF_SEVERAL_ARMS, "seed")}
    return left | {"arms": [{arm_id: changed}]} | ({} if seed is None else {"seed": seed})


def _tokens(text: str) -> int:
    try:
        tokens = read_tokens(text)
        if isinstance(tokens, int) and tokens > 0:
            return tokens
    except ValueError:
        pass
    raise BadInput("not a number of tokens", field="--budget", given=text, allowed="such as 300000, 300M or 1.5T")


def _at_scale(study: dict[str, Any], path: Path, scale: str | None, sources: Path | None) -> tuple[dict[str, Any], str]:
    if scale is None and sources is None:
        return study, str(path)
    try:
        return as_lists(_bound(as_mappings(study), scale, sources)), str(path)
    except BadInput as error:
        raise error if error.file else error.at(str(path)) from None


def options_given(scale: str | None, sources: Path | None, budget: str | None, arm: str | None) -> str:
    """Return the options as they are written after the recipe's name."""
    file = sources and shlex.quote(str(sources))
    given = [("--scale", scale), ("--sources", file), ("--budget", budget), ("--arm", arm)]
    return " ".join(f"{name} {value}" for name, value in given if value)


def _bound(study: dict[str, Any], scale: str | None, sources: Path | None) -> dict[str, Any]:
    from switchpoint.components.data.binding import bound_to_environment, bound_to_user
    from switchpoint.components.recipe.scale import scaled_to_cpu

    if scale is not None and scale not in SCALES:
        raise BadInput("no such scale", field="--scale", given=scale, allowed=", ".join(SCALES))
    study = with_catalogue(study)
    if not isinstance(study.get("sources"), dict) or not all(isinstance(s, dict) for s in study["sources"].values()):
        raise BadInput("a study with sources is needed: a mapping of names", field="sources")
    study.pop("catalogue", None)
    if scale is not None:
        study = scaled_to_cpu(study)
    return bound_to_user(study, sources) if sources is not None else bound_to_environment(study)
