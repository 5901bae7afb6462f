"""What no step may do: a loss or gradient that is not finite, or a spike far above the steps before."""

import math
from collections import deque

from components.recipe.training import Training

WINDOW_STEPS = 128


class BadBatch(FloatingPointError):
    """A step whose loss or gradient must not be learned from."""


class Guard:
    """Knows the last steps. Its state is in every checkpoint, so that a resumed run judges as an undisturbed one."""

    def __init__(self, training: Training) -> None:
        self._sigmas = training.spike_sigmas
        self._seen: dict[str, deque[float]] = {name: deque(maxlen=WINDOW_STEPS) for name in ("loss", "gradient norm")}

    def judge(self, loss: float, grad_norm: float) -> str:
        """What is wrong with the step; nothing where it may be taken, and then it counts for the next ones."""
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
        for name, values in state.items():
            self._seen[name].extend(values)
