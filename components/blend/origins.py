"""What the inputs of a recipe hold: read and checked before anything is written (law 7)."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.blend import folder_text, python_text
from components.blend.environment_text import ENVIRONMENT_PARTS, environment_files
from components.blend.tokenizer import load_tokenizer
from components.recipe.errors import BadInput
from components.recipe.expand import ENVIRONMENT_ORIGIN, PYTHON_ORIGIN, origin_of, part_of
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
    places: dict[tuple[str, str], str] = {}
    owners: dict[bytes, tuple[str, str]] = {}
    with_text = {
        name: source for name, source in recipe.sources.items() if source.has_text and name not in recipe.left_out
    }
    if len({origin_of(source) for source in with_text.values()} & {PYTHON_ORIGIN, ENVIRONMENT_ORIGIN}) > 1:
        raise BadInput(
            "`python:` and `environment:` both read the standard library: its text could be trained on and held out at "
            "once", field="sources", allowed="one of the two in a recipe",
        )  # fmt: skip
    for name, source in with_text.items():
        origin, field = origin_of(source), f"sources.{name}.folder"
        twin = places.setdefault((origin, part_of(source)), name)
        if twin != name:
            raise BadInput(
                "two sources on the same text: it would be drawn twice in an epoch", file=origin,
                field=f"sources.{name}", given=f"the same as sources.{twin}",
                allowed="one source; weights say how often",
            )  # fmt: skip
        if source.folder:
            texts = _folder_texts(Path(source.folder), field)
            _check_files(source.folder, texts, owners, field)
            digests[origin] = _digest(texts)
            max_tokens[name] = sum(len(text) + 1 for _, text in texts)
        elif origin not in digests:
            digests[origin] = origin_digest(origin, "", parts_of(recipe, origin))
    if recipe.tokenizer.folder:
        needed = ("tokenizer.json", "tokenizer_config.json")
        digests[recipe.tokenizer.folder] = _checked_folder(recipe.tokenizer.folder, "tokenizer.folder", needed)
        tokenizer, _ = load_tokenizer(Path(recipe.tokenizer.folder))
        if recipe.model.folder:
            digests[recipe.model.folder] = _checked_folder(recipe.model.folder, "model.folder", ("config.json",))
            _check_fit(recipe, Path(recipe.model.folder), max(tokenizer.get_vocab().values()) + 1)
    return Inputs(digests=digests, max_tokens=max_tokens)


def _check_files(folder: str, texts: list[tuple[str, bytes]], owners: dict[bytes, tuple[str, str]], field: str) -> None:
    """Each folder is split by itself: what stands in two could be trained on and held out at once."""
    if len({text for _, text in texts}) < 2:
        raise BadInput(
            "the held-out part is split off file by file", file=folder, field=field,
            given=f"{len(texts)} file(s), {len({text for _, text in texts})} different",
            allowed="at least two different files",
        )  # fmt: skip
    for name, text in texts:
        owner = owners.setdefault(hashlib.sha256(text).digest(), (folder, name))
        if owner[0] != folder:
            raise BadInput(
                "the same text stands in two sources: it could be trained on and held out at once",
                file=f"{folder}/{name}", field=field, given=f"the same as {owner[0]}/{owner[1]}",
                allowed="each text in one source",
            )  # fmt: skip


def _check_fit(recipe: Recipe, model: Path, num_ids: int) -> None:
    """The model must have an embedding for every token, and a position for every token of a sample."""
    try:
        config = read_json(model / "config.json")
        vocab_size = int(config.get("vocab_size", num_ids))
        num_positions = int(config.get("max_position_embeddings", recipe.sequence_length))
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(
            f"not a model's configuration: {error}", file=str(model / "config.json"), field="model.folder"
        ) from None
    if vocab_size < num_ids:
        raise BadInput(
            "the tokenizer has ids beyond the model's vocabulary", file=str(recipe.tokenizer.folder),
            field="tokenizer.folder", given=f"{num_ids:,} ids",
            allowed=f"at most {vocab_size:,} (config.json of {model})",
        )  # fmt: skip
    if num_positions < recipe.sequence_length:
        raise BadInput(
            "longer than the model's positions", file=str(model), field="sequence_length",
            given=recipe.sequence_length, allowed=f"at most {num_positions:,}",
        )  # fmt: skip


def parts_of(recipe: Recipe, origin: str) -> list[str]:
    """The parts of an origin that the recipe's sources are."""
    sources = [source for name, source in recipe.sources.items() if source.has_text and name not in recipe.left_out]
    return sorted({part_of(source) for source in sources if origin_of(source) == origin})


def origin_digest(origin: str, field: str, parts: list[str]) -> str:
    """Of all that the text of an origin's `parts` is made from."""
    if origin == ENVIRONMENT_ORIGIN:
        unknown = [part for part in parts if part not in ENVIRONMENT_PARTS]
        if unknown:
            raise BadInput(
                "no such part of the environment", field="sources", given=", ".join(unknown),
                allowed=", ".join(ENVIRONMENT_PARTS),
            )  # fmt: skip
        files = [(name, path.read_bytes()) for name, path in environment_files(parts)]
        return _digest([("parts", " ".join(parts).encode()), *files])
    if origin != PYTHON_ORIGIN:
        return _digest(_folder_texts(Path(origin), field))
    texts = [(name, path.read_bytes()) for name, path in python_text.python_files()]
    texts += [(f"topic {name}", text.encode()) for name, text in python_text.topics().items()]
    return _digest(texts)


def _folder_texts(folder: Path, field: str) -> list[tuple[str, bytes]]:
    files = folder_text.text_files(folder, field)
    return [(name, folder_text.read_text(path, field).encode()) for name, path in files]


def _checked_folder(folder: str, field: str, needed: tuple[str, ...]) -> str:
    """The folder's digest. Raises BadInput where it lacks what a tokenizer's or model's folder has."""
    path = Path(folder)
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a parent is closed)
        raise BadInput("no such folder", file=folder, field=field, allowed=f"a folder with {' and '.join(needed)}")
    for name in needed:
        if not (path / name).is_file():
            raise BadInput(f"the folder has no {name}", file=folder, field=field, allowed=", ".join(needed))
    if field == "model.folder" and not list(path.glob("*.safetensors")):
        raise BadInput("the folder has no weights", file=folder, field=field, allowed="*.safetensors")
    return folder_digest(path)


def folder_digest(folder: Path) -> str:
    """Of a tokenizer's or model's files."""
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
