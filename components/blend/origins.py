"""What the inputs of a recipe hold: read and checked before anything is written (law 7)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.blend import folder_text, python_text
from components.recipe.errors import BadInput
from components.recipe.plan import PYTHON_ORIGIN, origin_of
from components.recipe.recipe import Recipe
from components.store.store import read_json


@dataclass(frozen=True, kw_only=True)
class Inputs:
    digests: dict[str, str]
    """Content digest of every origin of text, tokenizer folder and model folder, by its path (or `python`)."""
    max_tokens: dict[str, int]
    """Upper bound of a source's training tokens, where one is known: a token holds at least one byte."""


def read_inputs(recipe: Recipe) -> Inputs:
    """Reads every input once. Raises BadInput for what is missing, empty, unreadable or not UTF-8."""
    digests: dict[str, str] = {}
    max_tokens: dict[str, int] = {}
    for name, source in recipe.sources.items():
        origin = origin_of(source)
        if source.folder:
            field = f"sources.{name}.folder"
            texts = _folder_texts(Path(source.folder), field)
            if len({text for _, text in texts}) < 2:
                raise BadInput(
                    "the held-out part is split off file by file", file=source.folder, field=field,
                    given=f"{len(texts)} file(s), {len({text for _, text in texts})} different",
                    allowed="at least two different files",
                )  # fmt: skip
            digests[origin] = _digest(texts)
            max_tokens[name] = sum(len(text) + 1 for _, text in texts)
        elif origin not in digests:
            digests[origin] = origin_digest(origin, "")
    for field, folder, needed in (
        ("tokenizer.folder", recipe.tokenizer.folder, ("tokenizer.json", "tokenizer_config.json")),
        ("model.folder", recipe.model.folder, ("config.json",)),
    ):
        if folder:
            digests[folder] = _folder_digest(Path(folder), field, needed)
    if recipe.model.folder and recipe.tokenizer.folder:
        _check_fit(recipe, Path(recipe.model.folder), Path(recipe.tokenizer.folder))
    return Inputs(digests=digests, max_tokens=max_tokens)


def _check_fit(recipe: Recipe, model: Path, tokenizer: Path) -> None:
    """The model must have an embedding for every token, and a position for every token of a sample."""
    config, vocabulary = read_json(model / "config.json"), read_json(tokenizer / "tokenizer.json")
    added = [token["id"] for token in vocabulary.get("added_tokens", [])]
    num_tokens = max([*vocabulary["model"]["vocab"].values(), *added]) + 1
    if config.get("vocab_size", num_tokens) < num_tokens:
        raise BadInput(
            "the tokenizer has ids beyond the model's vocabulary", file=str(tokenizer), field="tokenizer.folder",
            given=f"{num_tokens:,} ids", allowed=f"at most {config['vocab_size']:,} (config.json of {model})",
        )  # fmt: skip
    if config.get("max_position_embeddings", recipe.sequence_length) < recipe.sequence_length:
        raise BadInput(
            "longer than the model's positions", file=str(model), field="sequence_length",
            given=recipe.sequence_length, allowed=f"at most {config['max_position_embeddings']:,}",
        )  # fmt: skip


def origin_digest(origin: str, field: str) -> str:
    """Of all that an origin's text is made from."""
    if origin != PYTHON_ORIGIN:
        return _digest(_folder_texts(Path(origin), field))
    texts = [(name, path.read_bytes()) for name, path in python_text.python_files()]
    texts += [(f"topic {name}", text.encode()) for name, text in python_text.topics().items()]
    return _digest(texts)


def _folder_texts(folder: Path, field: str) -> list[tuple[str, bytes]]:
    files = folder_text.text_files(folder, field)
    return [(name, folder_text.read_text(path, field).encode()) for name, path in files]


def _folder_digest(folder: Path, field: str, needed: tuple[str, ...]) -> str:
    if not folder.is_dir():
        raise BadInput("no such folder", file=str(folder), field=field, allowed=f"a folder with {' and '.join(needed)}")
    for name in needed:
        if not (folder / name).is_file():
            raise BadInput(f"the folder has no {name}", file=str(folder), field=field, allowed=", ".join(needed))
    if field == "model.folder" and not list(folder.glob("*.safetensors")):
        raise BadInput("the folder has no weights", file=str(folder), field=field, allowed="*.safetensors")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".txt"}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _digest(texts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, text in texts:
        digest.update(f"{name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()[:16]
