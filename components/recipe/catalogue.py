"""Sources, blends and bases known by name: what the papers printed, as recipes write it."""

import copy
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CATALOGUES = ("paper",)
"""`paper`: arXiv 2407.07263."""


@cache
def _read(name: str) -> dict[str, Any]:
    path = Path(__file__).parent / "catalogues" / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for weights in found["blends"].values():
        _split_multilingual(weights, found["sources"])
    return found


def _split_multilingual(weights: dict[str, Any], sources: dict[str, Any]) -> None:
    """Split the one bar of a category over its sources in proportion to their tokens."""
    parts = {name: source for name, source in sources.items() if source["category"] == "multilingual"}
    whole = Fraction(str(weights.pop("multilingual", 0)))
    total = sum(int(source["tokens"][:-1]) for source in parts.values())
    for name, source in parts.items():
        if whole:
            weights[name] = str(whole * int(source["tokens"][:-1]) / total)


def catalogue(name: str) -> dict[str, Any]:
    """Return setup (the published base, its geometry and evaluation), sources, blends and their titles.

    Plain data of the caller's own. Raise KeyError.
    """
    if name not in CATALOGUES:
        raise KeyError(name)
    return copy.deepcopy(_read(name))


def with_catalogue(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study with its catalogue's setup, sources and blends below its own; unchanged if it names none."""
    if not isinstance(study.get("catalogue"), str) or study["catalogue"] not in CATALOGUES:
        return study
    known = catalogue(study["catalogue"])
    changed = known["setup"] | study
    for section in ("sources", "blends"):
        own = study.get(section, {})
        changed[section] = known[section] | own if isinstance(own, dict) else own
    return changed


def blend_named(title: str, name: str = "paper") -> str:
    """Return the catalogue's blend of this title or name, as the paper prints it or a recipe writes it. Raise
    KeyError.
    """
    known = _read(name)
    wanted = title.strip().casefold()
    for blend, printed in known["titles"].items():
        if wanted in (blend.casefold(), printed.casefold(), printed.split(" (")[0].casefold()):
            return str(blend)
    raise KeyError(title)
