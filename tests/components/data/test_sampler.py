"""Law 2: a sample is a function of the blends up to it, the seed and its index."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest

from switchpoint.components.data.sampler import Sampler


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A phase, with the sizes of its sources at its sequence length."""

    weights: Mapping[str, Fraction]
    first_sample: int
    samples_per_epoch: Mapping[str, int]
    order: int = 0


def sampler_of(phases: list[Drawn], seed: int) -> Sampler:
    return Sampler(phases, [phase.samples_per_epoch for phase in phases], seed)


SIZES = {"web": 700, "books": 50, "qa": 400}
GB = Drawn(
    weights={"web": Fraction(9, 10), "books": Fraction(1, 10)}, first_sample=0, samples_per_epoch=SIZES
)  # fmt: skip
QB = Drawn(
    weights={"web": Fraction(1, 2), "qa": Fraction(1, 2)}, first_sample=1500, samples_per_epoch=SIZES
)  # fmt: skip


def drawn(sampler: Sampler, num_samples: int) -> list[tuple[str, int]]:
    sources, positions = sampler.addresses(np.arange(num_samples))
    return [(sampler.names[source], position) for source, position in zip(sources, positions, strict=True)]


def test_nothing_is_seen_twice_before_its_epoch_ends_also_across_the_switch() -> None:
    samples = drawn(sampler_of([GB, QB], seed=0), 3000)
    for name, size in SIZES.items():
        positions = [position for source, position in samples if source == name]
        assert len(positions) > 0
        for start in range(0, len(positions), size):
            epoch = positions[start : start + size]
            assert len(set(epoch)) == len(epoch)
            assert all(0 <= position < size for position in epoch)


def test_every_epoch_has_an_order_of_its_own() -> None:
    web = [position for source, position in drawn(sampler_of([GB], seed=0), 1700) if source == "web"]
    assert web[:700] != web[700:1400]
    assert sorted(web[:700]) == sorted(web[700:1400])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_global_order_is_the_same_at_any_world_size(world_size: int) -> None:
    whole = drawn(sampler_of([GB, QB], seed=0), 2400)
    for rank in range(world_size):
        sampler = sampler_of([GB, QB], seed=0)
        sources, positions = sampler.addresses(np.arange(rank, 2400, world_size))
        own = [(sampler.names[source], position) for source, position in zip(sources, positions, strict=True)]
        assert own == whole[rank::world_size]


def test_what_comes_later_does_not_change_what_came_before() -> None:
    assert drawn(sampler_of([GB, QB], seed=0), 1500) == drawn(sampler_of([GB], seed=0), 1500)


def test_the_seed_changes_the_order() -> None:
    assert drawn(sampler_of([GB], seed=0), 100) != drawn(sampler_of([GB], seed=1), 100)


def test_another_sequence_length_begins_a_new_order_and_an_old_one_goes_on() -> None:
    """Twice the length: half the samples in an epoch, in an order of their own, from its beginning."""
    halved = {name: size // 2 for name, size in SIZES.items()}
    longer = replace(QB, samples_per_epoch=halved, order=1)
    samples = drawn(sampler_of([GB, longer], seed=0), 2100)
    assert samples[:1500] == drawn(sampler_of([GB], seed=0), 1500)
    web = [position for source, position in samples[1500:] if source == "web"]
    assert 250 < len(web) == len(set(web))
    assert max(web) < 350
    assert web != [position for source, position in drawn(sampler_of([GB, QB], seed=0), 2100)[1500:] if source == "web"]
