"""No more processes at a time than the machine has room for, and no two jobs that wait for each other."""

import io
import os
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from switchpoint.components.launch import slots as module
from switchpoint.components.launch.process import DRIVER_VARIABLE
from switchpoint.components.launch.slot_owners import waits_of
from switchpoint.components.launch.slots import has_gpus, num_slots, slots, visible_gpus
from switchpoint.components.launch.task import RUN_LOG_VARIABLE
from switchpoint.components.store.store import Store
from switchpoint.pipelines.commands.progress import Watch


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


def test_a_job_that_waits_for_another_study_says_so_to_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SAY_SECONDS", 0.1)
    monkeypatch.setenv(DRIVER_VARIABLE, "11")
    monkeypatch.setenv(RUN_LOG_VARIABLE, "first.log")
    shown = Console(file=io.StringIO(), width=200)

    def waiting(size: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: slots(size).__enter__())
        thread.start()
        time.sleep(1)
        return thread

    with slots(3):
        own = waiting(2)  # takes one and, while it waits for its own study's, the gate
        assert waits_of(tmp_path / "slots", 11) == set()
        monkeypatch.setenv(DRIVER_VARIABLE, str(os.getpid()))
        other = waiting(1)
        line = "waits for cores: another study holds 4 of 4 (process 11, log first.log)"
        assert waits_of(tmp_path / "slots", os.getpid()) == {line}
        assert waits_of(tmp_path / "slots", 11) == set()
        assert capsys.readouterr().out == f"{line}\n"
        watch = Watch.__new__(Watch)
        watch.said, watch.console, watch.runs, watch.waiting = set(), shown, [], []
        watch.store = Store(tmp_path / "store")
        monkeypatch.setattr("switchpoint.pipelines.commands.progress.slots_folder", lambda: tmp_path / "slots")
        watch.update()
        watch.update()
        assert shown.file.getvalue().count(line) == 1  # type: ignore[attr-defined]
    for thread in (own, other):
        thread.join(timeout=20)
    assert waits_of(tmp_path / "slots", os.getpid()) == set()


def test_jobs_side_by_side_get_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,9")
    assert num_slots() == 4
    with slots(2) as first, slots(2) as second:
        assert visible_gpus(first) == {"CUDA_VISIBLE_DEVICES": "4,5"}
        assert visible_gpus(second) == {"CUDA_VISIBLE_DEVICES": "6,9"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus([0, 1]) == {}
    assert not has_gpus()
