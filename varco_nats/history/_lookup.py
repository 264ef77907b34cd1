"""Reading a stream message by message, for streams on which no consumer may be opened.

A WorkQueue stream lets one consumer have each message, so looking at it with another would take
messages away; an Interest stream keeps a message for as long as a consumer wants it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NotFoundError

from varco_nats._nats import direct
from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.leader import with_leader
from varco_nats._nats.parser import NO_STATUS, header_fields
from varco_nats._nats.stream import covers, stream_info
from varco_nats.errors import PermissionDeniedError, StreamNotFoundError
from varco_nats.history._reader import PAGE, StreamReader

_NANOSECONDS = 1_000_000_000
_SUBJECTS_TIMEOUT = 30  # a page of subjects may have several megabytes
_REPLICA_SECONDS = 0.05


async def subject_counts(connection: Connection, stream: str, pattern: str) -> dict[str, int]:
    """The messages for each subject that matches, asked for in pages as the server gives them.

    Raises:
        StreamNotFoundError, JetStreamUnavailableError: there is none.
        StreamUnavailableError, ServerUnreachableError: no answer.
    """
    found: dict[str, int] = {}
    offset, total = 0, 1
    while offset < total:
        request = partial(_subjects_page, connection, stream, pattern, offset)
        answer = await with_leader(
            connection, stream, request, wait=_SUBJECTS_TIMEOUT, attempt=_SUBJECTS_TIMEOUT
        )
        page = answer["state"].get("subjects") or {}
        found |= page
        offset, total = offset + len(page), answer.get("total", 0) if page else 0
    return found


async def _subjects_page(
    connection: Connection, stream: str, pattern: str, offset: int
) -> dict[str, Any]:
    reply = await connection.nc.request(
        f"$JS.API.STREAM.INFO.{stream}",
        json.dumps({"subjects_filter": pattern, "offset": offset}).encode(),
        timeout=_SUBJECTS_TIMEOUT,
    )
    answer: dict[str, Any] = json.loads(reply.data)
    if "error" in answer:
        with suppress(NotFoundError):
            raise APIError.from_error(answer["error"])
        raise StreamNotFoundError(stream)
    return answer


async def read_whole(
    connection: Connection,
    stream: str,
    subjects: Sequence[str],
    read: Callable[[int, int], AsyncGenerator[list[StoredMessage]]],
    *,
    start: int = 1,
    timeout: float = 5.0,
) -> AsyncGenerator[list[StoredMessage]]:
    """What `read` gives from `start` to the last message that the stream's leader has at first.

    A replica that answers direct gets, or that holds the consumer of a reader, may be behind: its
    last message is not the stream's. So it is read until it has the leader's.

    Args:
        read: gives the messages on `subjects`, in order, from its first sequence to its second; it
            may go on after that.
        timeout: seconds that a replica may bring nothing new while it is behind.

    Raises:
        StreamNotFoundError, StreamUnavailableError, ServerUnreachableError: nobody says.
        nats.errors.Error: no answer, or the replica stays behind.
    """
    until = time.monotonic() + timeout
    info = await stream_info(connection, stream)
    end = int(info.state.last_seq)
    while start <= end:
        async with aclosing(read(start, end)) as batches:
            async for batch in batches:
                if batch:
                    start, until = batch[-1].seq + 1, time.monotonic() + timeout
                    yield batch
        if start > end:
            return
        try:
            if await _next_seq(connection, stream, subjects, start) > end:
                return
        except PermissionDeniedError:
            if (info.config.num_replicas or 1) > 1:
                raise
            return  # the one that was read is its leader
        if time.monotonic() > until:
            raise NatsTimeoutError
        await asyncio.sleep(_REPLICA_SECONDS)


async def _next_seq(
    connection: Connection, stream: str, subjects: Sequence[str], start: int
) -> float:
    """The sequence of the first message from `start` on, as the leader has it; inf without one."""
    lookup = Lookup(connection, stream, direct=False)
    asked = [{"seq": start, "next_by_subj": subject} for subject in subjects]
    found = [
        await with_leader(connection, stream, partial(lookup.get, request)) for request in asked
    ]
    return min((message.seq for message in found if message is not None), default=inf)


class Lookup:
    """Single messages of `stream`, by direct get where the stream allows it."""

    def __init__(self, connection: Connection, stream: str, *, direct: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._direct = direct

    async def get(self, request: Mapping[str, Any]) -> StoredMessage | None:
        """The message that `request` names, as `direct.get_message` takes it; None if none."""
        if self._direct:
            return await direct.get_message(self._connection, self._stream, request)
        reply = await self._connection.nc.request(
            f"$JS.API.STREAM.MSG.GET.{self._stream}", json.dumps(request).encode(), timeout=5
        )
        answer = json.loads(reply.data)
        if "error" in answer:
            try:
                raise APIError.from_error(answer["error"])
            except NotFoundError:
                return None
        found = answer["message"]
        return StoredMessage(
            seq=found["seq"],
            subject=found["subject"],
            time_ns=direct.time_ns(found["time"]),
            data=base64.b64decode(found.get("data", "")),
            headers=header_fields(base64.b64decode(found.get("hdrs", ""))[len(NO_STATUS) :]),
        )


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
        """As the server has counted them, or else by reading them."""
        state = (await self._connection.js.stream_info(self._stream)).state
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
        state = (await self._connection.js.stream_info(self._stream)).state
        low, high = int(state.first_seq), int(state.last_seq) + 1
        while low < high:
            middle = (low + high) // 2
            message = await self._lookup.get({"seq": middle, "next_by_subj": ">"})
            if message is None or message.time_ns >= wanted:
                high = middle
            else:
                low = message.seq + 1
        return low

    async def forwards(
        self, first: int, last: int, *, page: int = PAGE
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
        one = subjects[0] if subjects is not None and len(subjects) == 1 else ">"
        found = self._all_direct(one, first) if self._direct else self._all(one, first)
        async for message in found:
            if subjects is None or any(covers(s, message.subject) for s in subjects):
                yield message

    def _all_direct(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        return direct.read_messages(self._connection, self._stream, subject=subject, start=first)

    async def _all(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        while message := await self._lookup.get({"seq": first, "next_by_subj": subject}):
            yield message
            first = message.seq + 1
