"""What a series of evaluations says about forgetting (arXiv 2205.13452), and about the gap after a switch. Pure.

A learning task is what the base or a phase brought: the sources that it was the first to draw. Task i is learnt by
step t_i, where that phase ends (the base's: 0). A(E_i, f_n) is the accuracy at step n on held-out text of task i: the
mean of its sources' next-token accuracies.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.source import split_key

WINDOWS = (10, 100)
"""The windows of WF and WP: numbers of evaluations."""
Series = Mapping[int, float]
"""Values by step, ascending."""


@dataclass(frozen=True, kw_only=True)
class LearningTask:
    """The sources that are new in a phase."""

    name: str
    sources: tuple[str, ...]
    learnt_step: int
    """t_i: where the phase that brought it ends."""


def accuracies(task: LearningTask, rows: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return A(E_i, f_n) at every evaluated step n. `rows`: scores by step."""
    return mean_scores([f"next_token_accuracy.{source}" for source in task.sources], rows)


def min_acc(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """Return min-ACC_k: the mean, over the tasks before the last, of the least accuracy after t_i.

    None where k is 1, or where a task was not evaluated after t_i.
    """
    least = []
    for task, values in zip(tasks[:-1], series[:-1], strict=True):
        later = [value for step, value in values.items() if step > task.learnt_step]
        if later:
            least.append(min(later))
    return _mean(least) if least and len(least) == len(tasks) - 1 else None


def wc_acc(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """Return WC-ACC_t, the worst case at the last step t: (1/k) A(E_k, f_t) + (1 - 1/k) min-ACC_k. None as min-ACC_k,
    but for k of 1.
    """
    least = min_acc(tasks, series)
    k = len(tasks)
    if not series or not series[-1] or (least is None and k > 1):
        return None
    last = list(series[-1].values())[-1]
    return last if least is None else last / k + (1 - 1 / k) * least


def forgetting(tasks: Sequence[LearningTask], series: Sequence[Series]) -> float | None:
    """Return FORG_k: the mean, over the tasks before the last, of A(E_i, f_{t_i}) - A(E_i, f_{t_k}).

    Where t_i was not evaluated, the last evaluation before it counts. None where k is 1, or where a task has none.
    """
    lost = []
    for task, values in zip(tasks[:-1], series[:-1], strict=True):
        known = [value for step, value in values.items() if step <= task.learnt_step]
        if known:
            lost.append(known[-1] - list(values.values())[-1])
    return _mean(lost) if lost and len(lost) == len(tasks) - 1 else None


def windowed_change(values: Sequence[float], window: int) -> tuple[float, float]:
    """Return (WF, WP) of one task: the largest fall, and the largest rise, within `window` evaluations in a row."""
    before: deque[float] = deque(maxlen=window - 1)
    fall = rise = 0.0
    for value in values:
        if before:
            fall, rise = max(fall, max(before) - value), max(rise, value - min(before))
        before.append(value)
    return fall, rise


@dataclass(frozen=True, kw_only=True)
class StabilityGap:
    """What a switch did to what was known before it: the first time that it was worse than at the switch, and until it
    was not, or until the next switch or the end. A later decline is forgetting, and no gap.
    """

    step: int
    depth: float
    """How far bits per byte rose above those at the switch (a mean over the sources known by then)."""
    worst_step: int
    recovered_step: int | None
    """The first evaluated step after the gap began that is no worse than the switch; None: there was none."""


def stability_gap(values: Series, switch: int, end: int) -> StabilityGap | None:
    """Return the gap of one switch in a series where lower is better; None if the switch or what follows was not
    evaluated.
    """
    later = {step: value for step, value in values.items() if switch < step <= end}
    if switch not in values or not later:
        return None
    at_switch = values[switch]
    began = next((step for step, value in later.items() if value > at_switch), None)
    if began is None:
        return StabilityGap(step=switch, depth=0.0, worst_step=switch, recovered_step=switch)
    recovered = next((step for step, value in later.items() if step > began and value <= at_switch), None)
    within = [step for step in later if step >= began and (recovered is None or step < recovered)]
    worst_step = max(within, key=lambda step: later[step])
    return StabilityGap(
        step=switch, depth=later[worst_step] - at_switch, worst_step=worst_step, recovered_step=recovered
    )


def learning_tasks(plan: Plan, arm: ArmPlan) -> list[LearningTask]:
    """Return the learning tasks of an arm: what the base and each phase brought. A phase without a new source is no
    task.

    If the base's blend is not known, the sources of the first phase count as known.
    """
    base = plan.base_of(arm).pretraining
    stages = [("base", base.phase.weights if base else arm.phases[0].weights, 0)]
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
    """The summary of an arm's series. None where there is nothing to measure: one task, or no evaluation at that
    point.
    """

    num_tasks: int
    min_acc: float | None
    wc_acc: float | None
    forgetting: float | None
    windowed: dict[int, tuple[float, float]]
    """WF and WP by window (number of evaluations), means over the tasks; empty if no task was evaluated."""
    gaps: tuple[StabilityGap, ...]
    """The gaps after the start (step 0) and after every switch."""


def shared_tokens(plan: Plan) -> set[int]:
    """Return the numbers of tokens after which every arm that comes so far is evaluated: the regular points, and those
    after the start.

    Each arm has dense points of its own after its switch. A worst value over more points is worse, and a window of them
    is shorter: arms are comparable on the points that all have.
    """
    arms = list({arm.arm_id: arm for arm in plan.arms}.values())
    number = Counter(arm.clock.tokens_at(step) for arm in arms for step in arm.evaluation_steps)
    ends = sorted(arm.horizon_tokens for arm in arms)
    return {tokens for tokens, found in number.items() if found == len(ends) - bisect_left(ends, tokens)}


def summarise(
    plan: Plan, arm: ArmPlan, rows: Mapping[int, Mapping[str, float]], shared: Collection[int]
) -> Summary | None:
    """Return the summary of an arm. `rows`: scores by step, ascending; None where there are none. `shared`: the study's
    `shared_tokens`, on which, and on the arm's end, min-ACC, WC-ACC, WF and WP are measured; the others are on all
    points.
    """
    if not rows:
        return None
    tasks = learning_tasks(plan, arm)
    series = [accuracies(task, rows) for task in tasks]
    kept = {step for step in rows if step == arm.horizon_steps or arm.clock.tokens_at(step) in shared}
    regular = [{step: value for step, value in values.items() if step in kept} for values in series]
    windowed = {}
    for window in WINDOWS:
        changes = [windowed_change(list(values.values()), window) for values in regular if values]
        if changes:
            windowed[window] = (_mean([fall for fall, _ in changes]), _mean([rise for _, rise in changes]))
    switches = [0, *(phase.end_step for phase in arm.phases[:-1])]
    gaps = []
    for switch, end in zip(switches, [*switches[1:], arm.horizon_steps], strict=True):
        known = [source for task in tasks if task.learnt_step <= switch for source in task.sources]
        gap = stability_gap(mean_bits(known, rows), switch, end)
        gaps += [gap] if gap else []
    return Summary(
        num_tasks=len(tasks), min_acc=min_acc(tasks, regular), wc_acc=wc_acc(tasks, regular),
        forgetting=forgetting(tasks, series), windowed=windowed, gaps=tuple(gaps),
    )  # fmt: skip


def mean_bits(sources: Sequence[str], rows: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return the plain mean of the sources' bits per byte, by step."""
    return mean_scores([f"bits_per_byte.{source}" for source in sources], rows)


def mean_scores(names: Sequence[str], rows: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return the plain mean of those scores that are there, by step."""
    found = {step: [scores[name] for name in names if name in scores] for step, scores in rows.items()}
    return {step: _mean(values) for step, values in found.items() if values}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
