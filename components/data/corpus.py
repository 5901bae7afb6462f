"""A corpus: the files of a source's folder, on this machine or in an object store, and its held-out documents."""

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from switchpoint.components.data.folder_text import text_files
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import remote
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.remote_file import RemoteFile

CHECKSUM = "sum "
"""Begins the version of a file whose object store has a checksum of it."""
HASH_RANGE = 2**64
ALL_HELDOUT = HASH_RANGE
"""The bound of a corpus that is held out as a whole."""


@dataclass(frozen=True, kw_only=True)
class CorpusFile:
    name: str
    """Its path inside the folder."""
    num_bytes: int
    digest: str
    version: tuple[Any, ...]
    """What changes when the file does: the size, and the time of the last change or the object store's checksum."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    folder: str
    """A path, or a URL that fsspec reads."""
    files: tuple[CorpusFile, ...]
    """In the order of their names, which is the order of the tokens."""
    heldout_below: int
    """Documents whose hash is below it are held out. Equal documents are on one side, whatever source holds them."""
    heldout_max_bytes: int | None = None
    """A longer document stays in training; none: there is no such limit."""

    def holds_out(self, key: int, num_bytes: int) -> bool:
        """Return whether the document of this hash and length is held out."""
        return key < self.heldout_below and (self.heldout_max_bytes is None or num_bytes <= self.heldout_max_bytes)

    @property
    def digest(self) -> str:
        """A digest of everything that the corpus holds."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(f"{file.name}\0{file.num_bytes}\0{file.digest}\0".encode())
        return found.hexdigest()[:16]

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"heldout_below": str(self.heldout_below)}

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> "Corpus":
        files = tuple(CorpusFile(**file | {"version": tuple(file["version"])}) for file in data["files"])
        return cls(
            folder=data["folder"], files=files, heldout_below=int(data["heldout_below"]),
            heldout_max_bytes=data["heldout_max_bytes"],
        )  # fmt: skip


def open_file(folder: str, name: str) -> IO[bytes]:
    """Open a file of a folder to read it from the start, from any byte, in bounded memory.

    In an object store a connection that breaks is resumed at the byte where it broke. Raise OSError where the file
    cannot be read.
    """
    if is_remote(folder):
        return io.BufferedReader(RemoteFile(_url(folder, name)), buffer_size=1 << 20)
    return (Path(folder) / name).open("rb")


def _url(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def check_unchanged(folder: str, file: CorpusFile) -> None:
    """Raise BadInput where the file is missing or not the one that was planned.

    Raise StoreUnavailable where the object store does not answer: that is no fault of the text.
    """
    try:
        version = _version(folder, file.name)
    except (FileNotFoundError, PermissionError) as error:
        raise _unreadable(folder, file.name, error) from None
    if version != file.version:
        raise BadInput("the text has changed since it was planned: run again", file=f"{folder}/{file.name}")


def version_of(folder: str, name: str) -> tuple[Any, ...]:
    """Return what changes when the file does. Raise BadInput where it cannot be read."""
    try:
        return _version(folder, name)
    except OSError as error:
        raise _unreadable(folder, name, error) from None


def _version(folder: str, name: str) -> tuple[Any, ...]:
    if not is_remote(folder):
        stat = (Path(folder) / name).stat()
        return stat.st_size, stat.st_mtime_ns
    version = remote.version_of(_url(folder, name))
    if version is None:
        raise FileNotFoundError("the object store has no such object")
    return _told(version)


def _told(version: remote.Version) -> tuple[Any, ...]:
    """Return a version as records and digests have it: the size, and the checksum or else the time."""
    if version.checksum:
        return version.num_bytes, f"{CHECKSUM}{version.checksum}".replace('"', "")
    return version.num_bytes, f"time {version.changed}".replace('"', "") if version.changed else ""


def _unreadable(folder: str, name: str, error: OSError) -> BadInput:
    return BadInput(f"the file cannot be read: {error.strerror or error}", file=f"{folder}/{name}")


def list_files(folder: str, field: str) -> list[tuple[str, int, tuple[Any, ...]]]:
    """Return (name, bytes, what changes when the content does) of each file, by name.

    Raise BadInput for a folder that cannot be read or holds no file.
    """
    if not is_remote(folder):
        listed = [(name, *_local_version(path, field)) for name, path in text_files(Path(folder), field)]
        for name, *_ in listed:
            if any("\udc80" <= letter <= "\udcff" for letter in name):  # how Python carries other bytes
                raise BadInput("a file's name is not UTF-8", file=folder, field=field, given=ascii(name))
        return listed
    try:
        listed = [
            (name, version.num_bytes, _told(version))
            for name, version in remote.list_files(folder).items()
            if not any(part.startswith(".") for part in name.split("/"))
        ]
        if not listed:
            remote.check_bucket(folder)
    except BadInput as error:
        raise error.at(error.file or folder, error.field or field) from None
    except Exception as error:  # each store has errors of its own
        raise BadInput(
            f"the folder cannot be read: {type(error).__name__}: {error}", file=folder, field=field
        ) from None
    if not listed:
        raise BadInput(
            "the folder holds no file", file=folder, field=field, allowed="text, JSON lines, CSV, Parquet or Arrow"
        )
    return listed


def _local_version(path: Path, field: str) -> tuple[int, tuple[Any, ...]]:
    try:
        with path.open("rb"):
            stat = path.stat()
    except OSError as error:
        raise BadInput(f"the file cannot be read: {error.strerror}", file=str(path), field=field) from None
    return stat.st_size, (stat.st_size, stat.st_mtime_ns)


class FileDigests:
    """The digests of input files, each computed once and kept with the file's version."""

    def __init__(self, known: dict[str, list[Any]] | None = None) -> None:
        self.known = known or {}

    def of(self, folder: str, name: str, version: tuple[Any, ...]) -> str:
        """Return the digest of a file: of its content, or of the checksum that its object store has."""
        if str(version[-1]).startswith(CHECKSUM):
            return hashlib.sha256(repr(version).encode()).hexdigest()[:32]
        place = f"{folder}/{name}"
        kept = self.known.get(place)
        if kept is None or kept[:-1] != list(version) or not version[-1]:
            with open_file(folder, name) as file:
                kept = [*version, hashlib.file_digest(file, "sha256").hexdigest()[:32]]  # type: ignore[arg-type]
            self.known[place] = kept
        return str(kept[-1])


def document_hash(text: str) -> int:
    """Return the hash of a document's text, a number below HASH_RANGE."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclass(frozen=True, kw_only=True)
class HeldoutBound:
    """What decides which documents are held out: `Corpus.holds_out`."""

    below: int
    max_bytes: int


def heldout_max_bytes(sizes: Sequence[int], fraction: float) -> int:
    """Return the length up to which a document may be held out: the fraction of all bytes, or the documents' mean
    length where that is more.

    So no single document takes a large part of the text out of training.
    """
    return max(int(fraction * sum(sizes)), sum(sizes) // len(sizes))


def heldout_bound(documents: Sequence[tuple[int, int]], fraction: float) -> HeldoutBound | None:
    """Return what decides which documents are held out, from (hash, bytes) of all `documents`, in any order.

    At most `fraction` of the bytes and of the documents are held out, but at least one document, and not all. Return
    None where no two documents differ.
    """
    lengths = dict(documents)
    if len(lengths) < 2:
        return None
    copies = Counter(key for key, _ in documents)
    max_bytes = heldout_max_bytes([size for _, size in documents], fraction)
    max_total = fraction * sum(size for _, size in documents)
    short = sorted(key for key, size in lengths.items() if size <= max_bytes)
    taken = num_taken = 0
    for position, key in enumerate(short):
        taken += copies[key] * lengths[key]
        num_taken += copies[key]
        if position and (taken > max_total or num_taken > fraction * len(documents)):  # this one would be too much
            return HeldoutBound(below=key, max_bytes=max_bytes)
    return HeldoutBound(below=short[-1] + 1, max_bytes=max_bytes)
