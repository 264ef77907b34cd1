"""An ephemeral consumer that delivers what is stored up to a sequence, and is then deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import ack_fields
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.reading_consumer import Headers, ReadingConsumer

_MAX_BYTES = 8 * 1024 * 1024  # of one pull request
_EXPIRES_SECONDS = 20
_QUIET_SECONDS = 1.0


class EphemeralConsumer(ReadingConsumer):
    """A consumer of `stream` on `subjects` (all, if None), which can be used once."""

    def __init__(self, connection: Connection, stream: str, subjects: Sequence[str] | None) -> None:
        super().__init__(connection, stream, subjects, kind="history", max_bytes=_MAX_BYTES)
        self._last_mark = ".0"  # how the reply subject of the last message ends
        self._page = 1
        self._last = 0
        self._failed_checks = 0
        self._closed = False
        self._closing = asyncio.Lock()
        self.finished = False
        """Everything up to the last sequence has been delivered."""

    async def create(self, **start: Any) -> ConsumerInfo:
        """Create it with a deliver policy; the info says where it begins and what waits."""
        info = await self._add(**start)
        self.finished = not info.num_pending
        return info

    async def batches(self, last: int, page: int) -> AsyncGenerator[list[StoredMessage]]:
        """What is stored up to sequence `last`, in batches of about `page` messages.

        Ends when all that is delivered (`finished`) or when a message was lost (`broken`).
        """
        self._last, self._page = last, page
        await self._listen()
        while not (self.finished or self.broken):
            # One page at a time: what arrives while a thread is busy with the last page has to
            # wait for the interpreter's lock at each read of the socket.
            if self._asked <= self._received:
                self._asked = self._received
                self._page = min(page, self.max_batch)
                await self._request(self._page, _EXPIRES_SECONDS)
            quiet = not await self._woken(_QUIET_SECONDS)
            if batch := self._take():
                self._failed_checks = 0
                yield batch
            elif quiet:
                await self._check()
        if self._refusal is not None:
            raise self._refusal

    async def close(self) -> None:
        """Delete the consumer; without a connection it expires by itself."""
        async with self._closing:  # the reader and its owner may close it at the same time
            if self._closed:
                return
            self._break()
            await super().close()
            if self._connection.is_connected:
                with suppress(NatsError):
                    await self._connection.js.delete_consumer(self._stream, self.name)
            self._closed = True

    def _on_message(self, subject: str, reply: str, data: bytes, headers: Headers) -> None:
        self._arrived.append((subject, reply, data, headers))
        if len(self._arrived) >= self._page or not reply or reply.endswith(self._last_mark):
            self._wake.set()

    def _take(self) -> list[StoredMessage]:
        """The messages that arrived; sets `finished` and `broken` by what they say."""
        arrived, self._arrived = self._arrived, []
        batch: list[StoredMessage] = []
        last, received = self._last, self._received
        for subject, reply, data, headers in arrived:
            if self.finished or self.broken:
                break
            if not reply:
                self._received = received
                self._on_status(headers or {}, empty=not batch)
                continue
            _, _, _, seq, consumer_seq, stored, pending = ack_fields(reply)
            if not reply.endswith(pending):
                self._last_mark = ""  # a random token ends it: any reply may be the last one's
            received += 1
            if int(consumer_seq) != received:
                self.broken = True
                break
            sequence = int(seq)
            if sequence <= last:
                batch.append(StoredMessage(sequence, subject, int(stored), data, headers))
            if sequence >= last or pending == "0":
                self.finished = True
        self._received = received
        return batch

    async def _check(self) -> None:
        """Find out, when nothing came for a while, whether the consumer or a message was lost."""
        try:
            info = await self._connection.js.consumer_info(self._stream, self.name)
        except NotFoundError:
            self._break()
            return
        except NatsError:
            self._failed_checks += 1
        else:
            if info.delivered.consumer_seq != self._received:
                self._failed_checks += 1
            elif not info.num_pending:
                self.finished = True
        if self._failed_checks > 1:
            self._break()
