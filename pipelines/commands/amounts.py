"""Tokens and bytes in the form that people read."""

LARGE = 10_000_000
"""The number of tokens from which on they are shown in units."""


def amount(tokens: int) -> str:
    """Return tokens, in full or, if there are many, in units."""
    if tokens < LARGE:
        return f"{tokens:,}"
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if tokens >= size:
            return f"{tokens / size:.4g}{unit}"
    raise AssertionError(tokens)


def size(num_bytes: float) -> str:
    for unit, one in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= one:
            return f"{num_bytes / one:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"
