"""What a training task shows in the pipeline's UI: Markdown with its arms, its run in MLflow and its curve (pure)."""

from collections.abc import Sequence
from typing import Any

from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained

WIDTH, HEIGHT = 72, 12
BARS = " ▁▂▃▄▅▆▇█"


def training_markdown(plan: Plan, run: Trained, rows: Sequence[dict[str, Any]], link: str, failure: str) -> str:
    """Return what the task that trained `run` shows.

    `rows`: its metrics so far. `link`: its run in MLflow, or the experiment that will hold it.
    """
    arms = [arm for arm in plan.arms if run.identity in arm.runs]
    stage, tokens_at = run.stage, run.stage.clock.tokens_at
    lines = [
        f"# {stage.phase.name.upper()} {', '.join(arm.run_name for arm in arms)}",
        "",
        f"**{'failed' if failure else 'trained' if rows and rows[-1]['step'] >= stage.end_step else 'not finished'}**"
        + (f": {failure}" if failure else ""),
        "",
        "| | |",
        "|---|---|",
        f"| study | {plan.recipe.name} |",
        f"| output | `{run.identity.path}` |",
        f"| blend | {stage.blend} |",
        f"| seed | {stage.seed} |",
        f"| steps | {stage.start_step:,} to {stage.end_step:,} |",
        f"| tokens | {tokens_at(stage.start_step):,} to {tokens_at(stage.end_step):,} |",
    ]
    for arm in arms:
        if arm.switch_tokens is not None:
            lines.append(f"| switch of {arm.run_name} | {arm.switch_tokens:,} tokens |")
    gates = {gate.described: None for arm in arms for gate in arm.gates if gate.phase == stage.phase.name}
    lines += [f"| gate | {described.removeprefix(f'gate of {stage.phase.name}: ')} |" for described in gates]
    lines.append(f"| MLflow | {link} |")
    trained = [row for row in rows if row["loss"] is not None]
    if trained:
        last = trained[-1]
        lines += [
            f"| last | step {last['step']:,}, loss {last['loss']:.4f}, learning rate {last['learning_rate']:.3g}, "
            f"{last['tokens_per_second']:,.0f} tokens/s |",
            "",
            "Training loss over tokens:",
            "",
            "```",
            *text_curve([(row["tokens"], row["loss"]) for row in trained]),
            "```",
        ]
    return "\n".join(lines) + "\n"


def text_curve(points: Sequence[tuple[float, float]], width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Return lines of block characters: the mean of the points in each column, over the range of those means."""
    first, last = points[0][0], points[-1][0]
    columns: list[list[float]] = [[] for _ in range(width)]
    for x, y in points:
        columns[min(width - 1, int((x - first) / max(1e-9, last - first) * width))].append(y)
    means = [sum(column) / len(column) if column else None for column in columns]
    known = [mean for mean in means if mean is not None]
    low, high = min(known), max(known)
    levels = [None if mean is None else (mean - low) / max(1e-12, high - low) * height for mean in means]
    lines = []
    for row in reversed(range(height)):
        text = "".join(" " if level is None else BARS[_eighths(level, row)] for level in levels)
        label = f"{high:8.3f}" if row == height - 1 else f"{low:8.3f}" if row == 0 else " " * 8
        lines.append(f"{label} |{text}".rstrip())
    lines.append(f"{'':8} +{'-' * width}")
    end = f"{last:,.0f} tokens"
    lines.append(f"{'':10}{f'{first:,.0f}'.ljust(width - len(end))}{end}")
    return lines


def _eighths(level: float, row: int) -> int:
    """Return how many eighths of the row's cell are filled. The lowest point is drawn as a line too, not as nothing."""
    return max(round(8 * min(1, max(0, level - row))), row == 0)
