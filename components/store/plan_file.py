"""The plan's file in the store: what a task needs to expand the plan again. Tasks pass its address on."""

from dataclasses import dataclass
from typing import Any

from switchpoint.components.recipe.digest import digest_of
from switchpoint.components.recipe.errors import reason_of
from switchpoint.components.recipe.halving import Stop, Stops
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.gate_scores import expand_as_decided
from switchpoint.components.store.location import read_json, remove_files
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.store import Store, write_json


@dataclass(frozen=True, kw_only=True)
class Planned:
    plan: Plan
    store: Store
    recipe_file: str
    options: str
    """The options of the command other than the recipe's file and the store."""
    corpora: dict[str, Any]
    """The files of each folder, as data, by the origin of a source's text."""
    is_last_rung: bool = True
    """False where arms only run to a point of successive halving."""
    whole: Plan | None = None
    """The plan with no arm stopped, where `is_last_rung` is False."""


def plan_reference(study: dict[str, Any], store: Store, stops: dict[str, Any] | None = None) -> str:
    """Return the address of the plan's file, a path or a URL.

    There is one file for each study and each set of steps where its arms stop. It is the same after KFP has turned 4
    into 4.0.
    """
    return f"{store.location}/plans/{_name(study, stops)}"


def _name(study: dict[str, Any], stops: dict[str, Any] | None) -> str:
    return f"{digest_of({'study': study, 'stops': stops} if stops else study)}.json"


def save_plan(
    study: dict[str, Any],
    store: Store,
    recipe_file: str,
    options: str,
    input_digests: dict[str, str],
    corpora: dict[str, Any],
    stops: dict[str, Any] | None = None,
) -> str:
    """Write the plan's file, and return the reference that `load_plan` takes on any machine."""
    path = store.root / "plans" / _name(study, stops)
    path.parent.mkdir(exist_ok=True)
    write_json(
        path,
        {
            "study": study,
            "store": store.location,
            "recipe_file": recipe_file,
            "options": options,
            "stops": stops or {},
            "input_digests": input_digests,
            "corpora": corpora,
        },
    )
    store.save(path)
    reference = plan_reference(study, store, stops)
    _remember(study, store, reference)
    return reference


def _remember(study: dict[str, Any], store: Store, reference: str) -> None:
    """Keep the newest plan of the studies of this name, and the one before it."""
    path = _newest(str(study.get("name")))
    known = (read_json(f"{store.location}/{path}") or {}).get("plans", [])
    if known[:1] != [reference]:
        store.write(path, {"plans": [reference, *(one for one in known if one != reference)][:2]})


def _newest(name: str) -> str:
    return f"studies/{name}.newest.json"


def last_plan(plan: Plan, store: Store) -> Plan | None:
    """Return the newest plan that a study of this name had, other than this one; None where there is none, or where it
    cannot be planned any more.
    """
    for reference in (read_json(f"{store.location}/{_newest(plan.recipe.name)}") or {}).get("plans", []):
        try:
            found = load_plan(reference).plan
        except (ValueError, KeyError, RuntimeError):
            continue
        if found.report.digest != plan.report.digest:
            return found
    return None


def write_plan_failure(study: dict[str, Any], store: Store, stops: dict[str, Any] | None, error: Exception) -> None:
    """Keep why the task `plan` failed, beside the plan that it was to write."""
    store.write(_failure(f"plans/{_name(study, stops)}"), {"reason": reason_of(error)})


def plan_failure(reference: str) -> str | None:
    """Return why the newest run's task `plan` failed; None where it did not, or left no reason."""
    return (read_json(_failure(reference)) or {}).get("reason")


def forget_plan_failure(reference: str) -> None:
    folder, _, name = _failure(reference).rpartition("/")
    remove_files(folder, [name])


def _failure(reference: str) -> str:
    return f"{reference.removesuffix('.json')}.failed.json"


def read_stops(stops: dict[str, Any]) -> Stops:
    """Return the stops in the pipeline's parameter.

    `stops` is {} without halving; else it has `arms`, a step and a reason by the run's name, and `is_last`.
    """
    return {run_name: Stop.model_validate(stop) for run_name, stop in stops.get("arms", {}).items()}


def load_plan(reference: str) -> Planned:
    """Return the plan that `save_plan` wrote, as gates have decided it. Raise RuntimeError where planning failed."""
    saved = read_json(reference) if reference else None
    if saved is None:
        raise RuntimeError("there is no plan: the task `plan` did not succeed")
    recipe = parse_recipe(saved["study"], saved["recipe_file"])
    stops = saved.get("stops", {})
    digests, file, store = saved["input_digests"], saved["recipe_file"], store_at(saved["store"])
    plan = expand_as_decided(recipe, digests, file, read_stops(stops), store)
    is_last = bool(stops.get("is_last", True))
    whole = None if is_last else expand_as_decided(recipe, digests, file, {}, store)
    return Planned(
        is_last_rung=is_last, whole=whole,
        plan=plan, store=store, recipe_file=file,
        options=saved.get("options", ""), corpora=saved["corpora"],
    )  # fmt: skip
