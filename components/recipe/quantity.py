"""Quantities of Kubernetes in a recipe: CPUs, to the millicore."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

MAX_CPUS = 1_000_000
_CPUS = re.compile(r"(\d{1,12}(\.\d{0,12})?|\.\d{1,12})(e-?\d{1,2})?")
_MILLICORES = re.compile(r"(\d{1,12}(\.\d{0,12})?)m")
ALLOWED = f"a number of CPUs such as 96 or 0.5, or millicores such as 500m: whole millicores, 1m to {MAX_CPUS} CPUs"


def read_cpus(value: Any) -> float:
    """Return the CPUs of a Kubernetes quantity (96, 0.5, "500m"), a whole number of millicores. Raise ValueError."""
    text = str(value).strip()
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        if _CPUS.fullmatch(text):
            millicores = Decimal(text) * 1000
        elif _MILLICORES.fullmatch(text):
            millicores = Decimal(text.removesuffix("m"))
        else:
            raise ValueError(f"{text!r} is not {ALLOWED}")
        if 1 <= millicores <= MAX_CPUS * 1000 and millicores == millicores.to_integral_value():
            return float(millicores / 1000)
    raise ValueError(f"{text} is not {ALLOWED}")


Cpus = Annotated[
    float,
    BeforeValidator(read_cpus),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0.001, "maximum": MAX_CPUS},
                {"type": "string", "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)m?$"},
            ],
        }
    ),
]
"""CPUs of a pod, as Kubernetes takes them: 1m is its smallest amount."""
