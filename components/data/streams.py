"""The streams of a source: its token files one after another, and those of each of its tiers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from switchpoint.components.data.document_index import document_index, is_users
from switchpoint.components.data.packing import PACKED, ensure_packed, pack_path
from switchpoint.components.data.remote_tokens import read_any_index
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.store import Store


def write_stream(path: Path, entries: list[tuple[str, int]]) -> None:
    """Write PATH.files.npy and PATH.ends.npy from (token file, tokens): with them a reader needs no index."""
    ends = np.cumsum([tokens for _, tokens in entries], dtype=np.int64)
    _save(path.with_name(path.name + ".ends.npy"), ends)
    prefixes = np.array([prefix.encode() for prefix, _ in entries], dtype="S")
    _save(path.with_name(path.name + ".files.npy"), prefixes)


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array, complete or not at all."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    np.save(beside, array)
    beside.replace(path)


def pack_stream(path: Path, store: Store, sequence_length: int) -> None:
    """Pack the documents of every token file of a stream into samples; skip what is packed."""
    if num_packed(path, sequence_length) is not None:
        return
    counts = [
        pack_file(store, prefix, fetch_packed_folder(path, store, prefix, sequence_length), sequence_length)
        for prefix in map(bytes.decode, file_prefixes(path))
    ]
    _save(packed_ends(path, sequence_length), np.cumsum(counts, dtype=np.int64))
    store.save(packed_ends(path, sequence_length))


def pack_file(store: Store, prefix: str, folder: Path, sequence_length: int) -> int:
    """Pack the documents of one token file into `folder`, unless they are; return the number of samples."""
    is_new = not (folder / PACKED).exists()
    location = store.token_location(prefix)
    lengths = document_index(location).lengths() if is_users(prefix) else read_any_index(location)[1]
    num_samples = ensure_packed(lengths, folder, sequence_length + 1)
    if is_new:
        store.save(*(path for path in folder.iterdir() if path.name != PACKED))
        store.save(folder / PACKED)
    return num_samples


def num_packed(path: Path, sequence_length: int) -> int | None:
    """Return the number of samples of a packed stream; None where it is not packed yet."""
    ends = packed_ends(path, sequence_length)
    return int(np.load(ends, mmap_mode="r")[-1]) if ends.exists() else None


def packed_ends(path: Path, sequence_length: int) -> Path:
    """Return the path of the file with the number of samples up to the end of each token file."""
    return path.with_name(f"{path.name}.packed-{sequence_length}.npy")


def file_prefixes(path: Path) -> npt.NDArray[np.bytes_]:
    """Return the token files of a stream, without `.bin` and `.idx`, as an array that is mapped from the disk."""
    return np.load(path.with_name(path.name + ".files.npy"), mmap_mode="r")


def any_remote(prefixes: npt.NDArray[np.bytes_], store: Store) -> bool:
    """Return whether token files are in an object store. Our own are in the store; of a user's there is only one."""
    return bool(store.url) or is_remote(prefixes[0].decode())


def fetch_packed_folder(path: Path, store: Store, prefix: str, sequence_length: int) -> Path:
    """Fetch what says how a token file is packed, and return the folder.

    The folder is beside the token file's index; for a user's file it is beside the stream.
    """
    if is_users(prefix):
        return pack_path(path.with_name("packed"), sequence_length + 1)
    return store.fetch_folder(pack_path(Path(prefix), sequence_length + 1).as_posix())
