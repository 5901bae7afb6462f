"""A recipe from its YAML file, or a message that says what is wrong with it."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.recipe.errors import BadInput
from components.recipe.recipe import Config, Recipe

ORDERED_FIELDS = ("sources", "arms")


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that gives a key twice: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key `{key}` is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_study(path: Path) -> dict[str, Any]:
    """The study as plain data, its relative paths made absolute: the pipeline's parameter.

    Raises BadInput where the file cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the recipe cannot be read: {error}", file=str(path)) from None
    try:
        study = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {' '.join(str(error).split())}", file=str(path)) from None
    if not isinstance(study, dict):
        raise BadInput("a recipe is a mapping of fields", file=str(path), given=type(study).__name__)
    for section in (*_children(study, "sources"), study.get("tokenizer"), study.get("model")):
        if isinstance(section, dict) and isinstance(section.get("folder"), str):
            section["folder"] = str((path.parent / Path(section["folder"]).expanduser()).resolve())
    # KFP keeps the order of lists but not of mappings, and a table shows its arms in the recipe's order.
    for field in ORDERED_FIELDS:
        if isinstance(study.get(field), dict):
            study[field] = [{name: value} for name, value in study[field].items()]
    return study


def _children(study: dict[str, Any], field: str) -> list[Any]:
    section = study.get(field)
    return list(section.values()) if isinstance(section, dict) else []


def _with_mappings(study: dict[str, Any]) -> dict[str, Any]:
    """The study with its ordered lists turned back into mappings."""
    mappings = {
        field: {name: value for item in study[field] for name, value in item.items()}
        for field in ORDERED_FIELDS
        if isinstance(study.get(field), list) and all(isinstance(item, dict) for item in study[field])
    }
    return study | mappings


def parse_recipe(study: dict[str, Any], file: str) -> Recipe:
    """The recipe that `study` describes. `file` is only named in messages. Raises BadInput."""
    try:
        recipe = Recipe.model_validate(_with_mappings(study))
    except ValidationError as error:
        raise BadInput("\n".join(_problem(file, item) for item in error.errors())) from None
    _check_blends(recipe, file)
    return recipe


def _problem(file: str, item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(item["loc"][-1]), _known_fields(item["loc"]), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        return str(
            BadInput(f"unknown key{hint}", file=file, field=field, allowed=", ".join(_known_fields(item["loc"])))
        )
    if item["type"] == "missing":
        return str(BadInput("is required", file=file, field=field))
    message = item["msg"].removeprefix("Value error, ")
    given = item["input"] if not isinstance(item["input"], dict | list) else ""
    return str(BadInput(message, file=file, field=field, given=given))


def _known_fields(location: tuple[Any, ...]) -> list[str]:
    """The fields of the section in which an unknown key was met."""
    section: Any = Recipe
    for part in location[:-1]:
        if isinstance(section, type) and issubclass(section, Config) and part in section.model_fields:
            section = section.model_fields[str(part)].annotation
        found = _config_in(section)
        section = found if found is not None else section
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, Config) else []


def _config_in(annotation: Any) -> type[Config] | None:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _config_in(argument)
        if found is not None:
            return found
    return None


def _check_blends(recipe: Recipe, file: str) -> None:
    for name, weights in recipe.blends.items():
        if not weights:
            raise BadInput("a blend names at least one source", file=file, field=f"blends.{name}")
        for source in weights:
            if source not in recipe.sources:
                raise BadInput(
                    "no such source", file=file, field=f"blends.{name}.{source}", given=source,
                    allowed=", ".join(recipe.sources),
                )  # fmt: skip
        total = sum(weights.values())
        if total != 1:
            raise BadInput(
                "the weights must sum to 1", file=file, field=f"blends.{name}",
                given=" + ".join(f"{float(weight):g}" for weight in weights.values()) + f" = {float(total):g}",
                allowed="1 exactly (fractions such as 1/3 may be used)",
            )  # fmt: skip
    for field, blend in recipe.blend_names().items():
        if blend not in recipe.blends:
            raise BadInput("no such blend", file=file, field=field, given=blend, allowed=", ".join(recipe.blends))
    if recipe.model.folder and recipe.tokenizer.folder is None:
        raise BadInput(
            "a base from a folder needs its own tokenizer", file=file, field="tokenizer.folder",
            allowed=f"for example {recipe.model.folder}",
        )  # fmt: skip
    if recipe.model.folder:
        schedules = {"schedule": recipe.schedule} | {
            f"arms.{arm_id}.schedule": arm.schedule for arm_id, arm in recipe.arms.items() if arm.schedule
        }
        for field, schedule in schedules.items():
            if schedule.max_learning_rate is None:
                raise BadInput(
                    "a Hugging Face folder does not tell the minimum learning rate it was pretrained to",
                    file=file, field=f"{field}.max_learning_rate", allowed="a number such as 4.5e-5",
                )  # fmt: skip
