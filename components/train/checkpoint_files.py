"""The files of a checkpoint, on this machine or in an object store, for torch.distributed.checkpoint (DCP).

Their SHA-256 is computed while they are written, so that nothing is read back: DCP never seeks then.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint._fsspec_filesystem import FileSystem

from switchpoint.components.store import remote
from switchpoint.components.store.connection import file_system
from switchpoint.components.store.location import Location
from switchpoint.components.store.remote import is_remote
from switchpoint.components.store.remote_file import RemoteFile

NUM_BLOCKS = 16
"""Blocks in memory of a file that is read from an object store: DCP reads its tensors in an order of its own."""


class _HashedStream(io.RawIOBase):
    """A stream that passes on what is written and computes its digest."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._digest, self._written = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self._digest.update(data)
        self._written += memoryview(data).nbytes
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        if not self.closed:
            self._stream.flush()

    def fileno(self) -> int:
        """Flush the stream and return the file's number: DCP asks for it before it flushes the file to the disk."""
        self._stream.flush()
        return int(self._stream.fileno())

    @property
    def facts(self) -> dict[str, Any]:
        return {"bytes": self._written, "sha256": self._digest.hexdigest()}


class _Files(FileSystem):
    """DCP's view of a file system, with digests of what is written."""

    def __init__(self, place: Location) -> None:
        super().__init__()
        self.fs = file_system(str(place))[0] if is_remote(str(place)) else fsspec.filesystem("file")
        self.written: dict[str, dict[str, Any]] = {}
        """Bytes and SHA-256, by the file's name."""

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        name = os.path.basename(path)  # noqa: PTH119
        if mode == "rb" and is_remote(str(path)):
            with RemoteFile(str(path), num_ahead=2, num_kept=NUM_BLOCKS) as file, io.BufferedReader(file) as buffered:
                yield buffered
            return
        hashed = None
        try:
            with super().create_stream(path, mode) as stream:
                hashed = _HashedStream(stream)
                yield hashed
        except FileNotFoundError:
            # S3 answers so to the end of an upload that had ended before, when its first answer was lost.
            there = remote.version_of(str(path)) if is_remote(str(path)) else None
            if hashed is None or there is None or there.num_bytes != hashed.tell():
                raise
        self.written[name] = hashed.facts

    def rename(self, path: Any, new_path: Any) -> None:
        if is_remote(str(path)):
            remote.copy(str(path), str(new_path))
            remote.remove([str(path)])
        else:
            super().rename(path, new_path)
        self.written[os.path.basename(new_path)] = self.written.pop(os.path.basename(path))  # noqa: PTH119


class DigestWriter(dcp.FileSystemWriter):
    """A writer of a checkpoint's files. `written` holds bytes and SHA-256 of what this process wrote, by name."""

    def __init__(self, place: Location) -> None:
        # An object that exists is durable. On a disk each file is flushed before the next step.
        super().__init__("", sync_files=not is_remote(str(place)))
        files: Any = _Files(place)
        self.fs, self.path, self.written = files, str(place), files.written


def reader(place: Location) -> dcp.FileSystemReader:
    """Return what DCP reads a checkpoint with."""
    if not is_remote(str(place)):
        return dcp.FileSystemReader(Path(place))
    found = dcp.FileSystemReader("")
    files: Any = _Files(place)
    found.fs, found.path = files, str(place)
    return found
