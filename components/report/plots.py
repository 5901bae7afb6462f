"""The report's pictures as SVG text: loss and learning rate over tokens with the switch marked, and the blends."""

import io
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from components.recipe.plan import Plan
from components.recipe.source import split_key

ARM_COLOURS = ("#3b6fb6", "#c8553d", "#3a8f5c", "#8c5fa8", "#b58a1f", "#4f9aa8")
SOURCE_COLOURS = ("#5b7fb0", "#8fb3d9", "#c9d3dc", "#e0a458", "#a85f4c", "#7c9c6b", "#6f6690", "#b7a9c9")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True, "svg.fonttype": "none",
    "svg.hashsalt": "switchpoint",
}  # fmt: skip
SMOOTHED_FRACTION = 0.06
"""Of the run's steps: what the running mean of the loss goes over."""
MAX_POINTS = 400


def curves(plan: Plan, by_arm: dict[str, list[dict[str, Any]]]) -> str:
    """Training loss (a running mean) and learning rate, one line per arm; the switch is a dashed line."""
    with plt.rc_context(STYLE):
        figure, (loss, rate) = plt.subplots(2, 1, figsize=(10, 5.6), sharex=True, height_ratios=[2, 1])
        window = max(1, round(SMOOTHED_FRACTION * max(arm.horizon_steps for arm in plan.arms)))
        for number, arm in enumerate(plan.arms):
            steps, colour = by_arm[arm.run_name], ARM_COLOURS[number % len(ARM_COLOURS)]
            if steps:
                tokens = [step["tokens"] / 1e3 for step in steps]
                finite = [step["tokens"] / 1e3 for step in steps if step["loss"] is not None]
                losses = _running_mean([step["loss"] for step in steps if step["loss"] is not None], window)
                rates = [step["learning_rate"] for step in steps]
                loss.plot(*_thinned(finite, losses), color=colour, label=arm.run_name, linewidth=1.6, alpha=0.9)
                rate.plot(*_thinned(tokens, rates), color=colour, linewidth=1.6, alpha=0.9)
            if arm.switch_tokens is not None:
                at = arm.switch_tokens / 1e3
                for axis in (loss, rate):
                    axis.axvline(at, color=colour, linestyle="--", linewidth=1)
                loss.annotate(
                    "switch", (at, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
                    textcoords="offset points", color=colour, fontsize=9,
                )  # fmt: skip
        loss.set_ylabel(f"training loss\n(mean of {window} steps)")
        rate.set_ylabel("learning rate")
        rate.set_xlabel("tokens of continued training (thousands)")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if any(by_arm.values()):
            loss.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(6, len(plan.arms)))
        return _svg(figure)


def blends(plan: Plan) -> str:
    """What each arm draws, phase by phase: bars whose lengths are tokens, split by source."""
    sources = list(dict.fromkeys(split_key(key)[0] for key in plan.drawn_sources()))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(10, 0.9 + 0.55 * len(plan.arms)))
        for line, arm in enumerate(plan.arms):
            left = 0.0
            for phase in arm.phases:
                for name in sources:
                    drawn = sum(count for key, count in phase.samples.items() if split_key(key)[0] == name)
                    width = drawn * phase.sequence_length / 1e3
                    if width:
                        colour = SOURCE_COLOURS[sources.index(name) % len(SOURCE_COLOURS)]
                        axis.barh(
                            line,
                            width,
                            left=left,
                            color=colour,
                            height=0.62,
                            edgecolor="white",
                            linewidth=0.6,
                        )
                    left += width
            for phase, _ in pairwise(arm.phases):
                at = phase.end_tokens / 1e3
                axis.plot([at, at], [line - 0.42, line + 0.42], color="#222222", linewidth=1.8)
        axis.set_yticks(range(len(plan.arms)), [arm.run_name for arm in plan.arms])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("tokens (thousands); a black line is the switch")
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=SOURCE_COLOURS[number % len(SOURCE_COLOURS)])
            for number in range(len(sources))
        ]
        figure.legend(handles, sources, loc="upper center", ncols=min(8, len(sources)), frameon=False)
        figure.subplots_adjust(top=0.82)
        return _svg(figure)


def _running_mean(values: list[float], window: int) -> list[float]:
    means = []
    for end in range(1, len(values) + 1):
        last = values[max(0, end - window) : end]
        means.append(sum(last) / len(last))
    return means


def _thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    stride = max(1, len(xs) // MAX_POINTS)
    return xs[::stride], ys[::stride]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
