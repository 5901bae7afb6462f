"""What the inputs of a recipe hold: read and checked before anything is written (law 7)."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from switchpoint.components.data import python_text
from switchpoint.components.data.corpus import Corpus, FileDigests
from switchpoint.components.data.corpus_input import (
    CorpusInput,
    check_ids,
    check_sides,
    read_aside,
    read_corpus,
    token_file_digest,
)
from switchpoint.components.data.document_tokenizer import DocumentTokenizer
from switchpoint.components.data.embedder import TFIDF
from switchpoint.components.data.environment_text import ENVIRONMENT_PARTS, environment_files
from switchpoint.components.data.readers import can_be_split, kind_of
from switchpoint.components.data.remote_tokens import read_any_index
from switchpoint.components.data.suite_input import read_suites
from switchpoint.components.data.tokenizer import load_tokenizer, num_ids
from switchpoint.components.data.tokenizer_class import gives_other_ids
from switchpoint.components.data.tokenizer_files import tokenizer_files
from switchpoint.components.recipe.bases import field_of
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.evaluation import evaluation_origin
from switchpoint.components.recipe.recipe import Recipe, tokenizer_origin
from switchpoint.components.recipe.source import (
    ENVIRONMENT_ORIGIN,
    GENERATED_ORIGINS,
    Source,
    origin_of,
    part_of,
    reference_origin,
)
from switchpoint.components.store.store import read_json


@dataclass(frozen=True, kw_only=True)
class Inputs:
    digests: dict[str, str]
    """Content digest of every origin of text and model folder, by its path (or `python`), and of the tokenizer's, by
    `tokenizer_origin`."""
    max_tokens: dict[str, int]
    """Upper bound of a source's training tokens, where one is known: a token holds at least one byte."""
    corpora: dict[str, Corpus]
    """Folders of text by their origin."""
    file_digests: FileDigests


def read_inputs(recipe: Recipe, file_digests: FileDigests) -> Inputs:
    """Return what the inputs hold. Raise BadInput for what is missing, empty or unreadable; of large folders the first
    documents are read, the rest is checked as it is tokenised.
    """
    digests: dict[str, str] = {}
    max_tokens: dict[str, int] = {}
    corpora: dict[str, Corpus] = {}
    read: list[CorpusInput] = []
    places: dict[tuple[str, str], str] = {}
    with_text = recipe.sources_with_text()
    if len({origin_of(source) for source in with_text.values()} & set(GENERATED_ORIGINS)) > 1:
        raise BadInput(
            "`python:` and `environment:` both read the standard library: its text could be trained on and held out at "
            "once", field="sources", allowed="one of the two in a recipe",
        )  # fmt: skip
    for name, source in with_text.items():
        origin = origin_of(source)
        twin = places.setdefault((origin, part_of(source)), name)
        if twin != name:
            raise BadInput(
                "two sources on the same text: it would be drawn twice in an epoch", file=origin,
                field=f"sources.{name}", given=f"the same as sources.{twin}",
                allowed="one source; weights say how often",
            )  # fmt: skip
        if source.mine:
            if source.mine.embedder != TFIDF:
                field = f"sources.{name}.mine.embedder"
                digests[source.mine.embedder] = _checked_folder(source.mine.embedder, field, ("config.json",))
            continue
        if origin in GENERATED_ORIGINS:
            if origin not in digests:
                digests[origin] = origin_digest(origin, parts_of(recipe, origin))
            continue
        read.append(read_corpus(name, source, recipe.heldout_fraction, file_digests))
        corpora[origin] = read[-1].corpus
        digests[origin] = corpora[origin].digest
        if source.reference:
            corpora[reference_origin(source)] = read_aside(
                source.reference, source, f"sources.{name}.reference", file_digests
            )
            digests[reference_origin(source)] = corpora[reference_origin(source)].digest
        if source.token_file:
            digests[origin] += token_file_digest(name, source, file_digests)
            max_tokens[name] = int(read_any_index(source.token_file)[1].sum(dtype="int64"))
        elif all(can_be_split(file.name) or kind_of(file.name) == ("text", "") for file in corpora[origin].files):
            max_tokens[name] = sum(file.num_bytes + 1 for file in corpora[origin].files)
    check_sides(read)
    for task, folder in recipe.evaluation_sets.items():
        origin, field = evaluation_origin(folder), f"evaluation_sets.{task}"
        corpora[origin] = read_aside(folder, Source(folder=folder), field, file_digests, whole_row=True)
        digests[origin] = corpora[origin].digest
    digests |= read_suites(recipe.evaluation, file_digests)
    if recipe.tokenizer.folder:
        needed = ("tokenizer.json", "tokenizer_config.json")
        _check_folder(recipe.tokenizer.folder, "tokenizer.folder", needed)
        digests[tokenizer_origin(recipe.tokenizer.folder)] = _files_digest(
            tokenizer_files(Path(recipe.tokenizer.folder))
        )
        tokenizer, _ = load_tokenizer(Path(recipe.tokenizer.folder))
        for base, model in recipe.base_models().items():
            if model.folder:
                field = f"{field_of(base)}.folder"
                digests[model.folder] = _checked_folder(model.folder, field, ("config.json",), weights=True)
                _check_fit(recipe, Path(model.folder), field, num_ids(tokenizer))
                _check_tokenizer(recipe, Path(model.folder), field)
        for name, source in with_text.items():
            if source.token_file:
                check_ids(name, source, num_ids(tokenizer), file_digests)
    return Inputs(digests=digests, max_tokens=max_tokens, corpora=corpora, file_digests=file_digests)


def _check_tokenizer(recipe: Recipe, model: Path, field: str) -> None:
    """Raise BadInput where the model has a tokenizer of its own that gives text other ids than the recipe's."""
    ours = Path(str(recipe.tokenizer.folder))
    if not (model / "tokenizer.json").is_file() or (
        (model / "tokenizer.json").read_bytes() == (ours / "tokenizer.json").read_bytes()
    ):
        return
    if gives_other_ids(DocumentTokenizer(model), DocumentTokenizer(ours)):
        raise BadInput(
            "the model has another tokenizer than the study, and all bases read the same tokens", file=str(model),
            field=field, given=str(model / "tokenizer.json"), allowed=f"the tokenizer of {ours} (`tokenizer.folder`)",
        )  # fmt: skip


def _check_fit(recipe: Recipe, model: Path, field: str, ids: int) -> None:
    """The model must have an embedding for every token, and a position for every token of a sample."""
    try:
        config = read_json(model / "config.json")
        vocab_size = int(config.get("vocab_size", ids))
        num_positions = int(config.get("max_position_embeddings", recipe.sequence_length))
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"not a model's configuration: {error}", file=str(model / "config.json"), field=field) from None
    if vocab_size < ids:
        raise BadInput(
            "the tokenizer has ids beyond the model's vocabulary", file=str(recipe.tokenizer.folder),
            field="tokenizer.folder", given=f"{ids:,} ids",
            allowed=f"at most {vocab_size:,} (config.json of {model})",
        )  # fmt: skip
    if num_positions < recipe.sequence_length:
        raise BadInput(
            "longer than the model's positions", file=str(model), field="sequence_length",
            given=recipe.sequence_length, allowed=f"at most {num_positions:,}",
        )  # fmt: skip


def parts_of(recipe: Recipe, origin: str) -> list[str]:
    """Return the parts of an origin that the recipe's sources are."""
    sources = recipe.sources_with_text().values()
    return sorted({part_of(source) for source in sources if origin_of(source) == origin})


def origin_digest(origin: str, parts: list[str]) -> str:
    """Return the digest of everything that the text of a generated origin's `parts` is made from."""
    if origin == ENVIRONMENT_ORIGIN:
        unknown = [part for part in parts if part not in ENVIRONMENT_PARTS]
        if unknown:
            raise BadInput(
                "no such part of the environment", field="sources", given=", ".join(unknown),
                allowed=", ".join(ENVIRONMENT_PARTS),
            )  # fmt: skip
        files = [(name, path.read_bytes()) for name, path in environment_files(parts)]
        return _digest([("parts", " ".join(parts).encode()), *files])
    texts = [(name, path.read_bytes()) for name, path in python_text.python_files()]
    texts += [(f"topic {name}", text.encode()) for name, text in python_text.topics().items()]
    return _digest(texts)


def _checked_folder(folder: str, field: str, needed: tuple[str, ...], *, weights: bool = False) -> str:
    """Return the folder's digest. Raise BadInput where it lacks what a model's folder has."""
    _check_folder(folder, field, needed, weights=weights)
    return folder_digest(Path(folder))


def _check_folder(folder: str, field: str, needed: tuple[str, ...], *, weights: bool = False) -> None:
    """Raise BadInput where the folder lacks what a tokenizer's or model's folder has. `weights`: whether it is a
    model.
    """
    path = Path(folder)
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a parent is closed)
        raise BadInput("no such folder", file=folder, field=field, allowed=f"a folder with {' and '.join(needed)}")
    for name in needed:
        if not (path / name).is_file():
            raise BadInput(f"the folder has no {name}", file=folder, field=field, allowed=", ".join(needed))
    if weights and not list(path.glob("*.safetensors")):
        others = sorted(one.name for one in path.iterdir() if one.suffix in {".gguf", ".bin", ".pt", ".pth"})
        raise BadInput(
            "the folder has no weights that are read", file=folder, field=field, given=", ".join(others[:4]),
            allowed="safetensors: `AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=NAME or None)."
            "save_pretrained(NEW)` of transformers writes them",
        )  # fmt: skip


def folder_digest(folder: Path) -> str:
    """Return the digest of a model's files."""
    return _files_digest(sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".txt"}))


def _files_digest(paths: Iterable[Path]) -> str:
    """Return the digest of files: their names and contents."""
    digest = hashlib.sha256()
    for path in paths:
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
