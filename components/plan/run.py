"""The step `plan`: a study is checked, its inputs are read, and all that will run is worked out."""

from pathlib import Path
from typing import Any

from components.blend.blend import source_tokens
from components.blend.origins import Inputs, read_inputs
from components.recipe.epochs import check_sources
from components.recipe.load import parse_recipe
from components.recipe.plan import Plan, expand
from components.store.plan_file import save_plan
from components.store.store import Store, open_store


def check_study(study: dict[str, Any], recipe_file: str, root: Path) -> tuple[Plan, Inputs]:
    """The plan of `study` and what its inputs hold. Writes nothing. Raises BadInput for whatever cannot work."""
    recipe = parse_recipe(study, recipe_file)
    inputs = read_inputs(recipe)
    plan = expand(recipe, inputs.digests, recipe_file)
    exact = source_tokens(plan, Store(root))
    check_sources(plan, inputs.max_tokens, recipe_file, exact=False)
    check_sources(plan, exact, recipe_file)
    return plan, inputs


def write_plan(study: dict[str, Any], root: Path, recipe_file: str) -> tuple[Path, list[str]]:
    """Writes the plan's file; returns it and the sources that must still be tokenised.

    Failures of an earlier run are forgotten: what failed is tried again.
    """
    plan, inputs = check_study(study, recipe_file, root)
    store = open_store(root.resolve())
    for identity in plan.identities():
        store.forget_failure(identity)
    path = save_plan(study, store, recipe_file, inputs.digests)
    return path, [name for name, identity in plan.tokens.items() if not store.is_done(identity)]
