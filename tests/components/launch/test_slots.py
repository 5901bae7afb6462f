"""No more processes at a time than the machine has room for, and no two jobs that wait for each other."""

import threading
import time
from pathlib import Path

import pytest

from switchpoint.components.launch import slots as module
from switchpoint.components.launch.slots import has_gpus, num_slots, slots, visible_gpus


@pytest.fixture(autouse=True)
def _four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "slots_folder", lambda: tmp_path / "slots")
    monkeypatch.setattr(module, "num_slots", lambda: 4)


def test_never_more_than_there_are_and_all_get_their_turn() -> None:
    running, most, ended, lock = [0], [0], [0], threading.Lock()

    def job(size: int) -> None:
        with slots(size):
            with lock:
                running[0] += min(size, 4)
                most[0] = max(most[0], running[0])
            time.sleep(0.05)
            with lock:
                running[0] -= min(size, 4)
                ended[0] += 1

    threads = [threading.Thread(target=job, args=(size,)) for size in (1, 3, 2, 4, 1, 9, 2, 3, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert ended == [10]
    assert 1 < most[0] <= 4


def test_jobs_side_by_side_get_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,9")
    assert num_slots() == 4
    with slots(2) as first, slots(2) as second:
        assert visible_gpus(first) == {"CUDA_VISIBLE_DEVICES": "4,5"}
        assert visible_gpus(second) == {"CUDA_VISIBLE_DEVICES": "6,9"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus([0, 1]) == {}
    assert not has_gpus()
