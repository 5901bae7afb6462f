"""A faulty network between an HTTP client and a server: some requests are refused, cut off, or never answered."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlsplit

FAULTS = ("unavailable", "error", "cut before", "cut after", "cut inside", "hang", "hang inside")
"""503; 500; the connection closed before the request is passed on, after the server did what was asked, and in the
middle of the answer's body; no answer for an hour, and none from the middle of its body on.
"""
ANSWERS = {"unavailable": b"HTTP/1.1 503 Slow Down", "error": b"HTTP/1.1 500 Internal Server Error"}
MAX_HEAD = 64 * 1024


@dataclass
class FaultyProxy:
    """A proxy that gives every request a connection of its own and fails those for which `choose` returns a fault.

    `choose` is called with the request as "METHOD PATH RANGE".
    """

    server: str
    choose: Callable[[str], str]
    hang_seconds: float = 3600.0
    url: str = ""
    requests: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        parts = urlsplit(self.server)
        self._host, self._port = parts.hostname, parts.port

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(_shown(head))
            fault = self.choose(self.requests[-1])
            if fault:
                self.faults[fault] += 1
            await self._answer(fault, head, reader, writer)
        writer.close()

    async def _answer(
        self, fault: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault in ANSWERS:
            writer.write(ANSWERS[fault] + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        elif fault == "hang":
            await asyncio.sleep(self.hang_seconds)
        elif fault != "cut before":
            await self._pass_on(fault, head, reader, writer)

    async def _pass_on(
        self, fault: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_server, to_server = await asyncio.open_connection(self._host, self._port)
        first, _, rest = head.partition(b"\r\n")
        to_server.write(first + b"\r\nConnection: close\r\n" + rest)
        body = asyncio.create_task(_copy(reader, to_server))
        try:
            answer = await from_server.readuntil(b"\r\n\r\n")
            while answer.startswith(b"HTTP/1.1 100"):
                writer.write(answer)
                answer = await from_server.readuntil(b"\r\n\r\n")
            num_bytes = 0 if head.startswith(b"HEAD ") else int(_field(answer, b"content-length") or 0)
            if fault != "cut after" and (num_bytes or not fault):
                writer.write(answer)
            if not fault:
                await _copy(from_server, writer)
            elif fault != "cut after":
                writer.write(await from_server.readexactly(num_bytes // 2))
                await writer.drain()
                await asyncio.sleep(self.hang_seconds if fault == "hang inside" else 0)
        finally:
            body.cancel()
            to_server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()


def _field(head: bytes, name: bytes) -> str:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return next((value.strip().decode() for key, _, value in lines if key.lower() == name), "")


def _shown(head: bytes) -> str:
    method, path = head.split(b" ", 2)[:2]
    return f"{method.decode()} {path.decode()} {_field(head, b'range')}".strip()


def some(rate: float, seed: int = 0) -> Callable[[str], str]:
    """Return a choice that fails the share `rate` of all requests, in one way after the other."""
    chosen, faults = random.Random(seed), cycle(FAULTS)
    return lambda _: next(faults) if chosen.random() < rate else ""


def each(times: int, *faults: str) -> Callable[[str], str]:
    """Return a choice that fails every request so many times: each different one with the next of `faults`."""
    asked: Counter[str] = Counter()

    def choose(request: str) -> str:
        asked[request] += 1
        return faults[list(asked).index(request) % len(faults)] if asked[request] <= times else ""

    return choose


@contextmanager
def faulty(server: str, choose: Callable[[str], str]) -> Iterator[FaultyProxy]:
    """Run a proxy whose `url` answers as `server` does, except where `choose` returns a fault."""
    proxy, loop = FaultyProxy(server, choose), asyncio.new_event_loop()

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
