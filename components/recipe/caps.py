"""Caps on how often a run repeats a source: draws beyond them, moved to the other sources.

Weights are worked out arm by arm, from the sizes that the recipe declares; arms whose weights then differ share no
history. What is refused instead of moved is refused in `epochs.py`, by the sizes that were measured.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

from switchpoint.components.recipe.blend import Weights
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source, SourceKey, split_key

Counts = Mapping[SourceKey, int]


def samples_per_epoch(num_tokens: int, sequence_length: int) -> int:
    """Return the samples of an epoch. Sample k is the tokens [k L, k L + L + 1) of the concatenated stream."""
    return max(0, (num_tokens - 1) // sequence_length)


def declared_tokens(key: SourceKey, sources: Mapping[str, Source]) -> int | None:
    """Return the size that the recipe gives for what `key` draws."""
    source, tier = split_key(key)
    return sources[source].tiers[tier].tokens if tier else sources[source].size


def declared_epochs(
    key: SourceKey, num_samples: int, sequence_length: int, sources: Mapping[str, Source]
) -> Fraction | None:
    """Return the epochs of `num_samples`, by the declared size; None if there is none."""
    tokens = declared_tokens(key, sources)
    if tokens is None:
        return None
    return Fraction(num_samples, max(1, samples_per_epoch(tokens, sequence_length)))


def moved_excess(
    weights: Weights, samples: Counts, num_samples: int, key: str, sequence_length: int,
    sources: Mapping[str, Source], drawn_epochs: Mapping[str, Fraction], field: str,
) -> tuple[Weights, Counts, Counts]:  # fmt: skip
    """Return weights and counts of a phase in which no source with `excess: move` exceeds its `max_epochs`.

    `drawn_epochs`: what the run drew before. Return also the samples that were moved, by what they were drawn from.
    Raise BadInput if no source is left to take them.
    """
    if all(sources[split_key(name)[0]].excess != "move" for name in weights):
        return weights, samples, {}
    from switchpoint.components.recipe.counting import (
        phase_counts,  # it needs numpy: a quarter of the time that importing takes
    )

    wanted, limits, slack = samples, dict[SourceKey, int](), dict[SourceKey, int]()
    while True:
        over = _over(samples, sequence_length, sources, drawn_epochs, limits)
        if not over:
            moved = {name: wanted[name] - samples.get(name, 0) for name in limits}
            return weights, samples, {name: count for name, count in moved.items() if count > 0}
        for name, limit in over.items():
            # Counts are within two samples of the weights: what is still above a limit is taken off once more.
            slack[name] = slack.get(name, 0) + (samples[name] - limit if name in limits else 0)
            limits[name] = min(limit, limits.get(name, limit))
        weights = _limited(weights, {n: limit - slack[n] for n, limit in limits.items()}, num_samples, field)
        samples = phase_counts(weights, num_samples, key)


def _over(
    samples: Counts, sequence_length: int, sources: Mapping[str, Source], drawn_epochs: Mapping[str, Fraction],
    limits: Mapping[SourceKey, int],
) -> dict[SourceKey, int]:  # fmt: skip
    """Return the samples that are allowed, for every draw above its source's cap."""
    found = {name: limit for name, limit in limits.items() if samples.get(name, 0) > limit}
    for source in dict.fromkeys(split_key(name)[0] for name in samples):
        cap = sources[source].max_epochs
        if cap is None or sources[source].excess != "move":
            continue
        keys = [name for name in samples if split_key(name)[0] == source and samples[name]]
        epochs = sum(
            (declared_epochs(name, samples[name], sequence_length, sources) or Fraction(0) for name in keys),
            Fraction(0),
        )  # fmt: skip
        rest = max(Fraction(0), cap - drawn_epochs.get(source, Fraction(0)))
        if epochs > rest:
            found |= {name: math.floor(samples[name] * rest / epochs) for name in keys if name not in limits}
    return found


def _limited(weights: Weights, limits: Mapping[SourceKey, int], num_samples: int, field: str) -> Weights:
    """Return the weights with some set by their limits, the others taking what is left in proportion."""
    kept = {name: Fraction(max(0, limit), num_samples) for name, limit in limits.items()}
    others = {name: weight for name, weight in weights.items() if name not in limits}
    rest, total = 1 - sum(kept.values(), Fraction(0)), sum(others.values(), Fraction(0))
    if not total:
        raise BadInput(
            "every source of the blend reaches its max_epochs: none is left to take the excess", field=field,
            given=", ".join(limits), allowed="a source without a cap in the blend, a higher cap, or a shorter horizon",
        )  # fmt: skip
    changed = kept | {name: weight * rest / total for name, weight in others.items()}
    return {name: weight for name, weight in sorted(changed.items()) if weight}
