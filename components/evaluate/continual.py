"""What a series of evaluations says about forgetting (arXiv 2205.13452), and about the gap after a switch. Pure.

A learning task is what the base or a phase brought: the sources that it was the first to draw. Task i is learnt by
step t_i, where that phase ends (the base's: 0). A(E_i, f_n) is the accuracy at step n on held-out text of task i: the
mean of its sources' next-token accuracies.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.recipe.plan import ArmPlan, Plan
from components.recipe.source import split_key

WINDOWS = (10, 100)
"""Of WF and WP: evaluations."""
Series = Mapping[int, float]
"""Values by step, ascending."""


@dataclass(frozen=True, kw_only=True)
class LearningTask:
    """Sources that are new in a phase."""

    name: str
    sources: tuple[str, ...]
    learnt_step: int
    """t_i: where the phase that brought it ends."""


def accuracies(task: LearningTask, rows: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """A(E_i, f_n) at every evaluated step n. `rows`: scores by step."""
    names = [f"next_token_accuracy.{source}" for source in task.sources]
    found = {}
    for step, scores in rows.items():
        values = [scores[name] for name in names if name in scores]
        if values:
            found[step] = sum(values) / len(values)
    return found


def min_acc(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """min-ACC_k: the mean, over the tasks before the last, of the least accuracy after t_i. None where k is 1."""
    least = []
    for task, values in zip(tasks[:-1], series[:-1], strict=True):
        later = [value for step, value in values.items() if step > task.learnt_step]
        if later:
            least.append(min(later))
    return sum(least) / len(least) if least else None


def wc_acc(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """WC-ACC_t, the worst case at the last step t: (1/k) A(E_k, f_t) + (1 - 1/k) min-ACC_k."""
    least = min_acc(tasks, series)
    if not series or not series[-1]:
        return None
    last = list(series[-1].values())[-1]
    k = len(tasks)
    return last if least is None else last / k + (1 - 1 / k) * least


def forgetting(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """FORG_k: the mean, over the tasks before the last, of A(E_i, f_{t_i}) - A(E_i, f_{t_k}). None where k is 1.

    Where t_i was not evaluated, the last evaluation before it counts.
    """
    lost = []
    for task, values in zip(tasks[:-1], series[:-1], strict=True):
        known = [value for step, value in values.items() if step <= task.learnt_step]
        if known:
            lost.append(known[-1] - list(values.values())[-1])
    return sum(lost) / len(lost) if lost else None


def windowed_change(values: Sequence[float], window: int) -> tuple[float, float]:
    """(WF, WP) of one task: the largest fall, and the largest rise, within `window` evaluations in a row."""
    before: deque[float] = deque(maxlen=window - 1)
    fall = rise = 0.0
    for value in values:
        if before:
            fall, rise = max(fall, max(before) - value), max(rise, value - min(before))
        before.append(value)
    return fall, rise


@dataclass(frozen=True, kw_only=True)
class StabilityGap:
    """What a switch did to what was known before it, until the next switch or the end."""

    step: int
    depth: float
    """How far bits per byte rose above those at the switch (a mean over the sources known by then)."""
    worst_step: int
    recovered_step: int | None
    """The first evaluated step, from the worst on, that is no worse than the switch; None: there was none."""


def stability_gap(values: Series, switch: int, end: int) -> StabilityGap | None:
    """The gap of one switch in a series where lower is better; None where the switch or what follows is not there."""
    later = {step: value for step, value in values.items() if switch < step <= end}
    if switch not in values or not later:
        return None
    worst_step = max(later, key=lambda step: later[step])
    if later[worst_step] <= values[switch]:
        return StabilityGap(step=switch, depth=0.0, worst_step=switch, recovered_step=switch)
    back = (step for step, value in later.items() if step > worst_step and value <= values[switch])
    return StabilityGap(
        step=switch, depth=later[worst_step] - values[switch], worst_step=worst_step, recovered_step=next(back, None)
    )


def learning_tasks(plan: Plan, arm: ArmPlan) -> list[LearningTask]:
    """What the base and each phase of the arm brought. A phase without a new source is no task.

    Of a base whose blend is not known, the sources of the first phase count as known.
    """
    base = plan.base_plan.phase
    stages = [("base", base.weights if base else arm.phases[0].weights, 0)]
    stages += [(phase.name, phase.weights, phase.end_step) for phase in arm.phases]
    seen: set[str] = set()
    tasks = []
    for name, weights, end_step in stages:
        new = dict.fromkeys(source for key in weights if (source := split_key(key)[0]) not in seen)
        seen |= new.keys()
        if new:
            tasks.append(LearningTask(name=name, sources=tuple(new), learnt_step=end_step))
    return tasks


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of an arm's series. None where there is nothing to measure: one task, or no evaluation at that point."""

    min_acc: float | None
    wc_acc: float | None
    forgetting: float | None
    windowed: dict[int, tuple[float, float]]
    """By window (evaluations): WF and WP, means over the tasks."""
    gaps: tuple[StabilityGap, ...]
    """Of the start (step 0) and every switch."""


def summarise(plan: Plan, arm: ArmPlan, rows: Mapping[int, Mapping[str, float]]) -> Summary | None:
    """`rows`: scores by step, ascending; None where there are none."""
    if not rows:
        return None
    tasks = learning_tasks(plan, arm)
    series = [accuracies(task, rows) for task in tasks]
    windowed = {}
    for window in WINDOWS:
        changes = [windowed_change(list(values.values()), window) for values in series if values]
        windowed[window] = (_mean([fall for fall, _ in changes]), _mean([rise for _, rise in changes]))
    switches = [0, *(phase.end_step for phase in arm.phases[:-1])]
    gaps = []
    for switch, end in zip(switches, [*switches[1:], arm.horizon_steps], strict=True):
        known = [source for task in tasks if task.learnt_step <= switch for source in task.sources]
        gap = stability_gap(mean_bits(known, rows), switch, end)
        gaps += [gap] if gap else []
    return Summary(
        min_acc=min_acc(tasks, series), wc_acc=wc_acc(tasks, series), forgetting=forgetting(tasks, series),
        windowed=windowed, gaps=tuple(gaps),
    )  # fmt: skip


def mean_bits(sources: Sequence[str], rows: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """The plain mean of the sources' bits per byte, by step."""
    names = [f"bits_per_byte.{source}" for source in sources]
    found = {step: [scores[name] for name in names if name in scores] for step, scores in rows.items()}
    return {step: _mean(values) for step, values in found.items() if values}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
