"""An object of an object store as a file to read from: block by block, the next blocks ahead of time."""

import io
import os
from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import Any

from switchpoint.components.store.connection import file_system, reading_pool
from switchpoint.components.store.retries import retried

BLOCK_BYTES = 8 * 2**20
"""0.1 s at what one connection to S3 gives (some 80 MB/s), beside 0.03 to 0.1 s until its first byte."""


class RemoteFile(io.RawIOBase):
    """The bytes of one version of an object; for one thread.

    A block whose connection breaks is read again, and only that block: the reader continues at the byte where it
    stopped, and gets every byte once. S3 and GCS are asked for the version that was opened: an object that is replaced
    meanwhile is an error, never a mixture. Memory: `num_kept` blocks.
    """

    def __init__(self, url: str, *, num_ahead: int = 1, num_kept: int = 4) -> None:
        """Raise FileNotFoundError, PermissionError or StoreUnavailable.

        `num_ahead`: blocks that are read ahead of the reader, from the second block in a row on.
        `num_kept`: blocks that stay in memory, for a reader that goes back.
        """
        assert num_kept >= num_ahead + 2, (num_kept, num_ahead)
        super().__init__()
        self._url, self._num_ahead, self._num_kept, self._at = url, num_ahead, num_kept, 0
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = Lock()
        self._handle: Any = None  # until it is open: an object that is missing is closed, too
        self._handle, self.info = retried(url, self._open)
        """`info`: what the store says of the object, as fsspec's `info`."""
        self.num_bytes = int(self.info["size"])

    def _open(self) -> tuple[Any, dict[str, Any]]:
        system, path = file_system(self._url)
        handle = system.open(path, "rb", cache_type="none")
        info = getattr(handle, "details", None) or system.info(path)
        if info["type"] == "directory":
            raise FileNotFoundError(path)
        return handle, info

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.num_bytes}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self.num_bytes:
            return 0
        number, offset = divmod(self._at, BLOCK_BYTES)
        part = memoryview(self._block(number))[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        if not self.closed:
            for block in self._blocks.values():
                block.cancel()
            self._blocks.clear()
            if self._handle is not None:
                self._handle.close()
        super().close()

    def _block(self, number: int) -> bytes:
        num_blocks = -(-self.num_bytes // BLOCK_BYTES)
        num_ahead = self._num_ahead if number - 1 in self._blocks else 0
        for needed in range(number, min(number + 1 + num_ahead, num_blocks)):
            if needed not in self._blocks:
                self._blocks[needed] = reading_pool().submit(self._read_block, needed)
        self._blocks.move_to_end(number)
        while len(self._blocks) > self._num_kept:
            self._blocks.popitem(last=False)
        try:
            return self._blocks[number].result()
        except BaseException:
            del self._blocks[number]  # a reader that reads again retries
            raise

    def _read_block(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        end = min(start + BLOCK_BYTES, self.num_bytes)

        def read() -> bytes:
            found = self._fetch(start, end)
            if len(found) != end - start:
                raise OSError(f"{len(found):,} bytes came for [{start:,}, {end:,})")
            return found

        return retried(self._url, read)

    def _fetch(self, start: int, end: int) -> bytes:
        """Read a range: with the method that fsspec's buffered files have for it, which several threads may call."""
        if hasattr(self._handle, "_fetch_range"):
            return bytes(self._handle._fetch_range(start, end))
        with self._lock:
            self._handle.seek(start)
            return bytes(self._handle.read(end - start))
