"""The weight files of a model's folder: found, and their headers read, before anything is trained."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from switchpoint.components.recipe.errors import BadInput

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LFS_POINTER = b"version https://git-lfs"
SAFETENSORS = (
    f"safetensors: {SINGLE}, or {INDEX} and its shards. transformers writes them: "
    "`AutoModelForCausalLM.from_pretrained(...).save_pretrained(FOLDER)`"
)


@dataclass(frozen=True)
class StoredWeight:
    """A weight as the header of its file describes it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it, such as BF16."""


def stored_weights(folder: Path) -> dict[str, StoredWeight]:
    """Return the weights of a folder, by name. Raise BadInput for files that are missing, damaged or of another kind.

    Only headers are read: a file that is shorter than its header says is found, a changed value is not.
    """
    found: dict[str, StoredWeight] = {}
    listed = _files(folder)
    for path in dict.fromkeys(listed.values()) if listed else [folder / SINGLE]:
        for name, weight in _header(path).items():
            if name in found:
                raise BadInput(
                    "two files hold a weight of the same name", file=str(path),
                    given=f"{name}, also in {found[name].file}",
                )  # fmt: skip
            found[name] = weight
    absent = sorted(name for name, path in listed.items() if name not in found or found[name].file != path)
    if absent:
        raise BadInput(
            "a shard lacks weights that the index expects in it", file=str(listed[absent[0]]),
            given=named(absent), allowed="the shards and the index of one model: copy the folder again",
        )  # fmt: skip
    return found


def named(names: list[str], shown: int = 3) -> str:
    """Return how many names there are, and the first of them."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return f"{len(names):,}: {', '.join(names[:shown])}{more}"


def _files(folder: Path) -> dict[str, Path]:
    """Return the file of each weight as the index says; empty where the weights are one file."""
    if (folder / "adapter_config.json").exists():
        raise BadInput(
            "an adapter (LoRA) is no model", file=str(folder / "adapter_config.json"),
            allowed="a folder with the whole model: `merge_and_unload()` of the library peft makes one",
        )  # fmt: skip
    index, single = folder / INDEX, folder / SINGLE
    if index.exists() and single.exists():
        raise BadInput(
            "two sets of weights", file=str(folder), given=f"{SINGLE} and {INDEX}",
            allowed="one of them, so that all who read the folder read the same weights",
        )  # fmt: skip
    if single.exists():
        return {}
    if index.exists():
        return _listed(folder, index)
    others = sorted(
        path.name for path in folder.iterdir() if path.suffix in {".gguf", ".bin", ".pt", ".pth", ".safetensors"}
    )
    raise BadInput(
        "the folder has no weights that can be read", file=str(folder), given=", ".join(others[:4]), allowed=SAFETENSORS
    )


def _listed(folder: Path, index: Path) -> dict[str, Path]:
    try:
        files = {str(name): str(file) for name, file in json.loads(index.read_text("utf-8"))["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"not an index of weights: {type(error).__name__}: {error}", file=str(index), allowed="a `weight_map:`"
        ) from None
    elsewhere = sorted({file for file in files.values() if Path(file).name != file})
    if elsewhere:
        raise BadInput(
            "a shard lies outside the folder", file=str(index), given=elsewhere[0], allowed="a file of the same folder"
        )
    missing = sorted({file for file in files.values() if not (folder / file).exists()})
    if missing:
        raise BadInput(
            "shards are missing", file=str(folder / missing[0]), given=f"missing {named(missing)}",
            allowed=f"every file that {INDEX} names: copy the folder again",
        )  # fmt: skip
    return {name: folder / file for name, file in files.items()}


def _header(path: Path) -> dict[str, StoredWeight]:
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise BadInput(
                    "a Git LFS pointer instead of the weights", file=str(path), given=f"{path.stat().st_size} bytes",
                    allowed="the file itself: `git lfs pull` in the folder",
                )  # fmt: skip
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: StoredWeight(path, tuple(one.get_shape()), str(one.get_dtype())) for name, one in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"the weights cannot be read: {error}", file=str(path), given=f"{_size(path)} bytes",
            allowed="a whole safetensors file: copy it again",
        ) from None  # fmt: skip


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size:,}"
    except OSError:
        return "0"
