"""How fast a run is: tokens per second, the share of the hardware's peak (MFU), memory, and the time that is left."""

import resource
import time
from collections import deque

import torch

from switchpoint.components.recipe.hardware import GPUS

WINDOW_STEPS = 32


class Throughput:
    """The speed over the last steps, so that a start, an export or a slow hour shows and then passes."""

    def __init__(self, device: torch.device, world_size: int, flops_per_token: float | None) -> None:
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=WINDOW_STEPS + 1)
        self._flops_per_token = flops_per_token
        peak = peak_flops_per_second(device) if flops_per_token else None
        self._peak = peak * world_size if peak else None
        self._device = device

    def step(self, num_tokens: int) -> None:
        self._times.append((time.monotonic(), self._times[-1][1] + num_tokens))

    def pause(self, seconds: float) -> None:
        """Leave out a time that was not training."""
        self._times = deque(((at + seconds, tokens) for at, tokens in self._times), maxlen=self._times.maxlen)

    @property
    def tokens_per_second(self) -> float:
        (began, first), (ended, last) = self._times[0], self._times[-1]
        return (last - first) / max(ended - began, 1e-9)

    def mfu(self) -> float | None:
        """The model FLOPs utilisation; None if the peak or the model's operations are not known."""
        if not self._peak or not self._flops_per_token:
            return None
        return self.tokens_per_second * self._flops_per_token / self._peak

    def memory_bytes(self) -> int:
        """The largest number of bytes that this process has held: of the GPU, or of the machine."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_flops_per_second(device: torch.device) -> float | None:
    """Return a GPU's dense bf16 peak by its name, None for a name that we do not know; for a CPU, what an fp32 matrix
    product reaches here and now.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).upper()
        return next((gpu.flops_per_second for key, gpu in GPUS.items() if key.split("-")[0] in name), None)
    size = 768
    matrix = torch.ones(size, size)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
