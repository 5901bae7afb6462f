"""The guard: refuse a step whose loss or gradient is not finite, or is a spike far above the steps before."""

import math
from collections import deque

from switchpoint.components.recipe.training import Training

WINDOW_STEPS = 128


class BadBatch(FloatingPointError):
    """The guard refused a step, and the recipe does not allow to skip its batch."""


class BadModel(FloatingPointError):
    """The model gives values that are not finite whatever the text: no batch is to blame, and a skip does not help."""


def describe_bad_batch(step: int, problem: str, samples: dict[str, list[int]]) -> str:
    """Return one line that names the step, the problem, and the first eight samples of each source."""
    shown = "; ".join(
        f"{name} {', '.join(map(str, numbers[:8]))}" + (f" and {len(numbers) - 8} more" if numbers[8:] else "")
        for name, numbers in samples.items()
    )
    return f"step {step}: {problem}; samples: {shown}"


class Guard:
    """A window of the last steps. Every checkpoint holds it: a resumed run judges as an uninterrupted one."""

    def __init__(self, training: Training) -> None:
        self._sigmas = training.spike_sigmas
        self._seen: dict[str, deque[float]] = {name: deque(maxlen=WINDOW_STEPS) for name in ("loss", "gradient norm")}

    def judge(self, loss: float, grad_norm: float) -> str:
        """Return what is wrong with a step; empty if nothing is, and then the next steps are compared with it, too."""
        values = {"loss": loss, "gradient norm": grad_norm}
        for name, value in values.items():
            if not math.isfinite(value):
                return f"the {name} is {value}"
            seen = self._seen[name]
            if self._sigmas is not None and len(seen) == WINDOW_STEPS:
                mean = math.fsum(seen) / len(seen)
                deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in seen) / len(seen))
                if value > mean + self._sigmas * deviation:
                    return (
                        f"the {name} {value:.4g} lies more than {self._sigmas:g} standard deviations ({deviation:.3g}) "
                        f"above the mean of the last {WINDOW_STEPS} steps ({mean:.4g})"
                    )
        for name, value in values.items():
            self._seen[name].append(value)
        return ""

    def state(self) -> dict[str, list[float]]:
        return {name: list(seen) for name, seen in self._seen.items()} if self._sigmas is not None else {}

    def load(self, state: dict[str, list[float]]) -> None:
        """Continue from a checkpoint's window: what was seen since, on another way to the same step, is forgotten."""
        for name, seen in self._seen.items():
            seen.clear()
            seen.extend(state.get(name, []))
