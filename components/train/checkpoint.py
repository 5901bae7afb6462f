"""Checkpoints of model and optimizer in torch.distributed.checkpoint's format, in a folder or an object store.

A checkpoint is complete or invisible. Every process writes its files; then the first one writes the state file, which
holds the digests of all. Without a state file there is no checkpoint, so a removal deletes it first. Files are compared
with their digests before they are loaded.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from switchpoint.components.store import remote
from switchpoint.components.store.location import (
    Location,
    digest_of_file,
    exists,
    files_in,
    read_json,
    remove_files,
    remove_folder,
    write_json,
)
from switchpoint.components.store.remote import is_remote
from switchpoint.components.train.checkpoint_files import DigestWriter, reader

STATE = "state.json"
MODEL_LAST = "config.json"
"""The file of a model that is written last to an object store: without it the model is incomplete."""


class DamagedCheckpoint(RuntimeError):
    """Files of a checkpoint are missing, cut short or changed."""


class CheckpointFailed(OSError):
    """A checkpoint could not be written: no space, or the storage failed."""


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def checkpoint_place(place: Location, step: int) -> str:
    """Return the location of the checkpoint of `step` of a run at `place` (a path or a URL)."""
    return f"{place}/checkpoints/step-{step:08d}"


def model_path(folder: Path, step: int) -> Path:
    return folder / "models" / f"step-{step:08d}"


def has_model(place: Location, step: int) -> bool:
    """Return whether a run has exported its model of `step`."""
    if is_remote(str(place)):
        return exists(f"{place}/models/step-{step:08d}/{MODEL_LAST}")
    return model_path(Path(place), step).is_dir()


def steps_in(place: Location) -> list[int]:
    """Return the steps of a run's complete checkpoints (those with a state file), ascending."""
    if not is_remote(str(place)):
        folders = Path(place, "checkpoints").glob("step-*")
        names = [f"{path.name}/{STATE}" for path in folders if (path / STATE).exists()]
    else:
        names = list(files_in(f"{place}/checkpoints"))
    found = [re.fullmatch(rf"step-(\d{{8}})/{re.escape(STATE)}", name) for name in names]
    return sorted(int(match.group(1)) for match in found if match)


def is_kept(place: Location, step: int) -> bool:
    """Return whether the checkpoint is complete and has its weights' digest, as those that a job requested."""
    state = read_state(place, step)
    return state is not None and "weights_sha256" in state


def read_state(place: Location, step: int) -> dict[str, Any] | None:
    """Return the state file's content; None if the checkpoint is not complete."""
    found: dict[str, Any] | None = read_json(f"{checkpoint_place(place, step)}/{STATE}")
    return found


class CheckpointWriter:
    """A thread that writes checkpoints while training continues: the loop waits only while the state is copied.

    All processes call `save` and `wait` at the same steps. One checkpoint is written at a time.
    """

    def __init__(
        self, place: Location, keep: Iterable[int], keep_newest: int, before_state: Callable[[], None] = lambda: None
    ) -> None:
        """`place`: the run's. `before_state`: called on the first process before it writes the state file."""
        self._place, self._keep, self._keep_newest, self._before_state = place, set(keep), keep_newest, before_state
        self._alone = not dist.is_initialized()
        self._rank = 0 if self._alone else dist.get_rank()
        # A group of its own: its messages must not mix with those of the loop.
        self._group = None if self._alone else dist.new_group(backend="gloo")
        on_gpu = torch.cuda.is_available()
        # The memory of the copies is reused by the next checkpoint.
        self._stager = DefaultStager(StagingOptions(on_gpu, False, False, on_gpu))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._pending_step = 0
        self.blocked_seconds = 0.0
        """How long the last save stopped the loop."""
        self.last_good: int | None = None
        """The newest step known to have a checkpoint. Remembered: a store that has just failed cannot answer."""

    @property
    def is_busy(self) -> bool:
        return self._pending is not None and not self._pending.done()

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
        """Start to write the checkpoint of `step`. The first process writes `facts` into its state file.

        Raise CheckpointFailed, on every process, if the checkpoint before was to be kept and could not be written.
        """
        if self._pending_step in self._keep:
            self.wait()
        self.report()
        began = time.monotonic()
        model_state, optimizer_state = get_state_dict(model, optimizer)
        staged: Any = self._stager.stage({"model": model_state, "optimizer": optimizer_state})
        self._pending, self._pending_step = self._thread.submit(self._write, staged, step, facts), step
        self.blocked_seconds = time.monotonic() - began

    def report(self) -> None:
        """Report how the last checkpoint ended. After a failure training continues, and the last good one stays."""
        if self._pending is not None:
            error = self._pending.exception()
            if error is None:
                self.last_good = self._pending_step
            elif self._rank == 0:
                last = "none" if self.last_good is None else self.last_good
                print(
                    f"a checkpoint could not be written ({_short(error)}): training goes on, the last good one is "
                    f"that of step {last}", file=sys.stderr, flush=True,
                )  # fmt: skip
            self._pending = None

    def wait(self) -> None:
        """Wait for the checkpoint in progress. Raise CheckpointFailed, on every process, if any process failed."""
        if self._pending is None:
            return
        error, self._pending = self._pending.exception(), None
        failed = torch.tensor([float(error is not None)])
        if not self._alone:
            dist.all_reduce(failed)
        if failed.item():
            reason = _short(error) if error else "on another process"
            raise CheckpointFailed(f"a checkpoint could not be written ({reason}); the last good one is intact")
        self.last_good = self._pending_step

    def close(self) -> None:
        self._thread.shutdown()
        self._stager.close()

    def _write(self, staged: dict[str, Any], step: int, facts: dict[str, Any]) -> None:
        place = checkpoint_place(self._place, step)
        if self._rank == 0:
            with suppress(Exception):  # the others wait; digests reveal a file that is half overwritten
                remove_checkpoint(place)
                _remove_unfinished(self._place)
        if not self._alone:
            dist.barrier(self._group)
        writer = DigestWriter(place)
        dcp.save(staged, storage_writer=writer, process_group=self._group, no_dist=self._alone)
        written: list[dict[str, Any]] = [writer.written]
        if not self._alone:
            written *= dist.get_world_size()
            dist.all_gather_object(written, writer.written, group=self._group)
        if self._rank:
            return
        self._before_state()
        files = {name: file for part in written for name, file in sorted(part.items())}
        write_json(f"{place}/{STATE}", {"step": step, **facts, "files": files})
        newest = steps_in(self._place)
        for old in [one for one in newest if one <= step][: -self._keep_newest]:
            # A job requested every checkpoint with a digest: only `switchpoint prune` removes those.
            if old not in self._keep and not is_kept(self._place, old):
                remove_checkpoint(checkpoint_place(self._place, old))


def find_damage(place: Location, share: slice = slice(None)) -> str:
    """Return what is wrong with the checkpoint's files (those of `share`); empty if nothing is."""
    state, there = read_json(f"{place}/{STATE}") or {}, files_in(place)
    for name, file in sorted(state.get("files", {}).items())[share]:
        if name not in there:
            return f"{name} is missing"
        if there[name] != file["bytes"]:
            return f"{name} has {there[name]:,} bytes, not {file['bytes']:,}"
        if digest_of_file(f"{place}/{name}") != file["sha256"]:
            return f"{name} was changed"
    return "" if state.get("files") else "its state file names no files"


def newest_intact(place: Location, steps: list[int]) -> int | None:
    """Return the newest undamaged checkpoint of `steps`, and set damaged ones aside. All processes call it."""
    alone = not dist.is_initialized()
    for step in reversed(steps):
        damaged = checkpoint_place(place, step)
        damage = find_damage_together(damaged)
        if not damage:
            return step
        if alone or dist.get_rank() == 0:
            aside = f"{damaged}.damaged"
            _set_aside(damaged, aside)
            print(f"the checkpoint of step {step} is damaged and set aside ({damage}): {aside}", file=sys.stderr)
        if not alone:
            dist.barrier()
    return None


def find_damage_together(place: Location) -> str:
    """Return what any process found: each checks its share of the files."""
    if not dist.is_initialized():
        return find_damage(place)
    found: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(found, find_damage(place, slice(dist.get_rank(), None, dist.get_world_size())))
    return next((one for one in found if one), "")


def load_checkpoint(place: Location, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Load weights, and with `optimizer` its state, in place, at any world size. Return the state file's content.

    The caller has compared the files with their digests (`newest_intact`, `find_damage_together`).
    """
    alone = not dist.is_initialized()
    if optimizer is None:
        model_state = get_model_state_dict(model)
        dcp.load({"model": model_state}, storage_reader=reader(place), no_dist=alone)
        set_model_state_dict(model, model_state)
    else:
        model_state, optimizer_state = get_state_dict(model, optimizer)
        dcp.load({"model": model_state, "optimizer": optimizer_state}, storage_reader=reader(place), no_dist=alone)
        set_state_dict(model, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state)
    return dict(read_json(f"{place}/{STATE}"))


def remove_checkpoint(place: Location) -> None:
    """Remove the state file, then the rest: a removal that is cut short must not leave what looks complete."""
    remove_files(place, [STATE])
    remove_folder(place)


def _remove_unfinished(place: Location) -> None:
    """Remove checkpoints whose writing or removal was cut short."""
    complete = set(steps_in(place))
    for name in {file.partition("/")[0] for file in files_in(f"{place}/checkpoints")}:
        match = re.fullmatch(r"step-(\d{8})", name)
        if match and int(match.group(1)) not in complete:
            remove_folder(f"{place}/checkpoints/{name}")


def _set_aside(place: str, aside: str) -> None:
    remove_folder(aside)
    if not is_remote(place):
        Path(place).rename(aside)
        return
    for name in files_in(place):
        remote.copy(f"{place}/{name}", f"{aside}/{name}")
    remove_checkpoint(place)


def _short(error: BaseException) -> str:
    """Return the last line of the message that is not empty: DCP wraps the error of each process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
