"""The weighted average of models, tensor by tensor, from Hugging Face folders into one of the same layout."""

import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from switchpoint.components.train.weights import bytes_of, digest_of_tensors, safetensors_files


class NotMergeable(RuntimeError):
    """The models have not the same weights by name, shape and type."""


def average_models(folders: Sequence[Path], weights: Sequence[Fraction], target: Path) -> None:
    """Write the average of the models in `folders` to the new folder `target`.

    Each tensor is averaged in fp64 and rounded once to the type that it has in the first model, so the result depends
    on the order of models only by that sum's rounding. Files are cut, and other files are copied, as in the first
    model. Raise NotMergeable if a model has other weights than the first.
    """
    first = safetensors_files(folders[0])
    if not first:
        raise NotMergeable(f"{folders[0]} has no safetensors")
    models = [safetensors_files(folder) for folder in folders]
    for folder, files in zip(folders, models, strict=True):
        if files.keys() != first.keys():
            raise NotMergeable(
                f"{folder} has other weights than {folders[0]}: {sorted(files.keys() ^ first.keys())[0]}"
            )
    target.mkdir(parents=True)
    for path in folders[0].iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
    for path in sorted(set(first.values())):
        _average_file(path, models, weights, target / path.name)


def _average_file(path: Path, models: Sequence[dict[str, Path]], weights: Sequence[Fraction], target: Path) -> None:
    """Write one safetensors file: the length of its header (8 bytes), the header, the tensors one after the other."""
    header = _header(path)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors, key=lambda one: tensors[one]["data_offsets"][0]):
            file.write(bytes_of(_average_tensor(name, models, weights)))


def _average_tensor(name: str, models: Sequence[dict[str, Path]], weights: Sequence[Fraction]) -> torch.Tensor:
    first: torch.Tensor | None = None
    total: torch.Tensor | None = None
    for files, weight in zip(models, weights, strict=True):
        tensor = _tensor(files[name], name)
        if first is None:
            first, total = tensor, torch.zeros(tensor.shape, dtype=torch.float64)
        if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            raise NotMergeable(f"{name}: {list(tensor.shape)} {tensor.dtype} in {files[name]}, {list(first.shape)} "
                               f"{first.dtype} in the first model")  # fmt: skip
        if not first.is_floating_point():
            if not torch.equal(tensor, first):
                raise NotMergeable(f"{name}: integers that differ in {files[name]}")
            continue
        assert total is not None
        total += float(weight) * tensor.to(torch.float64)
    assert first is not None
    assert total is not None
    return total.to(first.dtype) if first.is_floating_point() else first


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return dict(json.loads(file.read(length)))


def digest_of_folder(folder: Path) -> str:
    """Return the SHA-256 of names and bytes of all weights, as trainers take it of their own."""
    return digest_of_tensors((name, _tensor(path, name)) for name, path in sorted(safetensors_files(folder).items()))


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor
