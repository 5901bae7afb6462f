"""Weights: loaded from a Hugging Face folder into the shards, gathered from them, and their digest."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import AutoModelForCausalLM, PreTrainedModel

from switchpoint.components.data.tokenizer_files import copy_tokenizer
from switchpoint.components.recipe.errors import BadInput

GENERATION = "generation_config.json"


def load_folder(model: PreTrainedModel, folder: Path) -> None:
    """Fill the model's shards from the folder's weights, widened to fp32.

    Every process reads its own slices of the safetensors files. Where names differ from the model's (older
    checkpoints), the first process reads all and hands them out. Raise BadInput if weights are missing, unknown or of
    another shape.
    """
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name not in model.all_tied_weights_keys}
    files = safetensors_files(folder)
    if files.keys() - set(model.all_tied_weights_keys) != wanted.keys():
        state = _read_whole(model, folder) if _rank() == 0 else {}
        spread(model, state)
        return
    opened = {path: safe_open(path, framework="pt") for path in set(files.values())}
    for name, tensor in wanted.items():
        stored = opened[files[name]].get_slice(name)
        if tuple(stored.get_shape()) != tuple(tensor.shape):
            raise BadInput(
                "a weight has another shape than config.json says", file=str(files[name]), field=name,
                given=list(stored.get_shape()), allowed=list(tensor.shape),
            )  # fmt: skip
        local, place = _own_part(tensor)
        if local.numel():
            local.copy_(stored[place])


def _own_part(tensor: torch.Tensor) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Return what this process holds of a tensor, and its slices in the whole."""
    if not isinstance(tensor, DTensor):
        return tensor, tuple(slice(0, size) for size in tensor.shape)
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local(), tuple(slice(begin, begin + size) for begin, size in zip(offset, shape, strict=True))


def safetensors_files(folder: Path) -> dict[str, Path]:
    """Return the file of each weight, by its name; empty if there are no safetensors."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return {name: folder / file for name, file in json.loads(index.read_text())["weight_map"].items()}
    if not (folder / "model.safetensors").exists():
        return {}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / "model.safetensors")


def _read_whole(model: PreTrainedModel, folder: Path) -> dict[str, torch.Tensor]:
    """Read weights under other names as transformers does."""
    if not list(folder.glob("*.safetensors")):
        raise BadInput("the folder has no weights", file=str(folder), field="model.folder", allowed="safetensors")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, config=model.config, dtype=torch.float32, local_files_only=True, output_loading_info=True,
        use_safetensors=True,
    )  # fmt: skip
    read, info = loaded
    state = cast(dict[str, torch.Tensor], read.state_dict())
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    faults = {
        "weights are missing": set(info["missing_keys"]) | (wanted.keys() - state.keys()),
        "weights are unknown to the model that config.json describes": set(info["unexpected_keys"]),
        "weights have another shape than config.json says": {
            name for name in wanted.keys() & state.keys() if tuple(state[name].shape) != wanted[name]
        },
    }
    for problem, names in faults.items():
        if names:
            raise BadInput(problem, file=str(folder), field=min(names), given=f"{len(names)} such weights")
    return {name: state[name] for name in wanted}


def spread(model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
    """Fill the model's shards from `state`, which the first process holds (the others: nothing)."""
    if dist.is_initialized():
        set_model_state_dict(
            model,
            cast(dict[str, Any], state),
            options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False),
        )
    else:
        model.load_state_dict(state)


def full_state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return all weights, unsharded, on rank 0 (empty on the others); of tied ones only the one that is kept."""
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    tied = set(model.all_tied_weights_keys)
    return cast(dict[str, torch.Tensor], {name: value for name, value in state.items() if name not in tied})


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of names and bytes of all weights: equal if and only if the bits are."""
    return digest_of_tensors((name, state[name]) for name in sorted(state))


def digest_of_tensors(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return the SHA-256 of names and bytes, in the order given, which is that of the names; one tensor at a time."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor on the CPU, as safetensors stores them."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def export(
    model: PreTrainedModel, state: dict[str, torch.Tensor], folder: Path, tokenizer: Path, base: Path | None = None
) -> None:
    """Write a folder that `from_pretrained` loads, tokenizer included; complete or not there. Rank 0 only.

    `base`: the folder of the model that it was trained from, whose settings of generation it keeps.
    """
    working = folder.with_name(f".{folder.name}")
    shutil.rmtree(working, ignore_errors=True)
    model.save_pretrained(working, state_dict=state)
    if base is not None and (base / GENERATION).is_file():
        shutil.copyfile(base / GENERATION, working / GENERATION)
    copy_tokenizer(tokenizer, working)
    shutil.rmtree(folder, ignore_errors=True)
    working.rename(folder)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0
