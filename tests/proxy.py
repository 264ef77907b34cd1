"""The proxy of experiments, with more ways to break a connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from varco_nats_widgets.experiment._proxy import Direction, FaultProxy

ANSWERS, REQUESTS = Direction.TO_CLIENT, Direction.TO_SERVER


class Proxy(FaultProxy):
    """Can also stall, slow, hold or lose what passes, refuse connections, and end logins."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.lose: re.Pattern[bytes] | None = None
        """What is lost of the server's answers."""
        self.refuse = False
        """Whether new connections are closed at once."""
        self.end_logins = False
        """Whether a client gets the server's greeting and then the end of the connection."""
        self.answer_bytes = 0
        """How many bytes of the server's answers come through 50 times a second; 0 is no limit."""
        self.on_sent: Callable[[bytes], object] = lambda data: None
        """Called with what clients send."""
        self.connections = 0
        self._flowing = {direction: asyncio.Event() for direction in Direction}
        self.flow()
        self._held: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()

    def stall(self, *directions: Direction) -> None:
        """Keep what goes in these directions, also on new connections, until `flow`."""
        for direction in directions:
            self._flowing[direction].clear()

    def flow(self) -> None:
        """Hand over what was kept, and what comes."""
        for flowing in self._flowing.values():
            flowing.set()

    def hold(self) -> None:
        """Keep what the connections of now send, also when their clients leave."""
        self._held = set(self._tasks)
        self._released.clear()

    def release(self) -> None:
        """Send what was kept."""
        self._held.clear()
        self._released.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        self.connections += 1
        await super()._accept(reader, writer)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        await super()._forward(reader, writer, direction)
        if direction is REQUESTS:
            await self._until_released()  # the server does not learn that the client left

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        if direction is REQUESTS:
            self.on_sent(data)
            if self.end_logins:
                writer.close()
                return
            await self._until_released()
        elif asyncio.current_task() in self._held:
            return
        await self._flowing[direction].wait()
        if direction is ANSWERS and self.lose is not None:
            data = self.lose.sub(b"", data)
        while self.answer_bytes and direction is ANSWERS and data:
            await asyncio.sleep(0.02)
            await super()._send(writer, data[: self.answer_bytes], direction)
            data = data[self.answer_bytes :]
        await super()._send(writer, data, direction)

    async def _until_released(self) -> None:
        if asyncio.current_task() in self._held:
            await self._released.wait()


class Sent:
    """What clients send through a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._data = b""
        proxy.on_sent = self._take

    def _take(self, data: bytes) -> None:
        self._data += data

    def count(self, pattern: re.Pattern[bytes]) -> int:
        return len(pattern.findall(self._data))

    def different(self, pattern: re.Pattern[bytes]) -> set[bytes]:
        return set(pattern.findall(self._data))

    def forget(self) -> None:
        self._data = b""
