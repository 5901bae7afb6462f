"""The report's pictures as SVG text: loss, accuracy and learning rate over tokens, and the blends."""

import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from switchpoint.components.evaluate.continual import learning_tasks, mean_bits, mean_scores
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.source import split_key
from switchpoint.components.report.drawn import drawn_tokens, one_of_each

ARM_COLOURS = ("#3b6fb6", "#c8553d", "#3a8f5c", "#8c5fa8", "#b58a1f", "#4f9aa8")
SOURCE_COLOURS = ("#5b7fb0", "#8fb3d9", "#c9d3dc", "#e0a458", "#a85f4c", "#7c9c6b", "#6f6690", "#b7a9c9")
HATCHES = ("", "///", "...")
"""Tell sources apart where there are more than colours."""
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True, "svg.fonttype": "none",
    "svg.hashsalt": "switchpoint",
}  # fmt: skip
SMOOTHED_FRACTION = 0.06
"""The window of the loss's running mean, as a fraction of the run's steps."""
MAX_POINTS = 8_000
"""The largest number of points of all lines of a panel together: the page stays small."""
MAX_ARMS = 24
"""The largest number of lines: more tell nothing."""
NEXT_TOKEN = "next_token_accuracy."
ON_QUESTIONS = "accuracy\non questions"

Rows = dict[str, list[dict[str, Any]]]
"""Rows by run name."""
Values = dict[str, dict[int, float]]
"""Values by run name and tokens."""


def curves(plan: Plan, trained: Rows, evaluated: Rows) -> str:
    """Draw the training loss (a running mean), held-out bits per byte of what was known before the last switch and of
    what came with it, accuracy, learning rate: a colour for each arm, a line for each seed, a dashed line where it
    switches.
    """
    arms = [arm for arm in plan.arms if arm.arm_id in drawn_arms(plan)]
    old, new = held_out(plan, arms, evaluated)
    asked, right = accuracy(arms, evaluated)
    drawn = {
        "held-out bits/byte\nknown before": old, "held-out bits/byte\nnew after the switch": new, asked: right,
    }  # fmt: skip
    drawn = {panel: values for panel, values in drawn.items() if any(values.values())}
    panels = ["training loss", *drawn, "learning rate"]
    heights = [2.0, *(1.5 for _ in drawn), 1.0]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(10, 1.4 + 1.25 * sum(heights)), sharex=True, height_ratios=heights, squeeze=False
        )
        by_panel = dict(zip(panels, axes[:, 0], strict=True))
        unit, per = _unit(max(arm.horizon_tokens for arm in arms))
        window = max(1, round(SMOOTHED_FRACTION * max(arm.horizon_steps for arm in arms)))
        points = max(60, MAX_POINTS // len(arms))
        labelled: set[str] = set()
        for arm in arms:
            style = {"color": colour_of(plan, arm), "linewidth": 1.4, "alpha": 0.85}
            label = None if arm.arm_id in labelled else arm.arm_id
            labelled.add(arm.arm_id)
            rows = trained.get(arm.run_name, [])
            finite = [row for row in rows if row["loss"] is not None]
            losses = _running_mean([row["loss"] for row in finite], window)
            by_panel["training loss"].plot(
                *_thinned([row["tokens"] / per for row in finite], losses, points), label=label, **style
            )
            rates = [row["learning_rate"] for row in rows]
            by_panel["learning rate"].plot(*_thinned([row["tokens"] / per for row in rows], rates, points), **style)
            for panel, series in drawn.items():
                values = series[arm.run_name]
                by_panel[panel].plot(*_thinned([at / per for at in values], list(values.values()), points), **style)
            if arm.switch_tokens is not None and label is not None:
                for axis in axes[:, 0]:
                    axis.axvline(
                        arm.switch_tokens / per, color=style["color"], linestyle="--", linewidth=0.9, alpha=0.7
                    )
        by_panel["training loss"].set_ylabel(f"training loss\n(mean of {window} steps)")
        for panel in drawn:
            by_panel[panel].set_ylabel(panel)
        if asked == ON_QUESTIONS and asked in by_panel:  # few questions: a single one must not look like much
            by_panel[asked].set_ylim(0, max(0.5, by_panel[asked].get_ylim()[1]))
        rate = by_panel["learning rate"]
        rate.set_ylabel("learning rate")
        rate.set_xlabel(f"tokens of continued training{unit}; dashed: the switch")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if any(trained.values()):
            axes[0, 0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(6, len(labelled)))
        figure.align_ylabels()
        return _svg(figure)


def drawn_arms(plan: Plan) -> list[str]:
    return list(dict.fromkeys(arm.arm_id for arm in plan.arms))[:MAX_ARMS]


def colour_of(plan: Plan, arm: ArmPlan) -> str:
    return ARM_COLOURS[drawn_arms(plan).index(arm.arm_id) % len(ARM_COLOURS)]


def held_out(plan: Plan, arms: Sequence[ArmPlan], evaluated: Rows) -> tuple[Values, Values]:
    """Return mean bits per byte, by run name and tokens: of the sources that some base or first phase knows, and of
    those that only come later in some arm. The same sources in every arm, so that lines can be compared.
    """
    tasks = [learning_tasks(plan, arm) for arm in arms]
    known = {source for of_arm in tasks for source in of_arm[0].sources}
    later = {source for of_arm in tasks for task in of_arm[1:] for source in task.sources} - known
    found: tuple[Values, Values] = ({}, {})
    for arm in arms:
        rows = {row["tokens"]: row["scores"] for row in evaluated.get(arm.run_name, [])}
        for place, sources in zip(found, (known, later), strict=True):
            place[arm.run_name] = mean_bits(sorted(sources), rows)
    return found


def accuracy(arms: Sequence[ArmPlan], evaluated: Rows) -> tuple[str, Values]:
    """Return the name of the accuracy, and its mean by run name and tokens: over the tasks whose questions were asked,
    the same in every arm; where none were, of next tokens over the sources.
    """
    rows = {arm.run_name: {row["tokens"]: row["scores"] for row in evaluated.get(arm.run_name, [])} for arm in arms}
    names = sorted({name for of_arm in rows.values() for scores in of_arm.values() for name in scores})
    tasks = [name for name in names if not name.startswith(("bits_per_byte.", NEXT_TOKEN))]
    chosen = tasks or [name for name in names if name.startswith(NEXT_TOKEN)]
    label = ON_QUESTIONS if tasks else "next-token\naccuracy"
    return label, {name: mean_scores(chosen, of_arm) for name, of_arm in rows.items()}


def blends(plan: Plan) -> str:
    """Draw what each arm draws, phase by phase: bars whose lengths are tokens, split by source. Seeds draw alike."""
    sources = list(dict.fromkeys(split_key(key)[0] for key in plan.drawn_sources()))
    arms = one_of_each(plan)[:MAX_ARMS]
    unit, per = _unit(max(arm.horizon_tokens for arm in arms))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(10, 1.1 + 0.5 * len(arms)), layout="constrained")
        for line, arm in enumerate(arms):
            left = 0.0
            for phase in arm.phases:
                drawn = drawn_tokens(phase)
                for number, name in enumerate(sources):
                    width = drawn.get(name, 0) / per
                    if width:
                        colour = SOURCE_COLOURS[number % len(SOURCE_COLOURS)]
                        hatch = HATCHES[number // len(SOURCE_COLOURS) % len(HATCHES)]
                        axis.barh(
                            line, width, left=left, color=colour, hatch=hatch, height=0.62, edgecolor="white",
                            linewidth=0.6,
                        )  # fmt: skip
                    left += width
            for phase, _ in pairwise(arm.phases):
                axis.plot([phase.end_tokens / per] * 2, [line - 0.42, line + 0.42], color="#222222", linewidth=1.8)
        axis.set_yticks(range(len(arms)), [arm.arm_id for arm in arms])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(f"tokens{unit}; a black line is the switch")
        handles = [
            plt.Rectangle(
                (0, 0), 1, 1, facecolor=SOURCE_COLOURS[number % len(SOURCE_COLOURS)], ec="white", lw=0,
                hatch=HATCHES[number // len(SOURCE_COLOURS) % len(HATCHES)],
            )
            for number in range(len(sources))
        ]  # fmt: skip
        figure.legend(handles, sources, loc="outside upper center", ncols=min(6, len(sources)), frameon=False)
        return _svg(figure)


def _running_mean(values: list[float], window: int) -> list[float]:
    means = []
    total = 0.0
    for number, value in enumerate(values):
        total += value - (values[number - window] if number >= window else 0.0)
        means.append(total / min(number + 1, window))
    return means


def _thinned(xs: list[float], ys: list[float], points: int) -> tuple[list[float], list[float]]:
    """Return at most `points` points and the last one."""
    stride = max(1, -(-len(xs) // points))
    last = [len(xs) - 1] if xs and (len(xs) - 1) % stride else []
    kept = [*range(0, len(xs), stride), *last]
    return [xs[number] for number in kept], [ys[number] for number in kept]


def _unit(tokens: int) -> tuple[str, float]:
    """Return the axis label, and the number that tokens are divided by."""
    for name, size in (("billions", 1e9), ("millions", 1e6), ("thousands", 1e3)):
        if tokens >= 10 * size:
            return f" ({name})", size
    return "", 1.0


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    # Hundredths of a point cannot be seen, and lines are most of the page.
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text[text.index("<svg") :])
