"""The progress of a study while it runs: bars on a terminal, plain lines elsewhere. Reads the store only."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from switchpoint.components.launch.slot_owners import waits_of
from switchpoint.components.launch.slots import slots_folder
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.kind import KINDS
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.recipe.stage import Trained
from switchpoint.components.stages.progress import progress_line
from switchpoint.components.store.store import Store
from switchpoint.components.train.metrics import METRICS

LINE_SECONDS = 10.0
LOOK_SECONDS = 5.0


@dataclass
class Watched:
    """A training run: its metrics, and the number of rows that were read."""

    label: str
    identity: Identity
    start_step: int
    end_step: int
    known_step: int = 0
    """Steps that were there before this run: not shown again."""
    offset: int = 0
    inode: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    shown_at: float = 0.0

    def read(self, store: Store) -> bool:
        """Read new rows; return whether there were any. A file that was replaced (a resume) is read from its start
        again.
        """
        try:
            with (store.fetch_current(self.identity, METRICS) / METRICS).open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self.inode or found.st_size < self.offset:
                    self.offset, self.inode = 0, found.st_ino
                file.seek(self.offset)
                complete = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return False
        if not complete:
            return False
        self.offset += len(complete) + 1
        row = json.loads(complete.rpartition(b"\n")[2])
        if row == self.last or row["step"] <= self.known_step:
            return False
        self.last = row
        return True

    def line(self) -> str:
        """`step a/b | tokens | loss | lr | tok/s | mfu | eta`."""
        return progress_line(self.last, self.end_step)


class Watch:
    """A watch over a plan's outputs until the run ends."""

    def __init__(self, plan: Plan, store: Store, console: Console) -> None:
        self.store, self.console = store, console
        self.waiting = [identity for identity in plan.identities() if not store.is_done(identity)]
        self.labels = labels(plan)
        self.runs = _training_runs(plan, store)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[line]}"),
            console=console,
        )  # fmt: skip
        self.bars: dict[str, TaskID] = {}
        self.began = time.monotonic()
        self.next_look = 0.0
        self.said: set[str] = set()

    @contextmanager
    def shown(self) -> Iterator[None]:
        if self.console.is_terminal:
            with self.progress:
                yield
        else:
            yield
        self.update(final=True)

    def update(self, final: bool = False) -> None:
        """Poll the store once; an object store less often."""
        for line in waits_of(slots_folder(), os.getpid()) - self.said:
            self.said.add(line)
            self.console.print(f"          {line}", style="yellow", highlight=False, markup=False)
        if not self.store.url:
            self._look(final)
            return
        began = time.monotonic()
        if began < self.next_look and not final:
            return
        try:
            self._look(final)
        except OSError as error:  # the run does not end because it cannot be watched
            self.console.print(f"the store does not answer: {error}", style="yellow", highlight=False, markup=False)
        # A store that is slow, or fails, is polled less often.
        self.next_look = time.monotonic() + max(LOOK_SECONDS, 5 * (time.monotonic() - began))

    def _look(self, final: bool) -> None:
        for run in self.runs:
            if run.read(self.store):
                self._show(run, final)
        for identity in [identity for identity in self.waiting if self.store.is_done(identity)]:
            self.waiting.remove(identity)
            self.console.print(
                f"{time.monotonic() - self.began:6.1f} s  {self.labels[identity.digest]:<28} done  {identity.digest}",
                highlight=False,
            )

    def _show(self, run: Watched, final: bool) -> None:
        if self.console.is_terminal and not final:
            if run.label not in self.bars:
                self.bars[run.label] = self.progress.add_task(run.label, total=run.end_step - run.start_step, line="")
            self.progress.update(self.bars[run.label], completed=run.last["step"] - run.start_step, line=run.line())
        elif time.monotonic() - run.shown_at >= LINE_SECONDS or run.last["step"] == run.end_step:
            run.shown_at = time.monotonic()
            self.console.print(f"          {run.label:<22} {run.line()}", highlight=False)


def labels(plan: Plan) -> dict[str, str]:
    """Return what each output is, in a few words, by its digest."""
    found = {identity.digest: KINDS[identity.kind].label for identity in plan.identities()}
    found |= {plan.tokens[name].digest: f"tokens of {name}" for name in plan.tokenised_sources()}
    found |= {identity.digest: f"copies in {name}" for name, identity in plan.duplicates.items()}
    found |= {identity.digest: f"scorer of {name}" for name, identity in plan.scorers.items()}
    if plan.contamination is not None:
        found[plan.contamination.digest] = "evaluation sets"
    found |= {plan.generations[name].identity.digest: f"text of {name}" for name in plan.generated_sources()}
    found |= {digest: f"blend {phase.blend}" for digest, phase in plan.blends.items()}
    found |= {run.identity.digest: _run_label(plan, run) for run in plan.runs}
    for run in plan.runs:
        for check in run.checks:
            found[check.evaluation.digest] = f"gate of {run.stage.phase.name} at step {check.step}"
    for arm in plan.arms:
        for step, evaluation in arm.checkpoint_evaluations.items():
            found[evaluation.digest] = f"evaluation of {arm.run_name} at step {step}"
        found[arm.evaluation.digest] = f"evaluation of {arm.run_name}"
    for one in plan.derived:
        found |= {one.model.digest: f"merge {one.run_name}", one.evaluation.digest: f"evaluation of {one.run_name}"}
    for name, base in plan.bases.items():
        called = "the base" if name == BASE else name
        if base.parent is None or base.trained is None:
            found[base.output.identity.digest] = "base" if name == BASE else f"base {name}"
        found[base.evaluation.digest] = f"evaluation of {called}"
    return found


def _run_label(plan: Plan, run: Trained) -> str:
    """Return a first phase's name with its blend; a later one's with the arms that it belongs to."""
    stage = run.stage
    if len(stage.phases) == 1:
        seed = f" seed {stage.seed}" if len({arm.seed for arm in plan.arms}) > 1 else ""
        return f"{stage.phase.name.upper()} {stage.blend}{seed}"
    names = [arm.run_name for arm in plan.arms if run.identity in arm.runs]
    return f"{stage.phase.name.upper()} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _training_runs(plan: Plan, store: Store) -> list[Watched]:
    runs = []
    for name, run in plan.pretrainings.items():
        label = "base" if name == BASE else f"base {name}"
        runs.append(Watched(label, run.identity, 0, run.stage.end_step))
    for run in plan.runs:
        runs.append(Watched(_run_label(plan, run), run.identity, run.stage.start_step, run.stage.end_step))
    for watched in runs:
        watched.read(store)
        watched.known_step = watched.last.get("step", 0)
    return runs
