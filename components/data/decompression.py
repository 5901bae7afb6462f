"""Compressed files as streams of their content, in bounded memory; one that is cut off is an error."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

import zstandard


class NotWhole(Exception):
    """Compressed data is damaged or cut off."""


ERRORS = (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError, NotWhole)


def decompressed(raw: IO[bytes], compression: str) -> IO[bytes]:
    """Return the content of `raw`, compressed as gz, zst, xz or bz2, or not at all (empty)."""
    if not compression:
        return raw
    if compression == "gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), buffer_size=1 << 20)
    makers: dict[str, Callable[[], Any]] = {
        "zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
        "xz": lzma.LZMADecompressor,
        "bz2": bz2.BZ2Decompressor,
    }
    return io.BufferedReader(_Frames(raw, makers[compression]), buffer_size=1 << 20)


class _Frames(io.RawIOBase):
    """The content of compressed frames, one after another.

    Zstandard's own reader takes a truncated file for a whole one.
    """

    def __init__(self, raw: IO[bytes], decompressor: Callable[[], Any]) -> None:
        self._raw, self._decompressor, self._ready = raw, decompressor, memoryview(b"")
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            rest = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            chunk = rest or self._raw.read(1 << 14)
            if not chunk:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the compressed file ended in the middle of a frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor()
            try:
                self._ready = memoryview(self._frame.decompress(chunk))
            except OSError as error:  # of bzip2, which has no error of its own
                raise NotWhole(str(error)) from None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
