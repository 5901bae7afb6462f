"""A copy of a model: what a transform is at the least."""

from pathlib import Path

from switchpoint.components.recipe.transform import Copy
from switchpoint.components.train.model_files import tensor_in, write_like
from switchpoint.components.train.weights import safetensors_files


def copy_model(config: Copy, source: Path, target: Path) -> None:
    """Write the weights of the model in `source`, bit for bit, to the new folder `target`."""
    files = safetensors_files(source)
    write_like(source, target, lambda name: tensor_in(files[name], name))
