"""What each arm forgot, and the gap after its start and its switches: tables from the continual evaluation."""

from collections.abc import Mapping, Sequence

from switchpoint.components.evaluate.continual import WINDOWS, StabilityGap, Summary
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.report.statistics import mean_interval


def gap_table(plan: Plan, summaries: Mapping[str, Summary]) -> list[list[str]]:
    """Return the gaps by arm, means over its seeds; `summaries` by run name. The first line is the header; empty where
    there are none.

    The start is the switch from the base's data.
    """
    lines = []
    for arms in _by_arm_id(plan, summaries).values():
        phases = arms[0].phases
        names = ["the start", *(f"to {phase.name}" for phase in phases[1:])]
        steps = [0, *(phase.end_step for phase in phases[:-1])]
        for name, step in zip(names, steps, strict=True):
            gaps = [(arm, gap) for arm in arms for gap in summaries[arm.run_name].gaps if gap.step == step]
            if gaps:
                depth = _mean([gap.depth for _, gap in gaps], _seeds(plan, arms[0].arm_id), digits=4)
                lines.append([arms[0].arm_id, name, f"{arms[0].clock.tokens_at(step):,}", depth, _recovered(gaps)])
    header = ["arm", "switch", "at token", "depth (bits/byte)", "tokens to recover"]
    return [header, *lines] if lines else []


def _recovered(gaps: Sequence[tuple[ArmPlan, StabilityGap]]) -> str:
    """Return one answer if the seeds agree; otherwise each answer with how many seeds gave it."""
    without = sum(gap.depth == 0 for _, gap in gaps)
    tokens = [
        arm.clock.tokens_at(gap.recovered_step) - arm.clock.tokens_at(gap.step)
        for arm, gap in gaps
        if gap.depth > 0 and gap.recovered_step is not None
    ]
    never = len(gaps) - without - len(tokens)
    answers = [("no gap", without), ("not by the end", never)]
    answers[1:1] = [(f"{sum(tokens) / len(tokens):,.0f}", len(tokens))] if tokens else []
    said = [(answer, number) for answer, number in answers if number]
    if len(said) == 1:
        return said[0][0]
    return ", ".join(f"{answer} ({number} of {len(gaps)})" for answer, number in said)


def forgetting_table(plan: Plan, summaries: Mapping[str, Summary]) -> list[list[str]]:
    """Return forgetting by arm, means over its seeds, in %. The first line is the header; empty if there are none."""
    lines = []
    for arm_id, arms in _by_arm_id(plan, summaries).items():
        of_seeds = [summaries[arm.run_name] for arm in arms]
        values = [[getattr(one, name) for one in of_seeds] for name in ("min_acc", "wc_acc", "forgetting")]
        for window in WINDOWS:
            values += [[one.windowed.get(window, (None, None))[which] for one in of_seeds] for which in (0, 1)]
        cells = [_percent(of_score, _seeds(plan, arm_id)) for of_score in values]
        if of_seeds[0].num_tasks == 1:  # there is nothing else to forget it for
            cells[0] = cells[2] = ONE_TASK
        lines.append([arm_id, *cells])
    windows = [f"{name}{window}" for window in WINDOWS for name in ("WF", "WP")]
    return [["arm", "min-ACC", "WC-ACC", "forgetting", *windows], *lines] if lines else []


def _by_arm_id(plan: Plan, summaries: Mapping[str, Summary]) -> dict[str, list[ArmPlan]]:
    found: dict[str, list[ArmPlan]] = {}
    for arm in plan.arms:
        if arm.run_name in summaries:
            found.setdefault(arm.arm_id, []).append(arm)
    return found


def _seeds(plan: Plan, arm_id: str) -> int:
    return sum(arm.arm_id == arm_id for arm in plan.arms)


def _percent(values: Sequence[float | None], seeds: int) -> str:
    return _mean([100 * value for value in values if value is not None], seeds, digits=2)


def _mean(values: Sequence[float], seeds: int, digits: int) -> str:
    """Return mean and 95% t interval over those of the arm's `seeds` that have a value."""
    if not values:
        return "not evaluated"
    mean, half = mean_interval(values)
    dropped = f" ({len(values)} of {seeds} seeds)" if len(values) < seeds else ""
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "") + dropped


ONE_TASK = "one task"
NOTE = (
    "Held-out text was read while the runs trained; ± is a 95% t interval over seeds. The gap is the first time after "
    "the switch that the bits per byte of all that was known before rose above those at the switch, until they were "
    "back; depth is the worst within it. min-ACC, WC-ACC, forgetting and the largest fall (WF) and rise (WP) within 10 "
    "and 100 evaluations are defined in arXiv 2205.13452, here on next-token accuracy in %; a task is what the base or "
    "a phase was the first to draw. Larger min-ACC and WC-ACC are better, smaller forgetting and WF. min-ACC, WC-ACC, "
    "WF and WP are over the evaluations that all arms share, so that they are comparable; the gap also over the dense "
    "ones after each arm's own switch."
)
