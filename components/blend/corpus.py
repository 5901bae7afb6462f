"""A corpus: the files of a source's folder, on this machine or in an object store, and which documents are held out."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec

from components.blend.folder_text import text_files
from components.recipe.errors import BadInput
from components.store.login import use_own_login

CHECKSUMS = ("ETag", "etag", "md5Hash", "checksum")
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What object stores say of a file, by their different names."""
HASH_RANGE = 2**64
ALL_HELDOUT = HASH_RANGE
"""Of a corpus that is held out as a whole."""


@dataclass(frozen=True, kw_only=True)
class CorpusFile:
    name: str
    """Its path inside the folder."""
    num_bytes: int
    digest: str
    version: tuple[Any, ...]
    """By which a change is seen: the size, and the time of the last change or the object store's checksum."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    folder: str
    """A path, or a URL that fsspec reads."""
    files: tuple[CorpusFile, ...]
    """In order of their names: the order of the tokens."""
    heldout_below: int
    """Documents whose hash lies below are held out: equal ones fall on one side, in whatever source they stand."""

    @property
    def digest(self) -> str:
        """Of everything that the corpus holds."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(f"{file.name}\0{file.num_bytes}\0{file.digest}\0".encode())
        return found.hexdigest()[:16]

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"heldout_below": str(self.heldout_below)}

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> "Corpus":
        files = tuple(CorpusFile(**file | {"version": tuple(file["version"])}) for file in data["files"])
        return cls(folder=data["folder"], files=files, heldout_below=int(data["heldout_below"]))


def is_remote(folder: str) -> bool:
    return "://" in folder


def open_file(folder: str, name: str) -> IO[bytes]:
    """The file's bytes, read as they are asked for."""
    if is_remote(folder):
        system, root = remote(folder)
        # Buffered once more: fsspec's own files know no bounded `readline`.
        return io.BufferedReader(system.open(f"{root}/{name}", "rb", block_size=8 * 2**20), buffer_size=1 << 20)
    return (Path(folder) / name).open("rb")


@lru_cache(maxsize=64)
def remote(folder: str) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it."""
    use_own_login()
    system, root = fsspec.core.url_to_fs(folder)
    return system, root.rstrip("/")


def check_unchanged(folder: str, file: CorpusFile) -> None:
    """Raises BadInput where the file is not the one that was planned."""
    if version_of(folder, file.name) != file.version:
        raise BadInput("the text has changed since it was planned: run again", file=f"{folder}/{file.name}")


def version_of(folder: str, name: str) -> tuple[Any, ...]:
    """By which a change of a file is seen. Raises BadInput where it cannot be read."""
    try:
        if is_remote(folder):
            system, root = remote(folder)
            return _remote_version(system.info(f"{root}/{name}"))
        stat = (Path(folder) / name).stat()
        return stat.st_size, stat.st_mtime_ns
    except OSError as error:
        raise BadInput(f"the file cannot be read: {error.strerror or error}", file=f"{folder}/{name}") from None


def _remote_version(info: dict[str, Any]) -> tuple[Any, ...]:
    for keys, kind in ((CHECKSUMS, "sum"), (TIMES, "time")):
        for key in keys:
            if info.get(key):
                return int(info["size"]), f"{kind} {info[key]}".replace('"', "")
    return int(info["size"]), ""


def list_files(folder: str, field: str) -> list[tuple[str, int, tuple[Any, ...]]]:
    """(name, bytes, what changes when the content does) of each file, by name. Raises BadInput."""
    if not is_remote(folder):
        listed = [(name, *_local_version(path, field)) for name, path in text_files(Path(folder), field)]
        for name, *_ in listed:
            if any("\udc80" <= letter <= "\udcff" for letter in name):  # how Python carries other bytes
                raise BadInput("a file's name is not UTF-8", file=folder, field=field, given=ascii(name))
        return listed
    try:
        system, root = remote(folder)
        found = system.find(root, detail=True)
    except BadInput:
        raise
    except (ImportError, ValueError) as error:
        raise BadInput(f"the address cannot be used: {error}", file=folder, field=field) from None
    except Exception as error:  # each store has errors of its own
        raise BadInput(
            f"the folder cannot be read: {type(error).__name__}: {error}", file=folder, field=field
        ) from None
    listed = []
    for path, info in sorted(found.items()):
        name = path[len(root) :].removeprefix("/")
        if name and not any(part.startswith(".") for part in name.split("/")):
            listed.append((name, int(info["size"]), _remote_version(info)))
    if not listed:
        raise BadInput("the folder holds no file", file=folder, field=field, allowed="text, JSON lines or Parquet")
    return listed


def _local_version(path: Path, field: str) -> tuple[int, tuple[Any, ...]]:
    try:
        with path.open("rb"):
            stat = path.stat()
    except OSError as error:
        raise BadInput(f"the file cannot be read: {error.strerror}", file=str(path), field=field) from None
    return stat.st_size, (stat.st_size, stat.st_mtime_ns)


class FileDigests:
    """The digests of input files, each taken once: kept with the size and time by which a change is seen."""

    def __init__(self, known: dict[str, list[Any]] | None = None) -> None:
        self.known = known or {}

    def of(self, folder: str, name: str, version: tuple[Any, ...]) -> str:
        """A local file is read through; an object store's own checksum is taken as it is, where it has one."""
        if str(version[-1]).startswith("sum "):
            return hashlib.sha256(repr(version).encode()).hexdigest()[:32]
        place = f"{folder}/{name}"
        kept = self.known.get(place)
        if kept is None or kept[:-1] != list(version) or not version[-1]:
            with open_file(folder, name) as file:
                kept = [*version, hashlib.file_digest(file, "sha256").hexdigest()[:32]]  # type: ignore[arg-type]
            self.known[place] = kept
        return str(kept[-1])


def document_hash(text: str) -> int:
    """Of a document's text, below HASH_RANGE."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def heldout_bound(documents: Iterable[tuple[int, int]], fraction: float) -> int | None:
    """The bound below which (hash, bytes) of `documents` are held out: some `fraction` of the bytes, at least one
    document and not all. None where there are not two that differ.
    """
    sizes: dict[int, int] = {}
    for key, size in documents:
        sizes[key] = sizes.get(key, 0) + size
    if len(sizes) < 2:
        return None
    wanted, taken = fraction * sum(sizes.values()), 0
    ordered = sorted(sizes)
    for position, key in enumerate(ordered):
        taken += sizes[key]
        if position and taken > wanted:  # this one would be too much
            return key
    return ordered[-1]
