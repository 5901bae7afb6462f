"""What must fit together between bases and the arms that start from them."""

from collections.abc import Iterator, Mapping
from typing import Any

from switchpoint.components.recipe.arm import arms_of
from switchpoint.components.recipe.base import BASE, CheckpointBase
from switchpoint.components.recipe.bases import parent_of
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.model import Model
from switchpoint.components.recipe.phase import Arm
from switchpoint.components.recipe.problems import unknown
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.source import origin_of
from switchpoint.components.recipe.yaml_file import mapping

Place = tuple[str, ...]
Problem = tuple[Place, BadInput]


def check_base_names(study: dict[str, Any]) -> list[Problem]:
    """Return names of bases that nothing has, on plain data: found beside whatever else is wrong."""
    bases = mapping(study, "bases")
    known = [BASE, *map(str, bases)]
    return [
        (place, unknown("base", name, known))
        for place, name in (*_base_names(study, bases), *_generating_names(study))
        if isinstance(name, str) and name not in known
    ]


def _base_names(study: dict[str, Any], bases: Mapping[Any, Any]) -> Iterator[tuple[Place, Any]]:
    """Every field that names a base, with what it gives."""
    arms = mapping(study, "arms")
    for arm_id in arms:
        yield ("arms", str(arm_id), "base"), mapping(arms, arm_id).get("base")
    for name, value in mapping(mapping(study, "grid"), "base").items():
        yield ("grid", "base", str(name)), value
    for name in bases:
        base = mapping(bases, name)
        yield ("bases", str(name), "of"), base.get("of")
        yield ("bases", str(name), "transform", "of"), mapping(base, "transform").get("of")


def _generating_names(study: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every field that names the base which generates a source, with what it gives."""
    sources = mapping(study, "sources")
    for name in sources:
        place = ("sources", str(name), "generate", "from")
        yield place, mapping(mapping(sources, name), "generate").get("from")


def check_bases(recipe: Recipe) -> list[Problem]:
    """Return what a well-formed recipe can still get wrong about its bases."""
    problems = [*_check_made_of(recipe), *_check_row_names(recipe)]
    # Where a base comes from is only known of those that are not made of themselves.
    return problems or [
        *_check_starts(recipe), *_check_tokenizer(recipe), *_check_rates(recipe), *_check_generated(recipe),
    ]  # fmt: skip


def _check_made_of(recipe: Recipe) -> Iterator[Problem]:
    """A base that is made of itself, or a checkpoint of what is not pretrained."""
    for name, config in recipe.bases.items():
        place = ("bases", name, "transform", "of") if not isinstance(config, CheckpointBase) else ("bases", name, "of")
        seen = [name]
        while (parent := parent_of(recipe.bases[seen[-1]]) if seen[-1] in recipe.bases else None) not in (None, *seen):
            assert parent is not None
            seen.append(parent)
        if parent == name:
            yield place, BadInput("the base is made of itself", given=" of ".join([*seen, name]))
        elif isinstance(config, CheckpointBase):
            model = recipe.bases.get(config.of, recipe.model)
            if not isinstance(model, Model) or model.pretraining is None:
                pretrained = [base for base, one in recipe.base_models().items() if one.pretraining is not None]
                yield (
                    place,
                    BadInput(
                        "a checkpoint is one of a pretraining, and this base has none of its own", given=config.of,
                        allowed=", ".join(pretrained) or "a base with `architecture:` and `pretrain:`",
                    ),
                )  # fmt: skip


def _check_row_names(recipe: Recipe) -> Iterator[Problem]:
    """The names of bases, which are rows beside the arms."""
    arms = arms_of(recipe)
    taken = {*arms, *(f"{arm_id}-seed-{seed}" for arm_id in arms for seed in recipe.seeds or [])}
    for name in recipe.bases:
        if name in taken:
            yield ("bases", name), BadInput("the name is that of another row", allowed="a name that no arm has")


def _check_tokenizer(recipe: Recipe) -> Iterator[Problem]:
    folder = next((one.folder for one in recipe.base_models().values() if one.folder), None)
    if folder and recipe.tokenizer.folder is None:
        problem = "a base from a folder needs its own tokenizer"
        yield ("tokenizer", "folder"), BadInput(problem, allowed=f"for example {folder}")


def _origin(recipe: Recipe, name: str) -> tuple[Model, bool]:
    """Return the model that a base's weights first came from, and whether it is one of its pretraining's own."""
    config, is_own = recipe.bases.get(name, recipe.model), True
    while not isinstance(config, Model):
        is_own = is_own and isinstance(config, CheckpointBase)
        config = recipe.bases.get(parent_of(config) or BASE, recipe.model)
    return config, is_own


def _check_starts(recipe: Recipe) -> Iterator[Problem]:
    """The optimizer's state is there of pretrainings, and neither in a folder nor after a transform."""

    def problem(name: str, start: str) -> BadInput | None:
        origin, is_own = _origin(recipe, name)
        if start != "new_schedule" or (is_own and origin.folder is None):
            return None
        has = "a folder has only weights" if is_own else f"{name} is a transform, which has only weights"
        return BadInput(f"it needs the base's optimizer state, and {has}", given=start, allowed="fresh")

    found: dict[Place, BadInput | None] = {("start",): problem(BASE, recipe.start)}
    for place, arm in _arms(recipe):
        if arm.start is not None or arm.base is not None:
            where = (*place, "start" if arm.start is not None else "base") if place[0] == "arms" else place
            found[where] = problem(arm.base or BASE, arm.start or recipe.start)
            if (refused := found[where]) is not None and arm.start is None:
                found[where] = BadInput(
                    f"the recipe's `start: new_schedule`: {refused.problem}", given=arm.base,
                    allowed="`start: fresh` in the arm, or in the recipe",
                )  # fmt: skip
    yield from ((place, refused) for place, refused in found.items() if refused is not None)


def _check_rates(recipe: Recipe) -> Iterator[Problem]:
    """Report schedules that start at the minimum learning rate of a folder, which is not known."""
    schedules: dict[Place, Any] = {}
    first = next(iter(recipe.phases or {}), None)
    of_first = recipe.phases[first].schedule if recipe.phases and first else None
    of_recipe: Place = ("phases", str(first), "schedule") if of_first is not None else ("schedule",)
    if recipe.model.folder:
        schedules[("schedule",)] = recipe.schedule
        schedules[of_recipe] = of_first or recipe.schedule
    for place, arm in _arms(recipe):
        if _origin(recipe, arm.base or BASE)[0].folder is None:
            continue
        if arm.schedule is not None:
            schedules[(*place, "schedule") if place[0] == "arms" else place] = arm.schedule
        else:
            schedules[of_recipe] = of_first or recipe.schedule
    for place, schedule in schedules.items():
        if schedule.max_learning_rate is None:
            yield (
                (*place, "max_learning_rate"),
                BadInput(
                    "a Hugging Face folder does not tell the minimum learning rate it was pretrained to",
                    allowed="a number such as 4.5e-5",
                ),
            )


def _check_generated(recipe: Recipe) -> Iterator[Problem]:
    """Sources that are generated from a base without weights, or are the same text as another one."""
    twins: dict[str, str] = {}
    for name, source in recipe.generated_sources().items():
        config, place = source.generate, ("sources", name, "generate")
        if config is None:
            continue
        if _origin(recipe, config.from_)[0].published is not None:
            having = [base for base in (BASE, *recipe.bases) if _origin(recipe, base)[0].published is None]
            yield (
                (*place, "from"),
                BadInput(
                    "the study has no model of this base to generate with: its weights are published and not at hand",
                    given=config.from_,
                    allowed=", ".join(having) or "a base with `folder:`, its weights, or `pretrain:`",
                ),
            )  # fmt: skip
        twin = twins.setdefault(origin_of(source), name)
        if twin != name:
            yield (
                place,
                BadInput(
                    "two sources on the same text: it would be drawn twice in an epoch",
                    given=f"the same as sources.{twin}", allowed="another `seed:`, or one source with a higher weight",
                ),
            )  # fmt: skip


def _arms(recipe: Recipe) -> Iterator[tuple[Place, Arm]]:
    """Every arm with where it is written."""
    for field, arm in arms_of(recipe).values():
        yield tuple(field.split(".")), arm
