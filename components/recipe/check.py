"""What must fit together across a recipe: names that are known, weights that sum to 1, names of rows."""

import re
from collections.abc import Iterator
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.blend import (
    ByEpochs,
    ByTokens,
    Explicit,
    Multipliers,
    TierWeight,
    blend_references,
)
from switchpoint.components.recipe.catalogue import CATALOGUES, catalogue
from switchpoint.components.recipe.check_bases import Place, Problem, check_base_names, check_bases
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.evaluation import is_folder, suite_name
from switchpoint.components.recipe.gate import GateConfig
from switchpoint.components.recipe.phase import SHORT_FORM
from switchpoint.components.recipe.problems import did_you_mean, unknown
from switchpoint.components.recipe.recipe import MAX_ARMS, Recipe
from switchpoint.components.recipe.suites import LOCAL_SCORES, QUICKSTART, SUITES, runs_code, suite_scores
from switchpoint.components.recipe.whole import is_whole, sum_as_written
from switchpoint.components.recipe.yaml_file import mapping

SHORT_BLENDS = tuple(short for short, (_, field) in SHORT_FORM.items() if field == "blend")
"""The recipe's short form of phases, as far as it names blends."""
SUITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}")


def check_names(study: dict[str, Any]) -> list[Problem]:
    """Return problems with names of blends, phases and sources that do not exist, on plain data: found beside other
    errors.
    """
    known = {section: _names(study, section) for section in ("sources", "blends")}
    problems: list[Problem] = []
    for place, name in _blend_names(study):
        in_blend = place[0] == "blends"
        allowed = dict.fromkeys([*known["blends"], *(known["sources"] if in_blend else ())])
        if isinstance(name, str) and known["blends"] and name not in allowed:
            problems.append((place, unknown("blend or source" if in_blend else "blend", name, allowed)))
    left_out = study.get("left_out")
    for number, name in enumerate(left_out if isinstance(left_out, list) else ()):
        if isinstance(name, str) and known["sources"] and name not in known["sources"]:
            problems.append((("left_out", str(number)), unknown("source", name, known["sources"])))
    for name, weights in mapping(study, "blends").items():
        if isinstance(weights, dict) and "by" not in weights:
            for source in weights:
                if isinstance(source, str) and known["sources"] and source not in known["sources"]:
                    problems.append((("blends", str(name), source), unknown("source", source, known["sources"])))
    phases = mapping(study, "phases") or dict.fromkeys(phase for phase, _ in SHORT_FORM.values())
    for arm_id, arm in mapping(study, "arms").items():
        for phase in mapping(arm, "phases"):
            if phase not in phases:
                problems.append(
                    (("arms", str(arm_id), "phases", str(phase)), unknown("phase", phase, map(str, phases)))
                )
    return problems + check_base_names(study)


def _names(study: dict[str, Any], section: str) -> list[str]:
    names = [str(name) for name in mapping(study, section)]
    if study.get("catalogue") in CATALOGUES:
        names += [name for name in catalogue(study["catalogue"])[section] if name not in names]
    return names


def _blend_names(study: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Yield every field that names a blend, with what it gives."""
    for field in SHORT_BLENDS:
        yield (field,), study.get(field)
    models: dict[Place, Any] = {("model",): mapping(study, "model")}
    models |= {("bases", str(name)): mapping(study["bases"], name) for name in mapping(study, "bases")}
    for place, model in models.items():
        for kind in ("pretrain", "published"):
            yield (*place, kind, "blend"), mapping(model, kind).get("blend")
    for phase, config in mapping(study, "phases").items():
        yield ("phases", str(phase), "blend"), config.get("blend") if isinstance(config, dict) else None
    for arm_id, arm in mapping(study, "arms").items():
        for field in SHORT_BLENDS:
            yield ("arms", str(arm_id), field), arm.get(field) if isinstance(arm, dict) else None
        for phase, patch in mapping(arm, "phases").items():
            place = ("arms", str(arm_id), "phases", str(phase), "blend")
            yield place, patch.get("blend") if isinstance(patch, dict) else None
    for axis in SHORT_BLENDS:
        for name, value in mapping(mapping(study, "grid"), axis).items():
            yield ("grid", axis, str(name)), value
    for name, config in mapping(study, "blends").items():
        for field in ("base", "of", "rest", "old", "new") if "by" in mapping(study["blends"], name) else ():
            yield ("blends", str(name), field), config.get(field)


def check_recipe(recipe: Recipe) -> list[Problem]:
    """Return the problems that a well-formed recipe can still have."""
    return [
        *(problem for name in recipe.blends for problem in _check_blend(recipe, name)),
        *_check_circles(recipe),
        *_check_mined(recipe),
        *check_bases(recipe),
        *_check_arms(recipe),
        *_check_evaluation(recipe),
    ]


def _check_blend(recipe: Recipe, name: str) -> Iterator[Problem]:
    config: Any = recipe.blends[name]
    categories = {source.category for source in recipe.sources.values() if source.category}
    if isinstance(config, Explicit):
        yield from _check_weights(recipe, name, config)
    elif isinstance(config, ByTokens):
        for number, source in enumerate(config.sources):
            if source not in recipe.sources and source not in categories:
                place = ("blends", name, "sources", str(number))
                yield place, unknown("source or category", source, [*recipe.sources, *sorted(categories)])
    elif isinstance(config, Multipliers | ByEpochs):
        field = "multiply" if isinstance(config, Multipliers) else "epochs"
        for source in getattr(config, field):
            if source not in recipe.sources and source not in categories:
                place = ("blends", name, field, source)
                yield place, unknown("source or category", source, [*recipe.sources, *sorted(categories)])
    for source, tier in config.tiers.items() if isinstance(config, Multipliers) else ():
        if source not in recipe.sources:
            yield ("blends", name, "tiers", source), unknown("source", source, recipe.sources)
        elif tier not in recipe.sources[source].tiers:
            yield ("blends", name, "tiers", source), unknown("tier", tier, recipe.sources[source].tiers)


def _check_weights(recipe: Recipe, name: str, config: Explicit) -> Iterator[Problem]:
    if not config.root:
        yield ("blends", name), BadInput("a blend names at least one source")
        return
    for source, weight in config.root.items():
        if isinstance(weight, TierWeight) and source in recipe.sources:
            tiers = recipe.sources[source].tiers
            if weight.tier not in tiers:
                yield ("blends", name, source, "tier"), unknown("tier", weight.tier, tiers)
    weights = [weight.weight if isinstance(weight, TierWeight) else weight for weight in config.root.values()]
    if not is_whole(weights):
        yield (
            ("blends", name),
            BadInput(
                "the weights must sum to 1",
                given=sum_as_written(weights),
                allowed="1 exactly (fractions such as 1/3 may be used)",
            ),
        )


def _check_mined(recipe: Recipe) -> Iterator[Problem]:
    """Yield problems of mined sources: the sources that they are mined from need text."""
    for name, source in recipe.sources.items():
        for field in ("sources", "like") if source.mine else ():
            for number, other in enumerate(getattr(source.mine, field)):
                place = ("sources", name, "mine", field, str(number))
                if other not in recipe.sources:
                    yield place, unknown("source", other, recipe.sources)
                elif recipe.sources[other].mine or recipe.sources[other].token_file or recipe.sources[other].generate:
                    yield place, BadInput("there is no text of it to mine", given=other, allowed="a source of text")


def _check_circles(recipe: Recipe) -> Iterator[Problem]:
    """Yield blends that are made from themselves."""
    for name in recipe.blends:
        seen, waiting = set[str](), [name]
        while waiting:
            for reference in blend_references(recipe.blends[waiting.pop()]).values():
                if reference == name:
                    yield ("blends", name), BadInput("the blend is made from itself")
                    waiting = []
                    break
                if reference not in seen and reference in recipe.blends:
                    seen.add(reference)
                    waiting.append(reference)


def _check_arms(recipe: Recipe) -> Iterator[Problem]:
    points = recipe.grid_points()
    for arm_id in points.keys() & recipe.arms.keys():
        yield ("grid",), BadInput(f"the grid makes an arm `{arm_id}`, and `arms:` has one too")
    if len(points) < recipe.grid_size():
        yield ("grid",), BadInput("two combinations of the grid have one name")
    for arm_id in points:
        if len(arm_id) > 61 or arm_id == "base":
            yield ("grid",), BadInput("not the name of an arm", given=arm_id, allowed="61 characters, and not `base`")
    for arm_id in recipe.published.arms if recipe.published else ():
        if arm_id not in arms_of(recipe):
            yield ("published", "arms", arm_id), unknown("arm", arm_id, arms_of(recipe))
    for arm_id, (field, arm) in arms_of(recipe).items():
        if arm.seed is not None and recipe.seeds is not None:
            yield (
                tuple(field.split(".")),
                BadInput("`seed:` in an arm and `seeds:` in the study both say which seeds there are", given=arm_id),
            )
    yield from _check_merges(recipe)
    names = list(arms_of(recipe))
    if len(names) * len(recipe.seeds or [0]) > MAX_ARMS:
        number = len(names) * len(recipe.seeds or [0])
        yield ("arms",), BadInput(f"{number:,} runs: arms times seeds", allowed=f"at most {MAX_ARMS:,}")
        return
    if recipe.seeds and len(recipe.seeds) > 1:
        names = [f"{arm_id}-seed-{seed}" for arm_id in names for seed in recipe.seeds]
        clash = sorted(set(names) & set(arms_of(recipe)))
        if clash:
            yield ("arms", clash[0]), BadInput("the name is that of another arm with its seed")


def _check_merges(recipe: Recipe) -> Iterator[Problem]:
    """The names of merges, which are rows beside the base and the arms."""
    taken = {BASE, *recipe.bases, *arms_of(recipe)}
    taken |= {f"{arm_id}-seed-{seed}" for arm_id in arms_of(recipe) for seed in recipe.seeds or []}
    for name in recipe.merges:
        if taken & {name, *(f"{name}-seed-{seed}" for seed in recipe.seeds or [])}:
            yield ("merges", name), BadInput("the name is that of another row", allowed="a name that no arm has")


def _check_evaluation(recipe: Recipe) -> Iterator[Problem]:
    evaluation = recipe.evaluation
    for number, suite in enumerate(evaluation.suites):
        place = ("evaluation", "suites", str(number))
        if is_folder(suite):
            if not SUITE_NAME.fullmatch(suite_name(suite)) or suite_name(suite) in LOCAL_SCORES:
                yield (
                    place,
                    BadInput(
                        "the names of its scores begin with the folder's name", given=suite,
                        allowed=f"letters, digits, `-` and `_`, and not {', '.join(LOCAL_SCORES)}",
                    ),
                )  # fmt: skip
        elif suite not in (QUICKSTART, *SUITES):
            close = did_you_mean(suite, [QUICKSTART, *SUITES])
            allowed = f"{', '.join([QUICKSTART, *SUITES])}, or a folder of lm-eval task files"
            yield place, BadInput(f"no such suite{close}", given=suite, allowed=allowed)
        elif suite in SUITES and runs_code(suite) and not evaluation.run_generated_code:
            yield (
                ("evaluation", "run_generated_code"),
                BadInput(
                    f"the suite `{suite}` has HumanEval, which executes generated code (in a sandbox: "
                    "docs/evaluation.md); the recipe must allow it", given="false", allowed="true",
                ),
            )  # fmt: skip
    if evaluation.metric is not None:
        yield from _check_metric(recipe, evaluation.metric, ("evaluation", "metric"))
    if recipe.halving is not None and recipe.halving.metric is not None:
        yield from _check_metric(recipe, recipe.halving.metric, ("halving", "metric"))
    for field, gate in _gates(recipe):
        yield from _check_metric(recipe, gate.score, (*field, "score"))
        if recipe.halving is not None:
            yield (
                field,
                BadInput(
                    "`halving:` also ends arms early, at the same point of each, and a gate ends a phase at a point of "
                    "its own", allowed="`gate:` or `halving:`, not both",
                ),
            )  # fmt: skip


def _gates(recipe: Recipe) -> Iterator[tuple[Place, GateConfig]]:
    """Yield every gate as it is written, with its field."""
    for name, phase in (recipe.phases or {}).items():
        if phase.gate is not None:
            yield ("phases", name, "gate"), phase.gate
    for field, arm in arms_of(recipe).values():
        for name, patch in arm.phases.items():
            if patch.gate is not None:
                yield (*field.split("."), "phases", name, "gate"), patch.gate


def _check_metric(recipe: Recipe, metric: str, place: Place) -> Iterator[Problem]:
    with_text = {name: one for name, one in recipe.sources_with_text().items() if not one.mine}
    measured = with_text or recipe.sources  # a plan without text
    categories = sorted({source.category for source in measured.values() if source.category})
    known = [*LOCAL_SCORES, *(f"bits_per_byte.{source}" for source in measured)]
    known += [f"bits_per_byte.category.{category}" for category in categories]
    known += [score for suite in recipe.evaluation.named_suites for score in suite_scores(suite)]
    folders = [f"{suite_name(folder)}." for folder in recipe.evaluation.suite_folders]
    if metric not in known and not metric.startswith(tuple(folders)):
        yield place, unknown("score", metric, [*known, *(f"{name}TASK" for name in folders)])
