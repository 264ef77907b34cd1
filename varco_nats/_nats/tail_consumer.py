"""An ephemeral consumer that delivers what is stored and what arrives, until a message is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from nats.js.api import DeliverPolicy

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch
from varco_nats._nats.reading_consumer import ReadingConsumer, Run

PAGE = 2000
"""Messages asked for at once; two such requests are open."""

_MAX_BYTES = 4 * 1024 * 1024  # of one pull request
_EXPIRES_SECONDS = 20
_HEARTBEAT_NS = 2_000_000_000
_SILENCE_SECONDS = 5.0  # without a message or heartbeat
_GATHER_SECONDS = 0.01  # between two batches, so that each has more than one message
_TICK_SECONDS = 0.2


class TailConsumer(ReadingConsumer):
    """A consumer of `stream` on `subjects` (all, if None), which can be used once."""

    def __init__(self, connection: Connection, stream: str, subjects: list[str] | None) -> None:
        super().__init__(connection, stream, subjects, kind="tail", max_bytes=_MAX_BYTES)
        self._heard_at = 0.0
        self.behind = 0
        """How many messages waited when the last message of the batch was sent."""

    async def create(self, start_seq: int) -> int:
        """Create it; returns how many messages wait for it."""
        policy = DeliverPolicy.BY_START_SEQUENCE
        info = await self._add(deliver_policy=policy, opt_start_seq=start_seq)
        return int(info.num_pending or 0)

    async def batches(self) -> AsyncGenerator[Batch]:
        """What it delivers, until a message or the consumer itself is lost."""
        await self._listen()
        self._heard_at = time.monotonic()
        yielded_at = 0.0
        while not self.broken:
            while self._asked - self._received <= PAGE:  # so that the server never waits for us
                await self._request(PAGE, _EXPIRES_SECONDS, idle_heartbeat=_HEARTBEAT_NS)
            if not await self._woken(_TICK_SECONDS):
                silence = time.monotonic() - self._heard_at
                if silence > _SILENCE_SECONDS or not self._connection.is_connected:
                    return
                continue
            early = yielded_at + _GATHER_SECONDS - time.monotonic()
            if early > 0 and self._waiting < PAGE:
                await asyncio.sleep(early)
            if batch := self._take():
                yielded_at = time.monotonic()
                yield batch
        if self._refusal is not None:
            raise self._refusal

    def _take(self) -> Batch:
        """The messages that arrived, up to the first that shows a loss."""
        self._heard_at = time.monotonic()
        parts: list[Batch] = []
        for item in self._collected():
            if not isinstance(item, Run):
                self._on_status(item, empty=not parts)
                continue
            if self.broken:
                break
            count = self._in_order(item)
            self._received += count
            if count:
                self.behind = item.pending[count - 1]
                parts.append(item.messages[:count])
            if count < len(item.messages):
                self.broken = True
                break
        return Batch.joined(parts)
