"""Where entries are that were read before, so that they can be removed without another look."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime
from uuid import UUID

from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection

_MAX_KNOWN = 100_000
_CHECK_SECONDS = 0.1


class KnownSequences:
    """The sequences of entries that were read from a stream.

    A sequence names one message for as long as the stream exists. After a reconnect, and if the
    stream was deleted and created anew, it may name another one, so that it is then forgotten.

    Args:
        created: when the stream was created; with None nothing is noted, see `ensure_dlq_stream`.
    """

    def __init__(self, connection: Connection, stream: str, created: datetime | None) -> None:
        self._connection = connection
        self._stream = stream
        self._created = created
        self._checking = asyncio.Lock()
        self._checked_at = 0.0
        self._sequences: OrderedDict[UUID, int] = OrderedDict()
        connection.on_reconnect(self._sequences.clear)

    def note(self, entry_id: UUID, seq: int) -> None:
        """Note where an entry is; the oldest note makes room for it."""
        if self._created is not None:
            self._sequences[entry_id] = seq
            if len(self._sequences) > _MAX_KNOWN:
                self._sequences.popitem(last=False)

    async def take(self, entry_id: UUID) -> int | None:
        """The sequence of an entry, once; None if it is not known, or not any more."""
        clock = asyncio.get_running_loop().time
        if entry_id in self._sequences and clock() - self._checked_at >= _CHECK_SECONDS:
            await self._check()
        return self._sequences.pop(entry_id, None)

    async def _check(self) -> None:
        """Forget all unless the stream was the same within the last tenth of a second."""
        clock = asyncio.get_running_loop().time
        async with self._checking:
            asked_at = clock()
            if asked_at - self._checked_at < _CHECK_SECONDS:
                return
            try:
                created = (await self._connection.js.stream_info(self._stream)).created
            except NatsError:  # it may be gone, or this login may not ask
                created = None
            if created != self._created:
                self._sequences.clear()
            self._created = created or self._created
            self._checked_at = asked_at
