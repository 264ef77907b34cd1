"""Reading a stream message by message, for streams on which no consumer may be opened.

A WorkQueue stream lets one consumer have each message, so looking at it with another would take
messages away; an Interest stream keeps a message for as long as a consumer wants it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nats.js.errors import APIError, NotFoundError

from varco_nats import _direct
from varco_nats._client import Connection
from varco_nats._direct import StoredMessage
from varco_nats._reader import PAGE, StreamReader
from varco_nats._stream import covers

_NANOSECONDS = 1_000_000_000


class Lookup:
    """Single messages of `stream`, by direct get where the stream allows it."""

    def __init__(self, connection: Connection, stream: str, *, direct: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._direct = direct

    async def get(self, request: Mapping[str, Any]) -> StoredMessage | None:
        """The message that `request` names, as `_direct.get_message` takes it; None if none."""
        if self._direct:
            return await _direct.get_message(self._connection, self._stream, request)
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
            time_ns=_direct.time_ns(found["time"]),
            data=base64.b64decode(found.get("data", "")),
            headers=_headers(base64.b64decode(found.get("hdrs", ""))),
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

    async def _messages(self, first: int) -> AsyncIterator[StoredMessage]:
        subjects = self._subjects
        one = subjects[0] if subjects is not None and len(subjects) == 1 else ">"
        found = self._all_direct(one, first) if self._direct else self._all(one, first)
        async for message in found:
            if subjects is None or any(covers(s, message.subject) for s in subjects):
                yield message

    def _all_direct(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        return _direct.read_messages(self._connection, self._stream, subject=subject, start=first)

    async def _all(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        while message := await self._lookup.get({"seq": first, "next_by_subj": subject}):
            yield message
            first = message.seq + 1


def _headers(block: bytes) -> dict[str, str] | None:
    """The fields of a header block, which begins with the line `NATS/1.0`."""
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name: value.strip() for name, _, value in pairs} or None
