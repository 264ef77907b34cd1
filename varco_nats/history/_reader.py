"""Reading a stream without consuming it: ranges of sequences, forwards and backwards.

Open this to see how a read survives a lost connection and finds the newest messages, and how a
stream is read on which no consumer may be opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import DeliverPolicy
from nats.js.errors import APIError, BadRequestError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch, StoredMessage, read_batches
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.leader import passes, unavailable
from varco_nats._nats.limits import CONSUMERS
from varco_nats._nats.stream import covers, stream_info
from varco_nats.config import DEFAULT_API
from varco_nats.errors import (
    LimitReachedError,
    PermissionDeniedError,
    ServerUnreachableError,
    StreamNotFoundError,
    StreamUnavailableError,
)
from varco_nats.history._lookup import Lookup, next_seq, read_whole, subject_counts

PAGE = 5000
"""Messages in one batch."""

# the server counts nanoseconds since 1970 in 64 bits, and takes other times for any one of these
_FIRST_TIME, _LAST_TIME = datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 4, 11, tzinfo=UTC)
_PATIENCE_SECONDS = 60.0
_MAX_PAUSE = 1.0
_NANOSECONDS = 1_000_000_000
_COUNTS = 20  # at most, until no message arrives between two of them
_FROM_SEQ = DeliverPolicy.BY_START_SEQUENCE


def no_consumer(connection: Connection, error: NatsError) -> bool:
    """Whether no consumer can be opened, by anybody or by this login; other reads may work."""
    if isinstance(error, PermissionDeniedError):
        # a server of the domain that is asked refuses the request under the usual name
        begins = (f"{connection.api}.CONSUMER.", f"{DEFAULT_API}.CONSUMER.")
        return error.subject.startswith(begins)
    return isinstance(error, LimitReachedError) and error.limit == CONSUMERS


class StreamReader:
    """Reads the messages of `stream` on `subjects` (all, if None) over `connection`.

    Args:
        in_use: gets the open consumers, so that the caller can close them in the end.
        headers_only: leave the payloads out.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: Sequence[str] | None = None,
        in_use: set[EphemeralConsumer] | None = None,
        *,
        headers_only: bool = False,
    ) -> None:
        self._headers_only = headers_only
        self._connection = connection
        self._stream = stream
        self._in_use: set[EphemeralConsumer] = in_use if in_use is not None else set()
        self._subjects = list(dict.fromkeys(subjects)) if subjects is not None else None

    async def count(self, first: int) -> int:
        """How many messages are stored at sequence `first` and later."""
        return (await self._counted(first))[0]

    async def count_between(self, first: int, last: int) -> int:
        """How many messages there are; never too many when others arrive or go meanwhile, nor
        where one of the replicas, of which any one may count, is behind."""
        after, server = await self._counted(last + 1)
        known = {server: after}  # by the server that counted, as replicas cannot be compared
        for _ in range(_COUNTS):
            count, server = await self._counted(first)
            before, after = known.get(server), await self._count_at(server, last + 1)
            known[server] = after
            if before == after:
                break
        return max(count - max(before or 0, after), 0)

    async def _counted(self, first: int) -> tuple[int, str]:
        """The same as `count`, and the server that counted, "" where there is only one."""
        info = await self._probe(deliver_policy=_FROM_SEQ, opt_start_seq=max(first, 1))
        cluster = info.cluster
        return int(info.num_pending or 0), (cluster.leader or "") if cluster else ""

    async def _count_at(self, server: str, first: int) -> int:
        """The same as `count`, by the replica on that server if it can be had."""
        for _ in range(_COUNTS):
            count, counted_at = await self._counted(first)
            if counted_at == server:
                break
        return count

    async def sequence_at(self, moment: datetime) -> int:
        """The sequence that the first message stored at `moment` or later has or would have."""
        moment = min(max(moment, _FIRST_TIME), _LAST_TIME)
        info = await self._probe(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=moment)
        return int(info.delivered.stream_seq) + 1

    async def forwards(self, first: int, last: int, *, page: int = PAGE) -> AsyncGenerator[Batch]:
        """The messages with sequences `first` to `last`, both included, in batches.

        After a lost connection or message, the read goes on at the next sequence. In a cluster it
        ends only when the stream's leader has no more, if this login may ask the leader.

        Raises:
            StreamNotFoundError: the stream does not exist.
            ServerUnreachableError, StreamUnavailableError: nothing came for a minute.
            PermissionDeniedError: the login may not do this.
        """
        read = partial(self._read, page=page)
        if self._connection.is_clustered:
            subjects, timeout = self._subjects or [">"], _PATIENCE_SECONDS
            reading = read_whole(
                self._connection, self._stream, subjects, read, first, last, timeout=timeout
            )
        else:
            reading = read(first, last)
        try:
            async with aclosing(reading) as batches:
                async for batch in batches:
                    yield batch
        except NatsTimeoutError as error:
            reason = "it does not answer, or the replica that was read stays behind"
            servers = self._connection.servers
            raise StreamUnavailableError(self._stream, reason, servers) from error

    async def _read(self, first: int, last: int, *, page: int) -> AsyncGenerator[Batch]:
        """The messages that the replica with the consumer has."""
        patience = Patience(self._connection, self._stream)
        while first <= last:
            try:
                async with self._consumer() as consumer:
                    await consumer.create(
                        deliver_policy=_FROM_SEQ,
                        opt_start_seq=max(first, 1),
                        headers_only=self._headers_only or None,
                    )
                    async with aclosing(consumer.batches(last, page)) as batches:
                        async for batch in batches:
                            first = batch.seqs[-1] + 1
                            patience.renew()
                            yield batch
                    if consumer.finished:
                        return
                    raise NatsError(consumer.problem)
            except NatsError as error:
                await patience.wait(error)

    async def backwards(self, first: int, last: int, *, page: int = PAGE) -> AsyncGenerator[Batch]:
        """The same messages, newest first, in batches of about `page`.

        Reads windows of sequences from the end, wider where the subjects are rare, so that the
        newest messages of a large stream cost little.

        Raises:
            StreamNotFoundError, ServerUnreachableError, PermissionDeniedError: as `forwards`.
        """
        width = page
        while last >= first:
            start = max(first, last - width + 1)
            # counted in this order, so that messages which arrive between the two hide none
            later = await self.count(last + 1)
            found = max(await self.count(start) - later, 0)
            if found > 4 * page and start < last:
                width = max(width * page // found, 1)
                continue
            if found or not await self._leader_has_none(start, last):
                reading = self.forwards(start, last, page=min(found, PAGE) or PAGE)
                window = Batch.joined([batch async for batch in reading])
                if window:
                    yield window[::-1]
            last = start - 1
            width = min(width * 8, max(width * page // found, 1)) if found else width * 8

    async def _leader_has_none(self, first: int, last: int) -> bool:
        """Whether the leader also has no messages there, where a replica has counted none."""
        if not self._connection.is_clustered:
            return True
        subjects = self._subjects or [">"]
        try:
            return await next_seq(self._connection, self._stream, subjects, first) > last
        except PermissionDeniedError:
            return True

    async def _probe(self, **start: Any) -> Any:
        """The info of a consumer that is created and deleted at once."""
        patience = Patience(self._connection, self._stream)
        while True:
            try:
                async with self._consumer() as consumer:
                    return await consumer.create(**start)
            except NatsError as error:
                await patience.wait(error)

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[EphemeralConsumer]:
        consumer = EphemeralConsumer(self._connection, self._stream, self._subjects)
        self._in_use.add(consumer)
        try:
            yield consumer
        finally:
            await consumer.close()
            self._in_use.discard(consumer)


class LookupReader(StreamReader):
    """A `StreamReader` that opens no consumer, for streams on which none may be opened.

    A WorkQueue stream lets one consumer have each message, so looking at it with another would take
    messages away; an Interest stream keeps a message for as long as a consumer wants it.
    """

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
        state = (await stream_info(self._connection, self._stream, state=True)).state
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
        state = (await stream_info(self._connection, self._stream, state=True)).state
        low, high = int(state.first_seq), int(state.last_seq) + 1
        while low < high:
            middle = (low + high) // 2
            message = await self._lookup.get({"seq": middle, "next_by_subj": ">"})
            if message is None or message.time_ns >= wanted:
                high = middle
            else:
                low = message.seq + 1
        return low

    async def _read(self, first: int, last: int, *, page: int) -> AsyncGenerator[Batch]:
        batch: list[StoredMessage] = []
        async for message in self._messages(max(first, 1)):
            if message.seq > last:
                break
            batch.append(message)
            if len(batch) >= page:
                yield Batch.of(batch)
                batch = []
        if batch:
            yield Batch.of(batch)

    async def backwards(self, first: int, last: int, *, page: int = PAGE) -> AsyncGenerator[Batch]:
        width = page
        while last >= first:
            start = max(first, last - width + 1)
            parts: list[Batch] = []
            found = 0
            async with aclosing(self.forwards(start, last, page=page)) as batches:
                async for batch in batches:
                    parts.append(batch)
                    found += len(batch)
                    if found > 4 * page:
                        break
            if found > 4 * page:
                width = max(width // 8, page)
                continue
            if found:
                yield Batch.joined(parts)[::-1]
            last = start - 1
            width = min(width * 8, max(width * page // found, 1)) if found else width * 8

    async def _messages(self, first: int) -> AsyncIterator[StoredMessage]:
        subjects = self._subjects
        pattern = subjects[0] if subjects is not None and len(subjects) == 1 else ">"
        ask = self._asked_directly if self._direct else self._asked_singly
        async for message in ask(pattern, first):
            if subjects is None or any(covers(each, message.subject) for each in subjects):
                yield message

    async def _asked_directly(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        reading = read_batches(self._connection, self._stream, subject=subject, start=first)
        async for batch in reading:
            for message in batch.messages:
                yield message

    async def _asked_singly(self, subject: str, first: int) -> AsyncIterator[StoredMessage]:
        while message := await self._lookup.get({"seq": first, "next_by_subj": subject}):
            yield message
            first = message.seq + 1


class Patience:
    """Pauses between attempts, and gives up when nothing has come for a minute."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream
        self.renew()

    def renew(self) -> None:
        self._pause = 0.05
        self._until = time.monotonic() + _PATIENCE_SECONDS

    async def wait(self, error: NatsError) -> None:
        if isinstance(error, PermissionDeniedError | LimitReachedError):
            raise error
        if isinstance(error, APIError):
            if error.err_code == ErrorCode.STREAM_NOT_FOUND:
                raise StreamNotFoundError(self._stream) from None
            if isinstance(error, BadRequestError):  # asking again cannot help
                raise error
        left = self._until - time.monotonic()
        if left <= 0 or self._connection.nc.is_closed:
            if passes(self._connection, error):
                raise await unavailable(self._connection, self._stream, error) from error
            raise ServerUnreachableError(self._connection.servers, str(error)) from error
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _MAX_PAUSE)
        await self._connection.wait_connected(left)


async def read_undirected(
    connection: Connection,
    stream: str,
    subject: str,
    first: int,
    last: int,
    *,
    kept: bool,
    page: int = PAGE,
) -> AsyncGenerator[Batch]:
    """The messages of a stream without direct get, taking none; see `StreamReader.forwards`.

    Args:
        kept: whether the stream keeps what a consumer was sent (Limits retention). Else, and where
            no consumer may be opened, each message takes a request of its own.
    """
    if kept:
        reader = StreamReader(connection, stream, [subject])
        try:
            async with aclosing(reader.forwards(first, last, page=page)) as batches:
                async for batch in batches:
                    first = batch.seqs[-1] + 1
                    yield batch
        except NatsError as error:
            if not no_consumer(connection, error):
                raise
        else:
            return
    lookups = LookupReader(connection, stream, [subject], direct=False)
    async with aclosing(lookups.forwards(first, last, page=page)) as batches:
        async for batch in batches:
            yield batch
