"""The work of one task on several outputs at a time: a forked process for each, with its name before its lines.

Tasks of a loop are few, because every one of them makes twelve nodes in Argo's Workflow object, which may hold
1 MiB. So a task of a large study starts the Jobs of several arms. Launchers wait for most of their time: they cost
memory only, and a fork shares what is imported (torch alone is 0.6 GB).
"""

import multiprocessing
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.process import BaseProcess
from types import FrameType

MAX_TASKS = 40
"""The largest number of tasks of a loop. Three loops of as many take half of the Workflow object
(pipelines/commands/workflow_size.py)."""


def divided(names: Sequence[str], most: int = MAX_TASKS) -> list[list[str]]:
    """Return `names` in order as at most `most` groups whose sizes differ by one at most; one empty group for none.

    A loop over nothing stays RUNNING on Kubeflow's page, so nothing to do is one group that is empty.
    """
    number = max(1, min(most, len(names)))
    size, larger = divmod(len(names), number)
    ends = [group * size + min(group, larger) for group in range(number + 1)]
    return [list(names[start:end]) for start, end in pairwise(ends)]


def run_side_by_side(work: Callable[[str], None], names: Sequence[str]) -> dict[str, str]:
    """Call `work(name)` for every name, and return how the processes that failed ended, by name.

    A single name is worked on in this process, and what it raises is raised. For several names this process must not
    have opened a store yet: connections and threads do not survive a fork. SIGTERM is passed on to all of them; this
    process then ends with them (raises SystemExit).
    """
    if len(names) == 1:
        work(names[0])
    if len(names) < 2:
        return {}
    return _Processes(work).run(names)


class _Processes:
    def __init__(self, work: Callable[[str], None]) -> None:
        self.work = work
        self.context = multiprocessing.get_context("fork")
        self.running: dict[str, BaseProcess] = {}
        self.signalled = False

    def run(self, names: Sequence[str]) -> dict[str, str]:
        before = signal.signal(signal.SIGTERM, self._pass_on)
        try:
            with selectors.DefaultSelector() as outputs:
                for name in names:
                    if not self.signalled:
                        outputs.register(self._start(name), selectors.EVENT_READ, name)
                _print_lines(outputs)
            for process in self.running.values():
                process.join()
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.signalled:
            raise SystemExit(128 + signal.SIGTERM)
        return {name: _ending(process.exitcode) for name, process in self.running.items() if process.exitcode}

    def _start(self, name: str) -> int:
        """Return the end of the pipe from which the lines of the new process are read."""
        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        process = self.context.Process(target=self._work_on, args=(name, write), name=name)
        process.start()
        os.close(write)
        self.running[name] = process
        return read

    def _work_on(self, name: str, output: int) -> None:
        """Run in the new process."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            self.work(name)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        finally:
            sys.stdout.flush()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
        for process in self.running.values():
            if process.is_alive():
                process.terminate()


def _print_lines(outputs: selectors.BaseSelector) -> None:
    """Print what the processes write, line by line, until all of them have closed their pipes."""
    parts: dict[int, bytes] = {}
    while outputs.get_map():
        for key, _ in outputs.select():
            found = os.read(key.fd, 65536)
            *lines, parts[key.fd] = (parts.get(key.fd, b"") + found).split(b"\n")
            if not found:
                outputs.unregister(key.fd)
                os.close(key.fd)
                lines += filter(None, [parts.pop(key.fd)])
            for line in lines:
                print(f"[{key.data}] {line.decode(errors='replace')}", flush=True)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
