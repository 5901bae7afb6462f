"""Content addresses: what decides an output, and the digest of it (law 6)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any


def canonical(value: Any) -> Any:
    """Return `value` as JSON that is the same for equal values; refuse what has no one form (TypeError)."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        # KFP hands every number of a dict over as a float: 4 and 4.0 must be one value.
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"only text keys have a canonical form, not {list(value)}")
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")


def digest_of(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `value`'s canonical JSON."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that decides an output, and nothing that does not. `kind` and `format` are those of `KINDS`."""

    kind: str
    format: int
    config: Mapping[str, Any]
    inputs: Mapping[str, "Identity"] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        inputs = {name: identity.digest for name, identity in self.inputs.items()}
        return digest_of({"kind": self.kind, "format": self.format, "config": self.config, "inputs": inputs})

    @property
    def path(self) -> str:
        """The output's path in the store."""
        return f"{self.kind}/{self.digest}"

    def fields(self, prefix: str = "") -> dict[str, Any]:
        """Return every deciding field, inputs included, by its dotted name: what two records are compared by."""
        found: dict[str, Any] = {f"{prefix}format": self.format}
        for name, value in _leaves(canonical(self.config)):
            found[prefix + name] = value
        for name, identity in self.inputs.items():
            found |= identity.fields(f"{prefix}{name}.")
        return found


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{name}.{key}" if name else key)]
    return [(name, value)]
