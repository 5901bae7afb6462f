"""Models in Hugging Face folders, tensor by tensor: one written like another, and the digest of its weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from switchpoint.components.data.tokenizer_files import copy_tokenizer
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.store.store import MODEL_FOLDER, Store
from switchpoint.components.train.weights import GENERATION, bytes_of, digest_of_tensors, safetensors_files

MODEL_FILES = ("config.json", GENERATION, "model.safetensors.index.json")
"""What a model's folder holds beside its weights and its tokenizer."""


def write_like(source: Path, target: Path, tensor_of: Callable[[str], torch.Tensor]) -> None:
    """Write a model to the new folder `target`: weights are cut into files as in `source`, one tensor in memory; its
    configuration and tokenizer are copied, and nothing else (a trainer's state, an adapter, other weights).

    `tensor_of` returns a weight by its name; it has the shape and type that it has in `source`.
    """
    target.mkdir(parents=True)
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    copy_tokenizer(source, target)
    for path in sorted(set(safetensors_files(source).values())):
        _write_file(path, target / path.name, tensor_of)


def _write_file(path: Path, target: Path, tensor_of: Callable[[str], torch.Tensor]) -> None:
    """Write one safetensors file: the length of its header (8 bytes), the header, the tensors one after the other."""
    header = _header(path)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors, key=lambda one: tensors[one]["data_offsets"][0]):
            file.write(bytes_of(tensor_of(name)))


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return dict(json.loads(file.read(length)))


def store_model(store: Store, identity: Identity, write: Callable[[Path], None]) -> None:
    """Make an output that is a model: `write` writes it into a new folder. Its record has the digest of its weights."""
    with store.output(identity) as folder:
        write(folder / MODEL_FOLDER)
        facts = {"model": MODEL_FOLDER, "weights_sha256": digest_of_folder(folder / MODEL_FOLDER)}
        store.write_record(identity, folder, facts)


def digest_of_folder(folder: Path) -> str:
    """Return the SHA-256 of names and bytes of all weights, as trainers take it of their own."""
    return digest_of_tensors((name, tensor_in(path, name)) for name, path in sorted(safetensors_files(folder).items()))


def tensor_in(path: Path, name: str) -> torch.Tensor:
    """Return one tensor of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor
