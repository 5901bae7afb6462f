"""A recipe's folders of text and token files: listed, hashed once, and their first documents read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from switchpoint.components.data.corpus import (
    ALL_HELDOUT,
    HASH_RANGE,
    Corpus,
    CorpusFile,
    FileDigests,
    HeldoutBound,
    check_unchanged,
    heldout_bound,
    heldout_max_bytes,
    list_files,
    version_of,
)
from switchpoint.components.data.formats import check_formats
from switchpoint.components.data.readers import CorpusDocument, Piece, TextOptions, read_piece
from switchpoint.components.data.remote_tokens import open_tokens
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.recipe.source import Source
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.store import read_json

SAMPLE_BYTES = 16 * 2**20
"""How much of each folder is read before anything is written: to check it, and to find the bound of the hold-out."""
MAX_SHOWN = 3
"""The number of skipped documents that a message shows where nothing is left."""
TOKENIZER_BYTES = 64 * 2**20
CHUNK_TOKENS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class CorpusInput:
    """A corpus and its first documents."""

    source: str
    field: str
    corpus: Corpus
    names: dict[int, str]
    """The names of the documents that were read, by their hash."""
    lengths: dict[int, int]
    """Their bytes."""

    def is_heldout(self, key: int) -> bool:
        return self.corpus.holds_out(key, self.lengths[key])


def read_corpus(name: str, source: Source, heldout_fraction: float, file_digests: FileDigests) -> CorpusInput:
    """Return the files and first documents of a source's folder, or of its held-out text. Raise BadInput.

    A corpus that is read as a whole is split so that neither side is empty. Of a larger one the fraction is held out.
    """
    field = f"sources.{name}.{'heldout' if source.token_file else 'folder'}"
    folder = str(source.heldout if source.token_file else source.folder)
    corpus = Corpus(folder=folder, files=_files(folder, source, field, file_digests), heldout_below=ALL_HELDOUT)
    sizes: list[tuple[int, int]] = []
    names: dict[int, str] = {}
    taken, bound = 0, None
    skipped: list[BadInput] = []
    for document in corpus_documents(corpus, source, field, planning=True, skipped=skipped):
        key, size = document.hash, document.num_bytes
        sizes.append((key, size))
        names.setdefault(key, document.name)
        taken += size
        if taken >= SAMPLE_BYTES and len(names) > 1:
            max_bytes = heldout_max_bytes([size for _, size in sizes], heldout_fraction)
            bound = HeldoutBound(below=int(heldout_fraction * HASH_RANGE), max_bytes=max_bytes)
            break
    if source.token_file:
        if not names:
            raise _nothing_readable(folder, field, skipped)
        return CorpusInput(source=name, field=field, corpus=corpus, names=names, lengths=dict(sizes))
    bound = bound or heldout_bound(sizes, heldout_fraction)
    if bound is None:
        if skipped:
            raise _nothing_readable(folder, field, skipped, len(names))
        raise BadInput(
            "the held-out part is split off document by document", file=folder, field=field,
            given=f"{len(sizes)} document(s), {len(names)} different", allowed="at least two different documents",
        )  # fmt: skip
    corpus = replace(corpus, heldout_below=bound.below, heldout_max_bytes=bound.max_bytes)
    return CorpusInput(source=name, field=field, corpus=corpus, names=names, lengths=dict(sizes))


def read_aside(folder: str, source: Source, field: str, file_digests: FileDigests, whole_row: bool = False) -> Corpus:
    """Return the files of a folder that is not trained on: a reference corpus or an evaluation set.

    Raise BadInput where it holds no document.
    """
    corpus = Corpus(folder=folder, files=_files(folder, source, field, file_digests), heldout_below=0)
    skipped: list[BadInput] = []
    if next(corpus_documents(corpus, source, field, whole_row, planning=True, skipped=skipped), None) is None:
        raise _nothing_readable(folder, field, skipped)
    return corpus


def _files(folder: str, source: Source, field: str, file_digests: FileDigests) -> tuple[CorpusFile, ...]:
    listed = list_files(folder, field)
    if source.on_error == "refuse":
        check_formats([name for name, _, _ in listed], folder, field)
    return tuple(
        CorpusFile(name=file, num_bytes=size, digest=file_digests.of(folder, file, version), version=version)
        for file, size, version in listed
    )


def _nothing_readable(folder: str, field: str, skipped: list[BadInput], num_different: int = 0) -> BadInput:
    """Return the refusal of a folder of which so little can be read that nothing is left to train on: with what was
    skipped.
    """
    if not skipped:
        return BadInput("the folder holds no document", file=folder, field=field)
    what = f"{num_different} different document(s)" if num_different else "no document"
    first = "; ".join(" ".join(str(problem).split()) for problem in skipped)
    return BadInput(
        f"{what} can be read (`on_error: skip` leaves out the others)", file=folder, field=field,
        given=f"{first}{'; ...' if len(skipped) == MAX_SHOWN else ''}",
        allowed="at least two different documents that can be read",
    )  # fmt: skip


def check_sides(inputs: Sequence[CorpusInput]) -> None:
    """Raise BadInput where a document that was read is held out of one source and trained on in another."""
    owners: dict[int, CorpusInput] = {}
    for one in inputs:
        for key, name in one.names.items():
            other = owners.setdefault(key, one)
            if other.is_heldout(key) != one.is_heldout(key):
                raise BadInput(
                    "the same text stands in two sources: it would be trained on and held out at once",
                    file=f"{one.corpus.folder}/{name}", field=one.field,
                    given=f"the same as {other.corpus.folder}/{other.names[key]}", allowed="each text in one source",
                )  # fmt: skip


def training_texts(corpus: Corpus, name: str, source: Source) -> Iterator[str]:
    """Yield the first training documents, at most TOKENIZER_BYTES, on which a tokenizer is trained."""
    taken = 0
    for document in corpus_documents(corpus, source, f"sources.{name}.folder"):
        if not corpus.holds_out(document.hash, document.num_bytes):
            taken += document.num_bytes
            if taken > TOKENIZER_BYTES:
                return
            yield document.text


def corpus_documents(
    corpus: Corpus, source: Source, field: str, whole_row: bool = False, planning: bool = False,
    skipped: list[BadInput] | None = None,
) -> Iterator[CorpusDocument]:  # fmt: skip
    """Yield the documents of all files; skip those that cannot be read, where the recipe says so.

    `skipped`: gets the first of them. Raise BadInput where a file is not the one that was planned, except while it is
    being planned.
    """

    def refuse(problem: BadInput) -> None:
        if source.on_error == "refuse":
            raise problem.at(problem.file, problem.field or field, problem.line)
        if skipped is not None and len(skipped) < MAX_SHOWN:
            skipped.append(problem)

    options = TextOptions(text_field=source.text_field, whole_row=whole_row)
    for file in corpus.files:
        if not planning:
            check_unchanged(corpus.folder, file)
        yield from read_piece(corpus, Piece(name=file.name, digest=file.digest), options, refuse)


def token_file_digest(name: str, source: Source, file_digests: FileDigests) -> str:
    """Return the digest of a token file and its index. Raise BadInput where they do not fit together."""
    prefix = str(source.token_file)
    folder, _, stem = prefix.rpartition("/")
    try:
        open_tokens(prefix)
    except BadInput as error:
        raise error.at(error.file, f"sources.{name}.token_file") from None
    found = hashlib.sha256()
    for file in (f"{stem}.idx", f"{stem}.bin"):
        found.update(file_digests.of(folder, file, version_of(folder, file)).encode())
    return found.hexdigest()[:16]


def check_ids(name: str, source: Source, num_ids: int, file_digests: FileDigests) -> None:
    """Raise BadInput for a token that is not one of the tokenizer's.

    A file is checked once, and the result kept like a digest. Of a file in an object store the first tokens are checked
    here, the others when they are trained on.
    """
    prefix = str(source.token_file)
    folder, _, stem = prefix.rpartition("/")
    tokens = open_tokens(prefix)
    place, version = f"{prefix}.bin: ids", list(version_of(folder, f"{stem}.bin"))
    kept = file_digests.known.get(place)
    if kept is None or kept[:-1] != version:
        low = high = low_at = high_at = 0
        for start in range(0, CHUNK_TOKENS if is_remote(prefix) else len(tokens), CHUNK_TOKENS):
            part = tokens[start : start + CHUNK_TOKENS]
            if len(part) and part.min() < low:
                low, low_at = int(part.min()), start + int(part.argmin())
            if len(part) and part.max() > high:
                high, high_at = int(part.max()), start + int(part.argmax())
        kept = file_digests.known[place] = [*version, [low, low_at, high, high_at]]
    low, low_at, high, high_at = kept[-1]
    if low < 0 or high >= num_ids:
        wrong, at = (low, low_at) if low < 0 else (high, high_at)
        raise BadInput(
            "a token id beyond the vocabulary", file=f"{prefix}.bin", field=f"sources.{name}.token_file",
            given=f"id {wrong:,} at token {at:,} (byte {at * tokens.dtype.itemsize:,})",
            allowed=f"0 to {num_ids - 1:,}, the recipe's tokenizer's",
        )  # fmt: skip


def check_record(name: str, source: Source, tokenizer_digest: str) -> None:
    """Raise BadInput where a record of ours beside a token file names another tokenizer than the recipe's."""
    if is_remote(str(source.token_file)):
        return
    record = read_json(Path(str(source.token_file)).parent / "record.json") or {}
    made_with = str(record.get("inputs", {}).get("tokenizer", "")).rpartition("/")[2]
    if made_with and made_with != tokenizer_digest:
        raise BadInput(
            "tokens of another tokenizer", file=f"{source.token_file}.idx", field=f"sources.{name}.token_file",
            given=f"tokenizer {made_with}, says record.json", allowed=f"tokenizer {tokenizer_digest}, the recipe's",
        )  # fmt: skip
