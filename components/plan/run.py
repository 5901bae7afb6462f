"""The step `plan`: a study is checked, its inputs are read, and all that will run is worked out."""

from contextlib import suppress
from typing import Any

from switchpoint.components.data.blend import packed_samples, source_tokens
from switchpoint.components.data.corpus import FileDigests
from switchpoint.components.data.corpus_input import check_record
from switchpoint.components.data.origins import Inputs, read_inputs
from switchpoint.components.plan.base_folders import check_base_folders
from switchpoint.components.plan.price import over_budget
from switchpoint.components.recipe.bases import field_of
from switchpoint.components.recipe.epochs import check_sources, known_tokens
from switchpoint.components.recipe.errors import BadInput, raise_all
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.gate_scores import expand_as_decided
from switchpoint.components.store.location import Location, read_json
from switchpoint.components.store.opening import open_store, store_at
from switchpoint.components.store.plan_file import (
    forget_plan_failure,
    read_stops,
    save_plan,
    write_plan_failure,
)
from switchpoint.components.store.store import Store, write_json
from switchpoint.components.store.study_file import taken_over

FILE_DIGESTS = "file_digests.json"


def check_study(
    study: dict[str, Any], recipe_file: str, where: Location, stops: dict[str, Any] | None = None
) -> tuple[Plan, Inputs]:
    """Return the plan of `study` and what its inputs hold. Write nothing. Raise BadInput for whatever cannot work.

    `stops`: arms that end before their horizon, as plain data.
    """
    recipe = parse_recipe(study, recipe_file)
    store = store_at(where)
    inputs = read_inputs(recipe, known_digests(store))
    plan = expand_as_decided(recipe, inputs.digests, recipe_file, read_stops(stops or {}), store)
    check_base_folders(plan, inputs.digests, recipe_file)
    for name, source in plan.sources_with_text().items():
        if source.token_file:
            check_record(name, source, plan.tokenizer.digest)
    measured = source_tokens(plan, store)
    check_sources(plan, inputs.max_tokens, recipe_file, exact=False)
    check_sources(plan, known_tokens(plan, measured), recipe_file, packed=packed_samples(plan, store))
    return plan, inputs


def known_digests(store: Store) -> FileDigests:
    return FileDigests(read_json(f"{store.location}/{FILE_DIGESTS}"))


def keep_digests(store: Store, file_digests: FileDigests) -> None:
    """Keep digests for the next plan: large inputs are hashed once."""
    write_json(store.root / FILE_DIGESTS, file_digests.known)
    store.save(store.root / FILE_DIGESTS)


def check_runnable(plan: Plan, recipe_file: str, most_tokens: int | None = None) -> None:
    """Raise BadInput if a study can be planned and not run. `most_tokens`: the most tokens with arms stopped by
    halving.
    """
    problems: list[BadInput] = []
    published = [name for name, base in plan.bases.items() if base.parent is None and base.origin.published]
    for field in map(field_of, published):
        problems.append(
            BadInput(
                "the weights of the published base are not at hand", file=recipe_file, field=f"{field}.published",
                allowed=f"`{field}.folder` with the base's weights, `{field}.pretrain`, or `--scale cpu`, which "
                "pretrains a small one",
            )
        )  # fmt: skip
    with_text = plan.sources_with_text().keys() | plan.generations.keys()
    without = [key for key in plan.drawn_sources() if key.partition("@")[0] not in with_text]
    if without:
        problems.append(
            BadInput(
                "sources without text can be planned with, and not run", file=recipe_file, field="sources",
                given=", ".join(without), allowed="`folder:` for each (`--sources FILE` gives them), or `--scale cpu`",
            )
        )  # fmt: skip
    problems += [
        BadInput(
            "the study exceeds its budget",
            file=recipe_file,
            field="budget",
            given=excess,
            allowed="" if plan.recipe.halving else "fewer or shorter arms, or `halving:`, which stops arms early",
        )
        for excess in over_budget(plan, most_tokens)
    ]
    raise_all(problems)


def write_plan(
    study: dict[str, Any], where: Location, recipe_file: str, options: str = "", stops: dict[str, Any] | None = None
) -> str:
    """Write the plan's file and return its reference; write why there is none into the store, and raise it.

    Failures of earlier runs stay until their outputs are retried: they may be those of other studies, too.
    """
    try:
        study, stops = taken_over(study, stops)
        reference = _write_plan(study, where, recipe_file, options, stops)
    except Exception as error:
        with suppress(Exception):  # a store that cannot be written: the first error says more
            write_plan_failure(study, open_store(where), stops, error)
        raise
    forget_plan_failure(reference)
    return reference


def _write_plan(
    study: dict[str, Any], where: Location, recipe_file: str, options: str, stops: dict[str, Any] | None
) -> str:
    plan, inputs = check_study(study, recipe_file, where, stops)
    if plan.recipe.halving is not None and not stops:
        raise BadInput(
            "which arms stop is decided by the command, from one run of the pipeline to the next", file=recipe_file,
            field="halving", allowed="`switchpoint run`; or no `halving:`, where the pipeline is run by itself",
        )  # fmt: skip
    check_runnable(plan, recipe_file)
    store = open_store(where)
    keep_digests(store, inputs.file_digests)
    corpora = {origin: corpus.as_data() for origin, corpus in inputs.corpora.items()}
    return save_plan(study, store, recipe_file, options, inputs.digests, corpora, stops)
