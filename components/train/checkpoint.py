"""Checkpoints: model and optimizer in torch.distributed.checkpoint's format; complete, or invisible.

Files are written aside by every process and their SHA-256 with them; the state file, which holds all digests, comes
last, then one rename. What is read is compared with them first.
"""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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

from components.store.store import read_json, write_json

STATE = "state.json"
DIGEST_SUFFIX = ".sha256"


class DamagedCheckpoint(RuntimeError):
    """Files of a checkpoint are missing, cut short or changed."""


class CheckpointFailed(OSError):
    """A checkpoint could not be written: no space, or the storage failed."""


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def model_path(folder: Path, step: int) -> Path:
    return folder / "models" / f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    """Steps of the complete checkpoints, ascending: the state file is written last, before the rename."""
    found = [
        int(match.group(1))
        for path in (folder / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d{8})", path.name)) and (path / STATE).exists()
    ]
    return sorted(found)


def is_kept(folder: Path, step: int) -> bool:
    """Whether the checkpoint is complete and tells its weights' digest, as those do that are kept."""
    state = read_json(checkpoint_path(folder, step) / STATE)
    return state is not None and "weights_sha256" in state


class _DigestWriter(dcp.FileSystemWriter):
    """Writes, beside every file, its SHA-256: before the coordinator learns that the file is there."""

    def write_data(self, plan: Any, planner: Any) -> Any:
        written = super().write_data(plan, planner)
        for file in Path(self.path).glob(f"{plan.storage_data.prefix}*.distcp"):
            file.with_name(file.name + DIGEST_SUFFIX).write_text(_digest_of_file(file))
        return written


class CheckpointWriter:
    """Writes checkpoints beside the training: the loop waits only while the state is copied.

    All processes call `save` and `wait` at the same steps. One checkpoint is on its way at a time.
    """

    def __init__(self, folder: Path, keep: Iterable[int], keep_newest: int) -> None:
        self._folder, self._keep, self._keep_newest = folder, set(keep), keep_newest
        self._alone = not dist.is_initialized()
        self._rank = 0 if self._alone else dist.get_rank()
        # Not the loop's own: its messages must not mix with the loop's.
        self._group = None if self._alone else dist.new_group(backend="gloo")
        on_gpu = torch.cuda.is_available()
        # The copies' memory is kept from one checkpoint to the next.
        self._stager = DefaultStager(StagingOptions(on_gpu, False, False, on_gpu))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._pending_step = 0
        self.blocked_seconds = 0.0
        """How long the last save kept the loop."""

    @property
    def is_busy(self) -> bool:
        return self._pending is not None and not self._pending.done()

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
        """Starts to write the checkpoint of `step`. `facts`: what else its state file tells (of the first process).

        Raises CheckpointFailed, on every process, where the one before had to be kept and failed.
        """
        if self._pending_step in self._keep:
            self.wait()
        self.report()
        began = time.monotonic()
        working = _working_path(self._folder, step)
        if self._rank == 0:
            _remove_unfinished(self._folder)
            working.mkdir(parents=True, exist_ok=True)
        if not self._alone:
            dist.barrier()
        model_state, optimizer_state = get_state_dict(model, optimizer)
        staged: Any = self._stager.stage({"model": model_state, "optimizer": optimizer_state})
        self._pending, self._pending_step = self._thread.submit(self._write, staged, step, facts), step
        self.blocked_seconds = time.monotonic() - began

    def report(self) -> None:
        """Takes note of a checkpoint that ended. One that failed is told and given up: the last good one stays."""
        if self._pending is not None:
            error = self._pending.exception()
            if error is not None and self._rank == 0:
                last = max(map(str, steps_in(self._folder)), default="none")
                print(
                    f"a checkpoint could not be written ({_short(error)}): training goes on, the last good one is "
                    f"that of step {last}", file=sys.stderr, flush=True,
                )  # fmt: skip
            self._pending = None

    def wait(self) -> None:
        """Until the checkpoint on its way is there. Raises CheckpointFailed, on every process, where it failed."""
        if self._pending is None:
            return
        error, self._pending = self._pending.exception(), None
        failed = torch.tensor([float(error is not None)])
        if not self._alone:
            dist.all_reduce(failed)
        if failed.item():
            reason = _short(error) if error else "on another process"
            raise CheckpointFailed(f"a checkpoint could not be written ({reason}); the last good one is intact")

    def close(self) -> None:
        self._thread.shutdown()
        self._stager.close()

    def _write(self, staged: dict[str, Any], step: int, facts: dict[str, Any]) -> None:
        working, path = _working_path(self._folder, step), checkpoint_path(self._folder, step)
        writer = _DigestWriter(working)
        dcp.save(staged, storage_writer=writer, process_group=self._group, no_dist=self._alone)
        if self._rank:
            return
        digests = {".metadata": _digest_of_file(working / ".metadata")}
        for sidecar in sorted(working.glob(f"*{DIGEST_SUFFIX}")):
            digests[sidecar.name.removesuffix(DIGEST_SUFFIX)] = sidecar.read_text()
            sidecar.unlink()
        files = {name: {"bytes": (working / name).stat().st_size, "sha256": one} for name, one in digests.items()}
        write_json(working / STATE, {"step": step, **facts, "files": files})
        if path.exists():
            remove_checkpoint(path)
        working.rename(path)
        newest = steps_in(self._folder)
        for old in [one for one in newest if one <= step][: -self._keep_newest]:
            if old not in self._keep:
                remove_checkpoint(checkpoint_path(self._folder, old))


def find_damage(path: Path, share: slice = slice(None)) -> str:
    """What is wrong with the checkpoint's files (those of `share`), or nothing."""
    state = read_json(path / STATE) or {}
    for name, file in sorted(state.get("files", {}).items())[share]:
        if not (path / name).exists():
            return f"{name} is missing"
        if (size := (path / name).stat().st_size) != file["bytes"]:
            return f"{name} has {size:,} bytes, not {file['bytes']:,}"
        if _digest_of_file(path / name) != file["sha256"]:
            return f"{name} was changed"
    return "" if state.get("files") else "its state file names no files"


def newest_intact(folder: Path, steps: list[int]) -> int | None:
    """The newest undamaged checkpoint of `steps`. A damaged one is named and set aside. All processes call it."""
    alone = not dist.is_initialized()
    for step in reversed(steps):
        path = checkpoint_path(folder, step)
        damage = find_damage_together(path)
        if not damage:
            return step
        if alone or dist.get_rank() == 0:
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            print(f"the checkpoint of step {step} is damaged and set aside ({damage}): {aside}", file=sys.stderr)
        if not alone:
            dist.barrier()
    return None


def find_damage_together(path: Path) -> str:
    """What any process found: each looks at its share of the files."""
    if not dist.is_initialized():
        return find_damage(path)
    found: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(found, find_damage(path, slice(dist.get_rank(), None, dist.get_world_size())))
    return next((one for one in found if one), "")


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Loads weights, and with `optimizer` its state, in place, at any world size; returns the state file's content.

    Its files were compared with their digests before (`newest_intact`, `find_damage_together`).
    """
    alone = not dist.is_initialized()
    if optimizer is None:
        model_state = get_model_state_dict(model)
        dcp.load({"model": model_state}, checkpoint_id=path, no_dist=alone)
        set_model_state_dict(model, model_state)
    else:
        model_state, optimizer_state = get_state_dict(model, optimizer)
        dcp.load({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=path, no_dist=alone)
        set_state_dict(model, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state)
    return dict(read_json(path / STATE))


def _working_path(folder: Path, step: int) -> Path:
    path = checkpoint_path(folder, step)
    return path.with_name(f".{path.name}.new")


def _remove_unfinished(folder: Path) -> None:
    for path in (folder / "checkpoints").glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_checkpoint(path: Path) -> None:
    """Invisible first: a removal that is cut short must not leave what looks complete."""
    hidden = path.with_name(f".{path.name}.old")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(error: BaseException) -> str:
    """The last line that says something: DCP wraps the error of each process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
