"""The plan drawn: every arm's learning rate over tokens, and its phases below."""

from pathlib import Path

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.plan import ArmPlan, Plan

FORMATS = (".svg", ".png", ".pdf")
MAX_ARMS = 24
"""The largest number of lines: more tell nothing."""
POINTS_PER_PIECE = 80


def write_plot(plan: Plan, path: Path) -> None:
    """Write a picture in the format that the file's name ends with. Raise BadInput if it cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise BadInput("not a picture's name", field="--plot", given=path, allowed=f"a name that ends in {FORMATS}")
    if not path.parent.is_dir():
        raise BadInput("no such folder", field="--plot", given=path.parent)
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    from switchpoint.components.report.plots import ARM_COLOURS, SOURCE_COLOURS, STYLE
    from switchpoint.pipelines.commands.amounts import amount

    arms = plan.arms[:MAX_ARMS]
    blends = list(dict.fromkeys(phase.blend for arm in arms for phase in arm.phases))
    with plt.rc_context(STYLE):
        height = 3.2 + 0.42 * len(arms)
        figure, (rate, phases) = plt.subplots(
            2, 1, figsize=(10, height), sharex=True, height_ratios=[3.0, 0.6 + 0.42 * len(arms)], layout="constrained"
        )
        for number, arm in enumerate(arms):
            tokens = _points(arm)
            colour = ARM_COLOURS[number % len(ARM_COLOURS)]
            rate.plot(tokens, [arm.schedule.learning_rate(at) for at in tokens], color=colour, linewidth=1.6, alpha=0.9)
            if arm.switch_tokens is not None:
                rate.plot(arm.switch_tokens, arm.switch_learning_rate, "o", color=colour, markersize=5)
            for phase in arm.phases:
                fill = SOURCE_COLOURS[blends.index(phase.blend) % len(SOURCE_COLOURS)]
                phases.barh(number, phase.tokens, left=phase.start_tokens, color=fill, height=0.62, edgecolor="white")
        phases.set_yticks(range(len(arms)), [arm.run_name for arm in arms])
        for label, number in zip(phases.get_yticklabels(), range(len(arms)), strict=True):
            label.set_color(ARM_COLOURS[number % len(ARM_COLOURS)])
        phases.invert_yaxis()
        phases.grid(axis="y", visible=False)
        rate.set_ylabel("learning rate")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        phases.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(int(value)) if value else "0"))
        phases.set_xlabel("tokens of continued training; a dot is the switch")
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=SOURCE_COLOURS[number % len(SOURCE_COLOURS)])
            for number in range(len(blends))
        ]
        phases.legend(handles, blends, frameon=False, ncols=min(4, len(blends)), loc="upper center",
                      bbox_to_anchor=(0.5, -0.55 / (0.5 + 0.3 * len(arms))))  # fmt: skip
        more = f" (the first {MAX_ARMS} of {len(plan.arms)} arms)" if len(plan.arms) > MAX_ARMS else ""
        rate.set_title(f"{plan.recipe.name}{more}", loc="left")
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _points(arm: ArmPlan) -> list[float]:
    """Return the tokens at which the curve is drawn: every piece from end to end."""
    points: list[float] = []
    for piece in arm.schedule.pieces:
        span = piece.end_tokens - piece.start_tokens
        points += [piece.start_tokens + span * number / POINTS_PER_PIECE for number in range(POINTS_PER_PIECE)]
    return [*points, float(arm.horizon_tokens)]
