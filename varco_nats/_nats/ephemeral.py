"""An ephemeral consumer that delivers what is stored up to a sequence, and is then deleted."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch
from varco_nats._nats.reading_consumer import ReadingConsumer, Run, Single

_MAX_BYTES = 8 * 1024 * 1024  # of one pull request
_EXPIRES_SECONDS = 20
_QUIET_SECONDS = 1.0
_TOKEN_DOTS = 11  # of a reply subject that ends with a random token


class EphemeralConsumer(ReadingConsumer):
    """A consumer of `stream` on `subjects` (all, if None), which can be used once."""

    def __init__(self, connection: Connection, stream: str, subjects: Sequence[str] | None) -> None:
        super().__init__(connection, stream, subjects, kind="history", max_bytes=_MAX_BYTES)
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

    async def batches(self, last: int, page: int) -> AsyncGenerator[Batch]:
        """What is stored up to sequence `last`, in batches of about `page` messages.

        Ends when all that is delivered (`finished`) or when a message was lost (`broken`).
        """
        self._last, self._page = last, page
        await self._listen()
        ahead = 0
        while not (self.finished or self.broken):
            self._asked = max(self._asked, self._received)
            while self._asked - self._received <= ahead:
                self._page = min(page, self.max_batch)
                await self._request(self._page, _EXPIRES_SECONDS)
            quiet = not await self._woken(_QUIET_SECONDS)
            if batch := self._take():
                self._failed_checks = 0
                yield batch
                # Who asks for a second page will ask for more: the server sends the next page
                # while this one is used.
                ahead = self._page
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

    def _is_enough(self, newest: Run | Single) -> bool:
        if self._waiting >= self._page:
            return True
        if isinstance(newest, Run):
            return 0 in newest.pending
        # the last message of all, a status, or one of which only a parser can tell
        reply = newest.reply
        return not reply or reply.endswith(".0") or reply.count(".") == _TOKEN_DOTS

    def _take(self) -> Batch:
        """The messages that arrived; sets `finished` and `broken` by what they say."""
        parts: list[Batch] = []
        for item in self._collected():
            if self.finished or self.broken:
                break
            if not isinstance(item, Run):
                self._on_status(item, empty=not parts)
                continue
            seqs, pending, count = item.messages.seqs, item.pending, self._in_order(item)
            end = bisect_left(seqs, self._last) + 1  # behind the message that is the last one
            if 0 in pending:
                end = min(end, pending.index(0) + 1)
            self.finished = end <= count
            self.broken = not self.finished and count < len(seqs)
            count = min(count, end)
            self._received += count
            if wanted := item.messages[: bisect_right(seqs, self._last, 0, count)]:
                parts.append(wanted)
        return Batch.joined(parts)

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
