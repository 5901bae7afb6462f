"""Several outputs worked on by one task: groups for a loop, a process for each, its lines, its end, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from switchpoint.components.launch.side_by_side import divided, run_side_by_side


def test_names_are_divided_in_order_into_groups_of_nearly_the_same_size() -> None:
    names = [f"arm-{number}" for number in range(500)]
    for most in (1, 7, 32, 499, 500, 501):
        groups = divided(names, most)
        assert [name for group in groups for name in group] == names
        sizes = {len(group) for group in groups}
        assert len(groups) == min(most, 500)
        assert max(sizes) - min(sizes) <= 1
    assert divided(names[:3]) == [["arm-0"], ["arm-1"], ["arm-2"]]


def test_nothing_is_one_group_without_names() -> None:
    """A loop over nothing stays RUNNING on Kubeflow's page."""
    assert divided([]) == [[]]


def test_a_single_name_is_worked_on_in_this_process() -> None:
    found: list[object] = []
    assert run_side_by_side(lambda name: found.extend((name, os.getpid())), ["alone"]) == {}
    assert found == ["alone", os.getpid()]
    with pytest.raises(ZeroDivisionError):
        run_side_by_side(lambda _: 1 / 0, ["alone"])  # type: ignore[arg-type, return-value]
    assert run_side_by_side(lambda _: None, []) == {}


ENDINGS = """
import json, os, signal
from switchpoint.components.launch.side_by_side import run_side_by_side

def work(name):
    os.write(1, f"{name} begins\\nits second ".encode())
    os.write(1, b"line\\n")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "failed":
        raise ValueError("of this one")
    print(f"{name} ends without a newline", end="")

print(json.dumps(run_side_by_side(work, ["good", "killed", "failed", "also-good"])))
"""


def test_each_has_its_lines_and_its_end() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDINGS], capture_output=True, text=True, check=True)
    *lines, last = ended.stdout.splitlines()
    assert json.loads(last) == {"killed": "killed by SIGKILL", "failed": "exit code 1"}
    for name in ("good", "killed", "failed", "also-good"):
        own = [line for line in lines if line.startswith(f"[{name}] ")]
        assert own[:2] == [f"[{name}] {name} begins", f"[{name}] its second line"]
    assert "[good] good ends without a newline" in lines
    assert "[failed] ValueError: of this one" in lines
    assert all(line.startswith("[") for line in lines)


def test_they_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for a file of all others: one after the other they would wait for ever."""
    names = [str(number) for number in range(6)]

    def work(name: str) -> None:
        (tmp_path / name).touch()
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < len(names):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert run_side_by_side(work, names) == {}


TERMINATED = """
import sys, time, signal
from pathlib import Path
from switchpoint.components.launch.side_by_side import run_side_by_side

folder = Path(sys.argv[1])

def work(name):
    def end(number, frame):
        (folder / f"ended-{name}").touch()
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, end)
    (folder / f"began-{name}").touch()
    time.sleep(120)

run_side_by_side(work, ["a", "b", "c"])
"""


def test_sigterm_reaches_all_of_them_and_then_ends_the_task(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", TERMINATED, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("began-*"))) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert {path.name for path in tmp_path.glob("ended-*")} == {"ended-a", "ended-b", "ended-c"}
