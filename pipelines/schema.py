"""The recipe's JSON Schema: what editors complete and check recipes by."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from switchpoint.components.recipe.fields import Config

SCHEMA = Path(__file__).parent / "recipes" / "schema.json"
"""The schema's file, which the first line of every recipe that ships names."""


def recipe_schema() -> dict[str, Any]:
    """Return the schema of a recipe as it is written; a catalogue gives what is required otherwise."""
    from switchpoint.components.recipe.catalogue import CATALOGUES, catalogue
    from switchpoint.components.recipe.field_docs import field_docs
    from switchpoint.components.recipe.fields import Config
    from switchpoint.components.recipe.recipe import Recipe

    schema = Recipe.model_json_schema()
    for section in _sections(Config):
        described = schema if section is Recipe else schema["$defs"].get(section.__name__, {})
        for name, text in field_docs(section).items():
            if name in described.get("properties", {}):
                described["properties"][name]["description"] = text
    schema["$defs"]["Explicit"]["properties"] = {"by": False}  # what has it is another form of blend
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Switchpoint recipe"
    given = {name for known in CATALOGUES for name in catalogue(known)["setup"]} | {"sources", "blends"}
    required = schema.pop("required")
    schema["required"] = [name for name in required if name not in given]
    schema["anyOf"] = [{"required": ["catalogue"]}, {"required": [name for name in required if name in given]}]
    return schema


def _sections(section: type["Config"]) -> list[type["Config"]]:
    return [one for child in section.__subclasses__() for one in (child, *_sections(child))]
