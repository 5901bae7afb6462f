"""The answer to the study's question in a line, and the differences that it rests on."""

from collections.abc import Sequence

from switchpoint.components.evaluate.results import NOT_RUN, Row
from switchpoint.components.recipe.base import BASE
from switchpoint.components.report.comparison import Comparison
from switchpoint.components.report.statistics import Interval
from switchpoint.components.report.table import title

DISTINGUISHABLE, NOT_DISTINGUISHABLE = "distinguishable", "not distinguishable"


def verdict(comparison: Comparison | None, found: Sequence[Row]) -> str:
    """Return one or two sentences: which arm is best, from which it cannot be told, and what the noise covers."""
    failed = [row.name for row in found if row.failure and row.failure != NOT_RUN]
    missing = f" {len(failed)} of {len(found)} rows failed: {_few(failed)}." if failed else ""
    at_gates = [row.name for row in found if row.arm and row.arm.ended_at_gate]
    if at_gates:
        missing += f" {len(at_gates)} of {len(found)} rows ended at a gate and are not compared: {_few(at_gates)}."
    if comparison is None:
        return f"No arm that came to its end has a score.{missing}" if at_gates else f"No arm has a score.{missing}"
    name = title(comparison.metric)
    which = "highest" if comparison.higher_is_better else "lowest"
    others = [one for one in comparison.against if one.first != comparison.base]
    if not others:
        return (
            f"{comparison.best} has {name} {comparison.value:.3f}; there is no other arm to compare it with.{missing}"
        )
    nearest = others[0]
    said = f"{comparison.best} has the {which} {name}, {comparison.value:.3f}"
    if not comparison.undecided:
        said += f": better than every other arm (the nearest, {nearest.first}, by {abs(nearest.value):.3f})."
    elif len(comparison.undecided) == len(others):
        said += f", but it is {NOT_DISTINGUISHABLE} from any other arm."
    else:
        told = [one.first for one in others if one.is_distinguishable]
        said += f". It is better than {_few(told)}, and {NOT_DISTINGUISHABLE} from {_few(comparison.undecided)}."
    said += _against_base(comparison)
    return said + _paired(comparison) + missing


def _paired(comparison: Comparison) -> str:
    """Return how many seeds pair the arms, and where there are too few."""
    fewest, most = comparison.num_seeds
    if fewest == most > 1:
        return f" Differences are paired by {most} seeds."
    if fewest == most == 1:
        return " With one seed per arm, the noise between seeds is not covered."
    if not most:
        return " Arms share no seed: the noise between seeds is not covered."
    said = f" Differences are paired by {fewest} to {most} seeds"
    if fewest < 2:
        said += ", and where two arms share fewer than 2 the noise between seeds is not covered"
    shared = comparison.num_shared_seeds
    by = f"the {shared} that all have" if shared else "each arm's own, since all have none in common"
    return f"{said}; which arm is best goes by {by}."


def _against_base(comparison: Comparison) -> str:
    """Return whether continued training helped at all, which is the first thing to know."""
    for one in comparison.against:
        if one.first == comparison.base:
            base = "the base" if one.first == BASE else f"its base, {one.first},"
            better = (one.value > 0) == comparison.higher_is_better
            if not one.is_distinguishable:
                return f" It is {NOT_DISTINGUISHABLE} from {base}."
            return f" It is {'better' if better else 'WORSE'} than {base} by {abs(one.value):.3f}."
    return ""


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def difference_table(comparison: Comparison) -> list[list[str]]:
    """Return the best arm minus every other; the first line is the header."""
    lines = [
        [
            f"{comparison.best} minus", title(comparison.metric), "95% over seeds", "95% over examples",
            "p (Holm)", "",
        ]
    ]  # fmt: skip
    for one in comparison.against:
        p = "< 0.001" if one.adjusted_p < 0.001 else f"{one.adjusted_p:.3f}"
        lines.append(
            [
                one.first, _signed(one.value), _interval(one.over_seeds), _interval(one.over_examples), p,
                DISTINGUISHABLE if one.is_distinguishable else NOT_DISTINGUISHABLE,
            ]
        )  # fmt: skip
    return lines


def _interval(interval: Interval | None) -> str:
    return "not covered" if interval is None else f"{_signed(interval.low)} to {_signed(interval.high)}"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"


def difference_note(comparison: Comparison) -> str:
    return (
        "Seeds: t interval over paired per-seed differences. Examples: bootstrap over the same held-out documents and "
        f"questions. p is the larger of the two, each by Holm over all {comparison.num_pairs} pairs, since which arm "
        f"is best was not known before; below 0.05 two arms are {DISTINGUISHABLE}. The intervals are of each pair by "
        "itself: they are not corrected for the number of pairs, so one may leave out 0 where p is not below 0.05."
    )
