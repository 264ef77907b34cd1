"""Single messages and counts of a stream, and reading it to the end as its leader knows it.

Open this to see how reading goes on where a replica that is behind has answered, and what is said
of a record that cannot be read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from math import inf
from typing import Any

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats import direct
from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import stream_info
from varco_nats.errors import PermissionDeniedError, StreamNotFoundError

_warned: set[tuple[str, int, int]] = set()
"""Stream, sequence and time of the records that were logged as unreadable."""

_SUBJECTS_TIMEOUT = 30  # a page of subjects may be several megabytes long
_REPLICA_SECONDS = 0.05


async def subject_counts(connection: Connection, stream: str, pattern: str) -> dict[str, int]:
    """How many messages each matching subject has; see `subject_pages` for the errors."""
    found: dict[str, int] = {}
    async for page in subject_pages(connection, stream, pattern):
        found |= page
    return found


async def subject_pages(
    connection: Connection, stream: str, pattern: str
) -> AsyncGenerator[dict[str, int]]:
    """The same in parts, as the server lists a limited number of subjects at a time.

    Raises:
        StreamNotFoundError, JetStreamUnavailableError: there is no such stream or no JetStream.
        StreamUnavailableError, ServerUnreachableError: no answer.
    """
    offset, total = 0, 1
    while offset < total:
        request = partial(_subjects_page, connection, stream, pattern, offset)
        answer = await with_leader(
            connection, stream, request, wait=_SUBJECTS_TIMEOUT, attempt=_SUBJECTS_TIMEOUT
        )
        page = answer["state"].get("subjects") or {}
        yield page
        offset, total = offset + len(page), answer.get("total", 0) if page else 0


async def _subjects_page(
    connection: Connection, stream: str, pattern: str, offset: int
) -> dict[str, Any]:
    request = {"subjects_filter": pattern, "offset": offset}
    try:
        return await connection.ask_jetstream(f"STREAM.INFO.{stream}", request, _SUBJECTS_TIMEOUT)
    except NotFoundError:
        raise StreamNotFoundError(stream) from None


type Read[Messages] = Callable[[int, int], AsyncGenerator[Messages]]
"""Gives the messages from its first sequence to its second, in order, or even later ones."""


async def read_whole[Messages: Sequence[StoredMessage]](
    connection: Connection,
    stream: str,
    subjects: Sequence[str],
    read: Read[Messages],
    start: int = 1,
    end: int | None = None,
    *,
    timeout: float = 5.0,
) -> AsyncGenerator[Messages]:
    """What `read` gives from `start` to `end`, and nothing less than the stream's leader has.

    The replica that answers direct gets, or that has the consumer of a reader, may be behind the
    leader. So reading goes on until the leader has nothing after what was read.

    Args:
        subjects: those that `read` reads.
        end: None is the leader's last message at the beginning. With a number, all that `read`
            gives counts as everything if this login may not ask the leader.
        timeout: seconds in which a replica that is behind may give nothing new.

    Raises:
        StreamNotFoundError, StreamUnavailableError, ServerUnreachableError: it is not known what
            the stream holds.
        PermissionDeniedError: this login may not read, or not ask the leader.
        nats.errors.Error: no answer, or the replica stays behind.
    """
    proven = False
    if end is None:
        info = await stream_info(connection, stream, state=True)
        end = int(info.state.last_seq)
        proven = (info.config.num_replicas or 1) > 1  # the only replica is the leader
    until = time.monotonic() + timeout
    while start <= end:
        async with aclosing(read(start, end)) as batches:
            async for batch in batches:
                if batch:
                    start, until = batch[-1].seq + 1, time.monotonic() + timeout
                    yield batch
        if start > end:
            return
        try:
            if await _leader_has_no_more(connection, stream, subjects, start, end):
                return
        except PermissionDeniedError:
            if proven:
                raise
            return
        if time.monotonic() > until:
            raise NatsTimeoutError
        await asyncio.sleep(_REPLICA_SECONDS)


def read_stored(
    connection: Connection,
    stream: str,
    subject: str,
    *,
    start: int = 1,
    batch: int = 1000,
    timeout: float = 5.0,
    attempts: int = 3,
    ahead: bool = False,
    late_headers: bool = False,
) -> AsyncGenerator[list[StoredMessage]]:
    """What `read_whole` reads by direct get; see `direct.read_batches` for the arguments."""

    async def read(first: int, _last: int) -> AsyncGenerator[list[StoredMessage]]:
        reading = direct.read_batches(
            connection,
            stream,
            subject=subject,
            start=first,
            batch=batch,
            timeout=timeout,
            attempts=attempts,
            ahead=ahead,
            late_headers=late_headers,
        )
        async with aclosing(reading):
            async for found in reading:
                yield found.messages

    return read_whole(connection, stream, [subject], read, start, timeout=timeout)


async def _leader_has_no_more(
    connection: Connection, stream: str, subjects: Sequence[str], start: int, end: int
) -> bool:
    info = await stream_info(connection, stream, state=True)
    replicated = (info.config.num_replicas or 1) > 1
    if replicated and int(info.state.last_seq) < end:  # it knows less than the leader before
        return False
    return await next_seq(connection, stream, subjects, start) > end


async def next_seq(
    connection: Connection, stream: str, subjects: Sequence[str], start: int
) -> float:
    """The sequence of the leader's first message from `start` on; inf if there is none."""
    lookup = Lookup(connection, stream, direct=False)
    requests = [{"seq": start, "next_by_subj": subject} for subject in subjects]
    found = await asyncio.gather(
        *(with_leader(connection, stream, partial(lookup.get, request)) for request in requests)
    )
    return min((message.seq for message in found if message is not None), default=inf)


class Lookup:
    """Reads single messages of `stream`.

    Args:
        direct: whether to use direct get, which the stream must allow; else its leader is asked.
    """

    def __init__(self, connection: Connection, stream: str, *, direct: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._direct = direct

    async def get(self, request: Mapping[str, Any]) -> StoredMessage | None:
        """The message for a request as `direct.get_message` takes it; None if there is none."""
        if self._direct:
            return await direct.get_message(self._connection, self._stream, request)
        api = f"STREAM.MSG.GET.{self._stream}"
        try:
            answer = await self._connection.ask_jetstream(api, request, timeout=5)
        except NotFoundError:
            return None
        return direct.leader_message(answer["message"])


def warn_unread(stream: str, message: StoredMessage, error: Exception) -> None:
    """Log a WARNING about a record, the first time that this process finds it."""
    record = (stream, message.seq, message.time_ns)
    if record in _warned:
        return
    _warned.add(record)
    _logger.warning(
        "record %d of stream %s cannot be read (%s) and is left out; it is damaged, or somebody "
        "else or a newer version of this package wrote it",
        message.seq,
        stream,
        type(error).__name__,  # the error's text may contain the whole record
    )
