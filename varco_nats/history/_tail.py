"""Following a stream as it grows, without consuming it.

Open this to see how a tail keeps its place when the connection, the server or its own consumer
goes away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from itertools import pairwise
from typing import Literal

from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers, led_info, met
from varco_nats._nats.tail_consumer import PAGE, TailConsumer
from varco_nats.errors import (
    AuthenticationError,
    JetStreamUnavailableError,
    LimitReachedError,
    PermissionDeniedError,
    ServerUnreachableError,
    StreamUnavailableError,
)
from varco_nats.history._reader import LookupReader, StreamReader, no_consumer

TailState = Literal["waiting", "catching up", "live", "reconnecting"]

_LAGGING = 2 * PAGE  # this many messages behind, a tail is catching up again
_TICK_SECONDS = 0.2
_MAX_PAUSE = 1.0


class Tail:
    """The messages of `stream` on `subjects` (all, if None) from one sequence on, for ever.

    It reads through an ephemeral consumer in the server's memory that acknowledges nothing. Where
    a consumer would take messages away (WorkQueue and Interest streams) or cannot be opened, it
    asks for new messages five times a second instead.

    Args:
        on_change: called after each change of `state`, `problem` or `gaps`.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: Sequence[str] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = list(dict.fromkeys(subjects)) if subjects is not None else None
        self._on_change = on_change
        self._created: datetime | None = None  # when the stream was created
        self._known_last = 0  # the highest sequence known to have been stored
        self._target = 0  # when this sequence has been read, the tail has caught up
        self._orphans: set[str] = set()  # consumers that could not be deleted
        self.next_seq = 1
        """The lowest sequence that has not been handed out."""
        self.behind = 0
        """How many messages were waiting on the server when it sent the last one."""
        self.gaps = 0
        """How many sequences the stream dropped, or a service took, before they could be read;
        where the stream has other subjects, too, some may have been on those."""
        self.forgets = False
        """Whether the stream removes what services have acknowledged."""
        self.state: TailState = "catching up"
        self.problem: str | None = None
        """Why the tail is waiting or reconnecting."""

    async def seek(self, *, since: datetime | None = None, start_seq: int | None = None) -> None:
        """Fix where to begin: the later of the two, and with neither what is stored from now on.

        Raises:
            nats.errors.Error, JetStreamUnavailableError, StreamUnavailableError: the server did
                not answer where that is.
        """
        info = await with_leader(self._connection, self._stream, self._stream_info)
        if info is None:  # all that comes will be new
            self.next_seq = max(start_seq or 1, 1)
            self._become("waiting", f"stream {self._stream!r} does not exist yet")
            return
        first, last = int(info.state.first_seq), int(info.state.last_seq)
        self._created, self._known_last = info.created, last
        self.forgets = not _keeps(info)
        if since is None and start_seq is None:
            self.next_seq = last + 1
            return
        self.next_seq = max(first, start_seq or 1)
        if since is not None:
            self.next_seq = max(self.next_seq, await self._sequence_at(info, since))

    async def batches(self) -> AsyncGenerator[Batch]:
        """The messages from `next_seq` on, in batches, as they come; ends only by an error.

        Holds at most three batches. Close the generator to stop; another call goes on at
        `next_seq`.

        Raises:
            ServerUnreachableError: the connection was closed.
            nats.js.errors.APIError, PermissionDeniedError, LimitReachedError: the server refuses
                this.
        """
        try:
            async with aclosing(self._for_ever()) as found:
                async for batch in found:
                    yield batch
        finally:
            if self._orphans and not self._connection.nc.is_closed:
                await self._connection.wait_connected(_MAX_PAUSE)
                await self._delete_consumers()

    async def _for_ever(self) -> AsyncGenerator[Batch]:
        pause = 0.05
        while True:
            try:
                if (info := await self._locate()) is not None:
                    async with aclosing(self._follow(info)) as found:
                        async for batch in found:
                            pause = 0.05
                            self._advance(batch)
                            yield batch
                    self._reconnect("its consumer was lost")
            except (
                PermissionDeniedError,
                AuthenticationError,
                JetStreamUnavailableError,
                LimitReachedError,
            ):
                raise
            except (NatsError, StreamUnavailableError) as error:
                if isinstance(error, BadRequestError):  # asking again cannot help
                    raise
                self._reconnect(str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)
            await self._connected()

    def _reconnect(self, problem: str) -> None:
        if not self._connection.is_connected:
            problem = f"the connection to {', '.join(self._connection.servers)} is lost"
        self._become("reconnecting", problem)

    def _become(self, state: TailState, problem: str | None = None) -> None:
        if (state, problem) != (self.state, self.problem):
            self.state, self.problem = state, problem
            self._on_change()

    async def _connected(self) -> None:
        connected = False
        while not connected:
            if self._connection.nc.is_closed:
                raise ServerUnreachableError(self._connection.servers, "the connection is closed")
            connected = await self._connection.wait_connected(_TICK_SECONDS)
            if not connected:
                self._reconnect("")

    async def _stream_info(self) -> StreamInfo | None:
        try:
            return await led_info(self._connection, self._stream)
        except NotFoundError:
            return None

    async def _locate(self) -> StreamInfo | None:
        """The stream, with `next_seq` adjusted to it; None if it does not exist."""
        info = await self._stream_info()
        if info is None:
            self._become("waiting", f"stream {self._stream!r} does not exist")
            return None
        first, last = int(info.state.first_seq), int(info.state.last_seq)
        if self._created is not None and info.created != self._created:
            self.next_seq, self._known_last = 1, 0  # another stream of that name
        elif last < self._known_last:
            self.next_seq = last + 1  # the server lost the last ones; their sequences come again
        else:
            self._pass(first - 1)
        self._created, self._known_last, self._target = info.created, last, last
        self.forgets = not _keeps(info)
        return info

    def _lookup(self, info: StreamInfo, subjects: Sequence[str] | None) -> LookupReader:
        direct = bool(info.config.allow_direct)
        return LookupReader(self._connection, self._stream, subjects, direct=direct)

    async def _sequence_at(self, info: StreamInfo, moment: datetime) -> int:
        if _keeps(info):
            reader = StreamReader(self._connection, self._stream, self._subjects)
            try:
                return await reader.sequence_at(moment)
            except NatsError as error:
                if not no_consumer(self._connection, error):
                    raise
        return await self._lookup(info, self._subjects).sequence_at(moment)

    async def _follow(self, info: StreamInfo) -> AsyncGenerator[Batch]:
        """The messages until the consumer is lost, or for ever where there is no consumer."""
        if _keeps(info):
            try:
                async with aclosing(self._consume()) as found:
                    async for batch in found:
                        yield batch
                return
            except NatsError as error:
                if not no_consumer(self._connection, error):
                    raise
        async with aclosing(self._poll(info)) as found:
            async for batch in found:
                yield batch

    async def _consume(self) -> AsyncGenerator[Batch]:
        consumer = TailConsumer(self._connection, self._stream, self._subjects)
        self._orphans.add(consumer.name)
        try:
            self.behind = await consumer.create(self.next_seq)
            self._become("catching up" if self.behind else "live")
            async with aclosing(consumer.batches()) as found:
                async for batch in found:
                    before, self.behind = self.behind, consumer.behind
                    if before:
                        await self._count_lost(batch)
                    yield batch
        finally:
            await consumer.close()
            await self._delete_consumers()

    async def _delete_consumers(self) -> None:
        """Delete consumers that a lost connection left; if it is still lost, they expire."""
        for name in list(self._orphans):
            if not self._connection.is_connected:
                return
            with suppress(NatsError):
                with suppress(NotFoundError):
                    await self._connection.js.delete_consumer(self._stream, name)
                self._orphans.discard(name)

    async def _poll(self, info: StreamInfo | None) -> AsyncGenerator[Batch]:
        while info is not None and info.created == self._created:
            first, last = int(info.state.first_seq), int(info.state.last_seq)
            self._pass(first - 1)
            if last >= self.next_seq:
                # where others take messages, gaps show only when all subjects are read
                reader = self._lookup(info, None if self.forgets else self._subjects)
                async with aclosing(reader.forwards(self.next_seq, last, page=PAGE)) as batches:
                    async for batch in batches:
                        if self.forgets:
                            self._pass(batch.seqs[-1], len(batch))
                        if wanted := [message for message in batch if self._wants(message)]:
                            yield Batch.of(wanted)
                if self.forgets:
                    self._pass(last)
                self.next_seq = max(self.next_seq, last + 1)
            self.behind = 0
            self._become("live")
            await asyncio.sleep(_TICK_SECONDS)
            info = await self._stream_info()

    def _wants(self, message: StoredMessage) -> bool:
        return self._subjects is None or any(
            covers(subject, message.subject) for subject in self._subjects
        )

    def _pass(self, last: int, found: int = 0) -> None:
        """Go on after sequence `last`; `found` messages up to there were read."""
        lost = last + 1 - self.next_seq - found
        self.next_seq = max(self.next_seq, last + 1)
        if lost > 0:
            self.gaps += lost
            self._on_change()

    def _advance(self, batch: Batch) -> None:
        last = batch.seqs[-1]
        self.next_seq = max(self.next_seq, last + 1)
        self._known_last = max(self._known_last, last)
        met(self._connection, self._stream, self._created, last)
        if self.behind > _LAGGING:
            if self.state == "live":
                self._target = last + self.behind
            if last < self._target:
                self._become("catching up")
                return
        if not self.behind or last >= self._target:
            self._become("live")

    async def _count_lost(self, batch: Batch) -> None:
        """Count the messages that the stream dropped before they were read."""
        seqs = [self.next_seq - 1, *batch.seqs]
        if seqs[-1] - seqs[0] == len(batch):
            return
        info = await self._stream_info()
        first = int(info.state.first_seq) if info is not None else 0
        lost = sum(max(min(after, first) - before - 1, 0) for before, after in pairwise(seqs))
        if lost:
            self.gaps += lost
            self._on_change()


def _keeps(info: StreamInfo) -> bool:
    """Whether messages stay in the stream when they are acknowledged."""
    return info.config.retention in (None, RetentionPolicy.LIMITS)
