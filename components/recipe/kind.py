"""The kinds of outputs: one table with all that the code must know of a kind (law 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from switchpoint.components.recipe.digest import Identity


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of output: a folder of the store, in which each output has the folder of its digest."""

    format: int
    """Raised by hand when the code writes another output for the same configuration."""
    label: str
    """What people read."""
    changes: bool = False
    """Whether an output grows, or is written again, after it was first recorded: its record is read each time."""
    is_whole: bool = True
    """Whether it is read as a whole. Of others each file is fetched when it is needed."""
    is_trained: bool = False
    """Whether a trainer writes it: it has metrics, a status, checkpoints and models."""


KINDS: Mapping[str, Kind] = {
    "text": Kind(format=2, label="text"),
    "mined": Kind(format=1, label="mined text"),
    "tokenizer": Kind(format=2, label="tokenizer"),
    "scorer": Kind(format=1, label="scorer"),
    "duplicates": Kind(format=1, label="duplicates"),
    "contamination": Kind(format=1, label="evaluation sets"),
    "shard": Kind(format=1, label="shard", is_whole=False),
    "tokens": Kind(format=2, label="tokens"),
    "blend": Kind(format=3, label="blend"),
    "base": Kind(format=5, label="base", changes=True, is_whole=False, is_trained=True),
    "phase": Kind(format=6, label="phase", changes=True, is_whole=False, is_trained=True),
    "transform": Kind(format=1, label="transform"),
    "merge": Kind(format=1, label="merge"),
    "model": Kind(format=3, label="model"),
    "evaluation": Kind(format=2, label="evaluation"),
    "probes": Kind(format=1, label="probes"),
    "report": Kind(format=5, label="report", changes=True, is_whole=False),
}


def identity_of(kind: str, config: Mapping[str, Any], inputs: Mapping[str, Identity] | None = None) -> Identity:
    """Return the identity of an output with its kind's format."""
    return Identity(kind=kind, format=KINDS[kind].format, config=config, inputs=inputs or {})
