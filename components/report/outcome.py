"""Which arms of a study failed, and why: what the last task of the DAG fails with."""

from collections.abc import Iterable
from dataclasses import dataclass

from switchpoint.components.evaluate.results import Row, rows
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.store.store import Store


class StudyFailed(RuntimeError):
    """Some arms of the study have no scores."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A row of the report without scores, or an arm's checkpoint without them."""

    name: str
    reason: str
    log: str

    @property
    def line(self) -> str:
        """The reason in one line."""
        return one_line(self.reason)


def one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines())


def failures_of(plan: Plan, store: Store) -> list[Failure]:
    """Return what has no scores, in the report's order. Arms that halving stopped do not count."""
    return failures_in(rows(plan, store))


def failures_in(rows: Iterable[Row]) -> list[Failure]:
    """Return the same of rows that were read already."""
    found = []
    for row in rows:
        if row.stopped:
            continue
        if row.failure:
            found.append(Failure(name=row.name, reason=row.failure, log=row.log))
        found += [
            Failure(name=f"{row.name} at step {step}", reason=reason, log=log)
            for step, (reason, log) in row.checkpoint_failures.items()
        ]
    return found


def check_outcome(plan: Plan, store: Store) -> None:
    """Raise StudyFailed with a line for each failure; print a line where there is none."""
    failed = failures_of(plan, store)
    if failed:
        lines = [f"{one.name}: {one.line}" + (f" (log: {one.log})" if one.log else "") for one in failed]
        raise StudyFailed("\n  ".join([f"{len(failed)} of the study's models have no scores:", *lines]))
    bases = "the base" if len(plan.bases) == 1 else f"{len(plan.bases)} bases"
    print(f"all {len(plan.arms)} arms and {bases} have their scores")
