"""A TCP proxy between a client and the server, which breaks the connection on purpose."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65536
_KEPT = 1 << 20  # of what was swallowed, in bytes


class Direction(Enum):
    """Which way data goes."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


class Proxy:
    """Forwards connections to a port on this machine, until told otherwise.

    Example:
        async with Proxy(server.port) as proxy:
            settings = NatsEventBusSettings(servers=proxy.url_for(server.url))
            proxy.swallow(Direction.TO_CLIENT)
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowing: set[Direction] = set()
        self._swallowed = bytearray()
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"Proxy({HOST}:{self._port})"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url_for(self, url: str) -> str:
        """`url` with this proxy's port."""
        return f"{url.rpartition(':')[0]}:{self._port}"

    def swallow(self, *directions: Direction) -> None:
        """Let nothing through that goes these ways; both sides think that it arrived."""
        self._swallowed.clear()
        self._swallowing = set(directions)

    def heal(self) -> None:
        """Let all through again, over new connections: what was swallowed is gone."""
        self._swallowing = set()
        self.cut()

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    async def swallowed(self, pattern: re.Pattern[bytes]) -> None:
        """Wait until what was swallowed contains `pattern`."""
        while not pattern.search(self._swallowed):
            self._news.clear()
            await self._news.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream = await asyncio.open_connection(HOST, self._target)
        except OSError:  # the server is down: so is what is behind this
            writer.transport.abort()
            return
        self._writers |= {writer, upstream}
        for pump in (
            self._pump(reader, upstream, Direction.TO_SERVER),
            self._pump(upstream_reader, writer, Direction.TO_CLIENT),
        ):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction
    ) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(_CHUNK):
                    if way in self._swallowing:
                        self._swallowed += data[: max(0, _KEPT - len(self._swallowed))]
                        self._news.set()
                        continue
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()
