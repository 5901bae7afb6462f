"""A network that fails: between an HTTP client and a server, some requests are refused, cut off, or never answered."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FAULTS = ("unavailable", "cut before", "cut after", "hang")
"""503; the connection closed before the request is passed on; after the server did what was asked; never an answer."""
MAX_HEAD = 64 * 1024


@dataclass
class FaultyProxy:
    """Every request has a connection of its own; of all requests the share `rate` fails, chosen by a seed."""

    server: str
    rate: float
    seed: int = 0
    hang_seconds: float = 3600.0
    url: str = ""
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        parts = urlsplit(self.server)
        self._host, self._port = parts.hostname, parts.port

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            fault = self._random.choice(FAULTS) if self._random.random() < self.rate else ""
            if fault:
                self.faults[fault] += 1
            await self._answer(fault, head, reader, writer)
        writer.close()

    async def _answer(
        self, fault: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault == "unavailable":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        elif fault == "hang":
            await asyncio.sleep(self.hang_seconds)
        elif fault != "cut before":
            await self._pass_on(head, reader, writer, is_cut=fault == "cut after")

    async def _pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_cut: bool
    ) -> None:
        from_server, to_server = await asyncio.open_connection(self._host, self._port)
        first, _, rest = head.partition(b"\r\n")
        to_server.write(first + b"\r\nConnection: close\r\n" + rest)
        body = asyncio.create_task(_copy(reader, to_server))
        try:
            while part := await from_server.read(1 << 16):
                if is_cut and not part.startswith(b"HTTP/1.1 100"):
                    break
                writer.write(part)
                await writer.drain()
        finally:
            body.cancel()
            to_server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()


@contextmanager
def faulty(server: str, rate: float, seed: int = 0) -> Iterator[FaultyProxy]:
    """While it is open, `url` answers as `server` does, except where it fails."""
    proxy, loop = FaultyProxy(server, rate, seed), asyncio.new_event_loop()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(proxy.handle, "127.0.0.1", 0, limit=MAX_HEAD)

    listening = loop.run_until_complete(serve())
    proxy.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, name="faulty-proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listening.close()

        def end() -> None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon(loop.stop)

        loop.call_soon_threadsafe(end)
        thread.join()
