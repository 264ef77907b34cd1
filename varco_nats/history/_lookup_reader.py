"""Reading a stream message by message, for streams on which no consumer may be opened.

A WorkQueue stream lets one consumer have each message, so looking at it with another would take
messages away; an Interest stream keeps a message for as long as a consumer wants it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage, read_messages
from varco_nats._nats.stream import covers, led_info
from varco_nats.history._lookup import Lookup, subject_counts
from varco_nats.history._reader import PAGE, StreamReader

_NANOSECONDS = 1_000_000_000


class LookupReader(StreamReader):
    """A `StreamReader` that opens no consumer."""

    def __init__(
        self, connection: Connection, stream: str, subjects: Sequence[str] | None, *, direct: bool
    ) -> None:
        super().__init__(connection, stream, subjects)
        self._direct = direct
        self._lookup = Lookup(connection, stream, direct=direct)

    async def count(self, first: int) -> int:
        return sum([1 async for _ in self._messages(max(first, 1))])

    async def count_between(self, first: int, last: int) -> int:
        """By the server's own counts where these are enough, else by reading the messages."""
        state = (await led_info(self._connection, self._stream)).state
        if first > int(state.first_seq) or last < int(state.last_seq):
            return sum([len(batch) async for batch in self.forwards(first, last)])
        stored = int(state.messages)
        if self._subjects is not None:
            counts: dict[str, int] = {}
            for subject in self._subjects:
                counts |= await subject_counts(self._connection, self._stream, subject)
            stored = sum(counts.values())
        return max(stored - await self.count(last + 1), 0)

    async def sequence_at(self, moment: datetime) -> int:
        wanted = int(moment.timestamp()) * _NANOSECONDS + moment.microsecond * 1000
        state = (await led_info(self._connection, self._stream)).state
        low, high = int(state.first_seq), int(state.last_seq) + 1
        while low < high:
            middle = (low + high) // 2
            message = await self._lookup.get({"seq": middle, "next_by_subj": ">"})
            if message is None or message.time_ns >= wanted:
                high = middle
            else:
                low = message.seq + 1
        return low

    async def _read(
        self, first: int, last: int, *, page: int
    ) -> AsyncGenerator[list[StoredMessage]]:
        batch: list[StoredMessage] = []
        async for message in self._messages(max(first, 1)):
            if message.seq > last:
                break
            batch.append(message)
            if len(batch) >= page:
                yield batch
                batch = []
        if batch:
            yield batch

    async def backwards(
        self, first: int, last: int, *, page: int = PAGE
    ) -> AsyncGenerator[list[StoredMessage]]:
        width = page
        while last >= first:
            start = max(first, last - width + 1)
            window: list[StoredMessage] = []
            async with aclosing(self.forwards(start, last, page=page)) as batches:
                async for batch in batches:
                    window += batch
                    if len(window) > 4 * page:
                        break
            found = len(window)
            if found > 4 * page:
                width = max(width // 8, page)
                continue
            if window:
                yield window[::-1]
            last = start - 1
            width = min(width * 8, max(width * page // found, 1)) if found else width * 8

    async def _messages(self, first: int) -> AsyncIterator[StoredMessage]:
        subjects = self._subjects
        pattern = subjects[0] if subjects is not None and len(subjects) == 1 else ">"
        found = self._all_direct(pattern, first) if self._direct else self._all(pattern, first)
        async for message in found:
            if subjects is None or any(covers(each, message.subject) for each in subjects):
                yield message

    def _all_direct(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        return read_messages(self._connection, self._stream, subject=subject, start=first)

    async def _all(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        while message := await self._lookup.get({"seq": first, "next_by_subj": subject}):
            yield message
            first = message.seq + 1
