"""A TCP proxy between a client and the server, which breaks the connection on purpose."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from enum import Enum, auto
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65536
_KEPT = 1 << 20  # of what was dropped, in bytes


class Direction(Enum):
    """Which way data goes."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


class FaultProxy:
    """Forwards connections to a port on this machine, until told otherwise.

    Example:
        async with FaultProxy(server.port) as proxy:
            settings = NatsEventBusSettings(servers=proxy.url_for(server.url))
            proxy.drop(Direction.TO_CLIENT)
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropping: set[Direction] = set()
        self._drop_from: re.Pattern[bytes] | None = None
        self._dropped = bytearray()
        self._news = asyncio.Event()
        self.port = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({HOST}:{self.port})"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.disconnect()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url_for(self, url: str) -> str:
        """`url` with this proxy's port."""
        return f"{url.rpartition(':')[0]}:{self.port}"

    def drop(self, *directions: Direction) -> None:
        """Let nothing through in these directions, and only these; the senders do not notice."""
        self._dropped.clear()
        self._dropping = set(directions)
        self._drop_from = None

    def drop_from(self, pattern: re.Pattern[bytes]) -> None:
        """Let nothing through to the server from the first data on that matches `pattern`."""
        self.drop()
        self._drop_from = pattern

    def restore(self) -> None:
        """Let everything through again, over new connections: what was dropped is gone."""
        self.drop()
        self.disconnect()

    def disconnect(self) -> None:
        """Break every connection; new ones are accepted."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    async def dropped(self, pattern: re.Pattern[bytes]) -> None:
        """Wait until what was dropped contains `pattern`."""
        while not pattern.search(self._dropped):
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
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        try:
            await self._forward(reader, writer, direction)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Pass on what comes, to the end of the connection."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._send(writer, data, direction)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        pattern = self._drop_from if direction is Direction.TO_SERVER else None
        if pattern is not None and (found := pattern.search(data)) is not None:
            writer.write(data[: found.start()])
            data = data[found.start() :]
            self.drop(direction)
        if direction in self._dropping:
            self._dropped += data[: max(0, _KEPT - len(self._dropped))]
            self._news.set()
            return
        writer.write(data)
        await writer.drain()
