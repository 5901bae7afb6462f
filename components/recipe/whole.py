"""Weights that sum to 1: exactly, or but for the rounding of a program that computed them as floats."""

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

FLOAT_DIGITS = 15
"""The digits of a decimal that a float keeps; those after them are rounding."""
SHOWN_DIGITS = 60


def is_whole(weights: Sequence[Fraction]) -> bool:
    """Return whether weights sum to 1, but for the last binary digit of each: programs write 0.30000000000000004 for
    0.3.
    """
    return abs(sum(weights, Fraction(0)) - 1) <= len(weights) * Fraction(1, 2**52)


def exactly_whole(weights: Sequence[Fraction]) -> list[Fraction]:
    """Return weights that sum to exactly 1: as written if they do; else the decimals that were rounded if those do;
    else the weights brought to 1.
    """
    if sum(weights) == 1:
        return list(weights)
    decimals = [Fraction(_decimal(weight, FLOAT_DIGITS)) for weight in weights]
    if sum(decimals) == 1:
        return decimals
    return [weight / sum(weights) for weight in weights]


def sum_as_written(weights: Sequence[Fraction]) -> str:
    """Return the sum with all digits, so that what is short of 1 is seen: `0.3333 + 0.6666 = 0.9999`."""
    return f"{' + '.join(map(_as_written, weights))} = {_as_written(sum(weights, Fraction(0)))}"


def _as_written(number: Fraction) -> str:
    decimal = _decimal(number, SHOWN_DIGITS)
    return f"{decimal.normalize():f}" if Fraction(decimal) == number else str(number)


def _decimal(number: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(number.numerator), Decimal(number.denominator))
