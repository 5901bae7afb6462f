"""The plan's file in the store: what a task needs to expand the plan anew, handed between tasks by its path."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.recipe.digest import digest_of
from components.recipe.expand import expand
from components.recipe.halving import Stop, Stops
from components.recipe.load import parse_recipe
from components.recipe.plan import Plan
from components.store.store import Store, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Planned:
    plan: Plan
    store: Store
    recipe_file: str
    options: str
    """What the command was given beside the recipe's file and the store."""
    corpora: dict[str, Any]
    """Each folder's files, as data, by the origin of a source's text."""
    is_last_rung: bool = True
    """False where arms only go to a point of successive halving."""
    whole: Plan | None = None
    """Then: the plan with no arm stopped."""


def plan_path(study: dict[str, Any], store: Store, stops: dict[str, Any] | None = None) -> Path:
    """One file per study, and for where its arms stop; KFP's turning 4 into 4.0 does not change it."""
    return store.root / "plans" / f"{digest_of({'study': study, 'stops': stops} if stops else study)}.json"


def save_plan(
    study: dict[str, Any],
    store: Store,
    recipe_file: str,
    options: str,
    input_digests: dict[str, str],
    corpora: dict[str, Any],
    stops: dict[str, Any] | None = None,
) -> Path:
    path = plan_path(study, store, stops)
    path.parent.mkdir(exist_ok=True)
    write_json(
        path,
        {
            "study": study,
            "store": str(store.root),
            "recipe_file": recipe_file,
            "options": options,
            "stops": stops or {},
            "input_digests": input_digests,
            "corpora": corpora,
        },
    )
    return path


def read_stops(stops: dict[str, Any]) -> Stops:
    """From the pipeline's parameter: {} without halving, else `arms` (run name to step and reason) and `is_last`."""
    return {run_name: Stop.model_validate(stop) for run_name, stop in stops.get("arms", {}).items()}


def load_plan(path: str) -> Planned:
    """The plan that `save_plan` wrote. Raises RuntimeError where planning failed."""
    saved = read_json(Path(path)) if path else None
    if saved is None:
        raise RuntimeError("there is no plan: the task `plan` did not succeed")
    recipe = parse_recipe(saved["study"], saved["recipe_file"])
    stops = saved.get("stops", {})
    plan = expand(recipe, saved["input_digests"], saved["recipe_file"], read_stops(stops))
    is_last = bool(stops.get("is_last", True))
    whole = None if is_last else expand(recipe, saved["input_digests"], saved["recipe_file"])
    return Planned(
        is_last_rung=is_last, whole=whole,
        plan=plan, store=Store(Path(saved["store"])), recipe_file=saved["recipe_file"],
        options=saved.get("options", ""), corpora=saved["corpora"],
    )  # fmt: skip
