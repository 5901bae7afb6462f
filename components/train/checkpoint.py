"""Checkpoints: model and optimizer in torch.distributed.checkpoint's format, complete or invisible."""

import re
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from components.store.store import read_json, write_json

STATE = "state.json"


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


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: set[int],
    state: dict[str, object],
) -> None:
    """Writes the checkpoint of `step` (all ranks call it), then removes older ones that need not be kept.

    `state`: what else the checkpoint tells (its weights' digest, say); written on rank 0.
    """
    path = checkpoint_path(folder, step)
    working = path.with_name(f".{path.name}.new")
    alone = not dist.is_initialized()
    rank = 0 if alone else dist.get_rank()
    if rank == 0:
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir(parents=True)
    if not alone:
        dist.barrier()
    model_state, optimizer_state = get_state_dict(model, optimizer)
    dcp.save({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=working, no_dist=alone)
    if rank == 0:
        write_json(working / STATE, {"step": step, **state})
        if path.exists():
            _remove(path)
        working.rename(path)
        for old in steps_in(folder):
            if old < step and old not in keep:
                _remove(checkpoint_path(folder, old))
    if not alone:
        dist.barrier()


def _remove(path: Path) -> None:
    """Invisible first: a removal that is cut short must not leave what looks complete."""
    hidden = path.with_name(f".{path.name}.old")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> int:
    """Loads weights, and with `optimizer` its state, in place, at any world size; returns the checkpoint's step."""
    alone = not dist.is_initialized()
    if optimizer is None:
        model_state = get_model_state_dict(model)
        dcp.load({"model": model_state}, checkpoint_id=path, no_dist=alone)
        set_model_state_dict(model, model_state)
    else:
        model_state, optimizer_state = get_state_dict(model, optimizer)
        dcp.load({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=path, no_dist=alone)
        set_state_dict(model, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state)
    return int(read_json(path / STATE)["step"])
