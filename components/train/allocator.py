"""The C library's memory, tuned for a loop that frees and takes the same tensors every step."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Keep freed memory in the process; return whether the C library can do that (glibc can).

    By default glibc maps every large tensor afresh and gives it back, and the kernel clears its pages each time: a
    sixth of a step's time of a small model on a CPU (docs/training.md, Speed).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: TOP_PAD_BYTES}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
