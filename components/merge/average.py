"""The weighted average of models, tensor by tensor, from Hugging Face folders into one of the same layout."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch

from switchpoint.components.train.model_files import tensor_in, write_like
from switchpoint.components.train.weights import safetensors_files


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
    write_like(folders[0], target, lambda name: _average_tensor(name, models, weights))


def _average_tensor(name: str, models: Sequence[dict[str, Path]], weights: Sequence[Fraction]) -> torch.Tensor:
    first: torch.Tensor | None = None
    total: torch.Tensor | None = None
    for files, weight in zip(models, weights, strict=True):
        tensor = tensor_in(files[name], name)
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
