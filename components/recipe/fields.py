"""The types of a recipe's fields. Every section is frozen and refuses keys that it does not know."""

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

MAX_EXACT_INT = 2**53
"""KFP hands integers on as floats."""

_DECIMAL = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?")
_FRACTION = re.compile(r"\d{1,20}/\d{1,20}")
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def _exact(value: Any, what: str) -> Fraction:
    """Return a number exactly as written: 0.7 is 7/10, "1/3" a third. Its length is bounded, so that none takes
    long.
    """
    text = str(value).strip().replace("_", "")
    if not isinstance(value, bool) and isinstance(value, int | float | str | Fraction):
        if _DECIMAL.fullmatch(text):
            return Fraction(Decimal(text))
        if _FRACTION.fullmatch(text) and int(text.split("/")[1]):
            return Fraction(text)
    raise ValueError(f"{what} is a number such as 0.7 or a fraction such as 1/3")


def _exact_between(what: str, low: int, high: int | None, low_included: bool) -> Callable[[Any], Fraction]:
    def read(value: Any) -> Fraction:
        number = _exact(value, what)
        if number < low or (number == low and not low_included) or (high is not None and number > high):
            least = f"at least {low}" if low_included else f"above {low}"
            raise ValueError(f"{what} lies {least}" + (f" and at most at {high}" if high is not None else ""))
        return number

    return read


def _exact_number(what: str, low: int = 0, high: int | None = None, low_included: bool = False) -> Any:
    schema = {"anyOf": [{"type": "number"}, {"type": "string"}], "description": f"{what}: 0.7, or a fraction, 1/3"}
    return Annotated[
        Fraction,
        BeforeValidator(_exact_between(what, low, high, low_included)),
        PlainSerializer(str),
        WithJsonSchema(schema),
    ]


def read_tokens(value: Any) -> Any:
    """Return a whole number of tokens, also as `300B`, `1.5T`, `250e9`."""
    if isinstance(value, str):
        text = value.strip().replace("_", "")
        unit = _UNITS.get(text[-1:], 1)
        number = text[:-1] if unit > 1 else text
        if _DECIMAL.fullmatch(number):
            tokens = Fraction(Decimal(number)) * unit
            if tokens.denominator == 1:
                return int(tokens)
        raise ValueError("tokens are a whole number, also written as 300B, 1.5T or 250e9")
    return value


_TOKENS_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9_.]+([eE][0-9]+)?[KMBT]?$"}],
    "description": "Tokens: a whole number, also 300B, 1.5T, 250e9.",
}

Weight = _exact_number("a weight", 0, 1)
Multiplier = _exact_number("a multiplier", 0, 10**6, low_included=True)
Epochs = _exact_number("a number of epochs", 0, 10**6)
Fraction01 = _exact_number("a fraction of the run", 0, 1, low_included=True)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")]
"""The name of a source, blend, phase or arm: it becomes a file, metric and parameter name."""
Tokens = Annotated[int, BeforeValidator(read_tokens), Field(gt=0, le=MAX_EXACT_INT), WithJsonSchema(_TOKENS_SCHEMA)]
TokensOrNone = Annotated[
    int, BeforeValidator(read_tokens), Field(ge=0, le=MAX_EXACT_INT), WithJsonSchema(_TOKENS_SCHEMA)
]
"""Tokens that may be 0."""
LearningRate = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_EXACT_INT)]
Count = Annotated[int, Field(gt=0, le=10**9)]
BatchSize = Annotated[int, Field(gt=0, le=1_000_000)]
SequenceLength = Annotated[int, Field(ge=8, le=16_777_216)]


def one_of(section: Config, *names: str) -> str:
    """Return the one of `names` that is given. Raise ValueError if none or more than one is."""
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        shown = " or ".join(f"`{name}:`" for name in names)
        raise ValueError(f"give one of {shown}" + (f", not {' and '.join(given)}" if given else ""))
    return given[0]


def at_most_one_of(section: Config, *names: str) -> str | None:
    """Return the one of `names` that is given, or None. Raise ValueError if more than one is."""
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give {' or '.join(f'`{name}:`' for name in names)}, not both")
    return given[0] if given else None
