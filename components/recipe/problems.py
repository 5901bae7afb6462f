"""What pydantic found, as the messages that a person reads."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, RootModel, ValidationError

from switchpoint.components.recipe.base import CheckpointBase, TransformBase
from switchpoint.components.recipe.blend import (
    ByEpochs,
    ByTokens,
    Multipliers,
    Replay,
    Share,
    TierWeight,
)
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.field_docs import field_docs
from switchpoint.components.recipe.model import Model
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.schedule_config import WSD, Constant, Cosine, Infinite, InverseSqrt, Linear, Rewarm

TAGGED: dict[str, type[BaseModel]] = {
    "~tokens": ByTokens, "~multipliers": Multipliers, "~share": Share, "~replay": Replay, "~epochs": ByEpochs,
    "~tier": TierWeight, "~checkpoint_base": CheckpointBase, "~transform_base": TransformBase, "~model": Model,
    "~cosine": Cosine, "~linear": Linear, "~constant": Constant, "~wsd": WSD,
    "~rewarm": Rewarm, "~infinite": Infinite, "~inverse_sqrt": InverseSqrt,
}  # fmt: skip
"""Sections that come in several kinds, by the mark that pydantic puts into an error's path."""
MESSAGES = {
    "dict_type": "must be a mapping, `name: value` on lines of its own",
    "model_type": "must be a mapping, `field: value` on lines of its own",
    "list_type": "must be a list, such as [a, b]",
    "string_type": "must be text",
    "too_short": "holds too few entries: {actual_length}, at least {min_length}",
    "too_long": "holds too many entries: {actual_length}, at most {max_length}",
}
"""Messages that replace pydantic's, which speak of Python, by its type of an error."""
SHOWN_CHARACTERS = 120


def did_you_mean(given: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(given)[:80], list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def unknown(what: str, given: object, known: Iterable[str]) -> BadInput:
    known = list(known)
    return BadInput(
        f"no such {what}{did_you_mean(given, known)}", given=given,
        allowed=", ".join(known[:40]) + (", ..." if len(known) > 40 else ""),
    )  # fmt: skip


def problems_of(error: ValidationError, prefix: Sequence[str] = ()) -> list[tuple[tuple[str, ...], BadInput]]:
    """Return every problem, with the path of the field. Raise nothing."""
    items = error.errors(include_url=False)
    # A shape whose preset is refused lacks the preset's fields, too: one message is enough.
    refused = {item["loc"][:-1] for item in items if item["loc"][-1:] == ("preset",)}
    found = [
        _problem(item, tuple(prefix)) for item in items if item["type"] != "missing" or item["loc"][:-1] not in refused
    ]
    # If a value may be one thing or another, the complaints of the kind that was not meant are left out.
    return [one for one in found if one is not None]


def _problem(item: Any, prefix: tuple[str, ...]) -> tuple[tuple[str, ...], BadInput] | None:
    location = tuple(str(part) for part in item["loc"])
    place = (*prefix, *(part for part in location if not part.startswith("~") and not _is_type(part)))
    if item["type"] == "extra_forbidden":
        known = _known_fields(location, prefix)
        return place, BadInput(f"unknown key{did_you_mean(location[-1], known)}", allowed=", ".join(known))
    if item["type"] == "missing":
        return place, BadInput("is required", allowed=_description(location, prefix))
    if item["type"] == "union_tag_invalid":
        kinds = [tag.strip(" '~") for tag in item["ctx"]["expected_tags"].split(",")]
        kinds = [kind for kind in kinds if kind != "explicit"]
        given = item["ctx"]["tag"].removeprefix("~")
        return place, BadInput(f"no such kind{did_you_mean(given, kinds)}", given=given, allowed=", ".join(kinds))
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if item["type"] in MESSAGES:
        message = MESSAGES[item["type"]].format(**item.get("ctx", {}))
    if item["type"] == "string_pattern_mismatch":
        message = "a name holds letters, digits, `-` and `_`, and begins with a letter or digit"
        if place and place[-1] == "name":
            message = "the study's name holds small letters, digits, `-` and `_` (at most 63)"
    if item["type"] == "literal_error":
        expected = [word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ",").split(",")]
        message = f"no such value{did_you_mean(item['input'], expected)}"
        return place, BadInput(message, given=_shown(item["input"]), allowed=", ".join(expected))
    return place, BadInput(message[:1].lower() + message[1:], given=_shown(item["input"]))


def _is_type(part: str) -> bool:
    """Return whether a part of the path names a type of a union, or a key itself, and no field."""
    return part in ("[key]", "BatchRamp") or part.startswith(("constrained-", "function-", "int", "lax-", "json-"))


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | BaseModel):
        return ""
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _section(location: Sequence[str], prefix: Sequence[str]) -> Any:
    """Return the model to which the last part of a path belongs."""
    section: Any = Recipe
    for part in (*prefix, *location[:-1]):
        if part in TAGGED:
            section = TAGGED[part]
        elif isinstance(section, type) and issubclass(section, RootModel):
            section = section.model_fields["root"].annotation
        elif isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[part].annotation
        models = _models_in(section)
        if len(models) == 1:
            section = models[0]
        elif part == "BatchRamp":
            section = next((model for model in models if model.__name__ == part), section)
    return section


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [model for argument in get_args(annotation) for model in _models_in(argument)]
    return list(dict.fromkeys(found))


def _known_fields(location: Sequence[str], prefix: Sequence[str]) -> list[str]:
    section = _section(location, prefix)
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return []
    return [field.alias or name for name, field in section.model_fields.items()]


def _description(location: Sequence[str], prefix: Sequence[str]) -> str:
    """Return what the field is for, in the first sentence of its documentation."""
    section = _section(location, prefix)
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return ""
    return " ".join(field_docs(section).get(location[-1], "").split())
