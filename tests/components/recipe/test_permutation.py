import numpy as np
import pytest

from switchpoint.components.recipe.permutation import permute


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1024, 100_003])
def test_it_is_a_bijection(size: int) -> None:
    found = permute(np.arange(size), size, "key")
    assert (np.sort(found) == np.arange(size)).all()


def test_another_key_is_another_order_and_any_element_is_found_by_itself() -> None:
    everything = permute(np.arange(5000), 5000, "epoch 0")
    assert (everything != permute(np.arange(5000), 5000, "epoch 1")).mean() > 0.99
    assert permute(np.array([4321]), 5000, "epoch 0")[0] == everything[4321]


def test_neighbours_are_scattered() -> None:
    found = permute(np.arange(100_000), 100_000, "key")
    assert abs(np.corrcoef(np.arange(100_000), found)[0, 1]) < 0.02


def test_the_order_is_the_same_on_every_machine() -> None:
    """Resuming on another machine must find the same samples: these numbers never change."""
    assert permute(np.arange(8), 1000, "golden").tolist() == GOLDEN


GOLDEN = [899, 983, 255, 314, 913, 610, 463, 961]
