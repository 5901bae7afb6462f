"""Weights that sum to 1 as decimals are taken as written; more than a float's rounding is refused."""

from fractions import Fraction
from typing import Any

import pytest

from switchpoint.components.recipe.blend import Explicit
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.load import parse_recipe
from switchpoint.components.recipe.whole import exactly_whole, is_whole, sum_as_written


def as_read(*weights: object) -> list[Fraction]:
    """Return the weights as a recipe's YAML gives them."""
    blend = Explicit.model_validate({f"source-{number}": weight for number, weight in enumerate(weights)})
    return [weight for weight in blend.root.values() if isinstance(weight, Fraction)]


@pytest.mark.parametrize(
    ("weights", "exact"),
    [
        ((0.3, 0.7), ["3/10", "7/10"]),
        ((0.1, 0.2, 0.7), ["1/10", "1/5", "7/10"]),
        ((0.333, 0.333, 0.334), ["333/1000", "333/1000", "334/1000"]),
        ((0.1 + 0.2, 0.7), ["3/10", "7/10"]),  # 0.30000000000000004
        ((1 - 0.9, 0.9), ["1/10", "9/10"]),  # 0.09999999999999998
        ((1 / 3, 1 / 3, 1 / 3), ["1/3", "1/3", "1/3"]),
        (("1/3", "2/3"), ["1/3", "2/3"]),
    ],
)
def test_decimals_are_taken_as_written(weights: tuple[Any, ...], exact: list[str]) -> None:
    read = as_read(*weights)
    assert is_whole(read)
    assert exactly_whole(read) == [Fraction(weight) for weight in exact]


@pytest.mark.parametrize(
    ("weights", "shown"),
    [
        ((0.3333, 0.3333, 0.3333), "0.3333 + 0.3333 + 0.3333 = 0.9999"),
        ((0.3000001, 0.7), "0.3000001 + 0.7 = 1.0000001"),
        ((0.30000001192092896, 0.7), "0.30000001192092896 + 0.7 = 1.00000001192092896"),  # a float of 32 bits
        (("1/3", 0.5), "1/3 + 0.5 = 5/6"),
    ],
)
def test_a_sum_that_is_not_1_is_refused_with_all_its_digits(
    study: dict[str, Any], weights: tuple[Any, ...], shown: str
) -> None:
    assert not is_whole(as_read(*weights))
    assert sum_as_written(as_read(*weights)) == shown
    names = [f"source-{number}" for number in range(len(weights))]
    study["sources"] |= {name: {"tokens": "1B"} for name in names}
    study["blends"]["mixed"] = dict(zip(names, weights, strict=True))
    with pytest.raises(BadInput) as error:
        parse_recipe(study, "recipe.yaml")
    assert shown in str(error.value)
