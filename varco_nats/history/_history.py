"""Read what is stored in the channels, without consuming it.

Services notice nothing of a reader: it takes no message away, acknowledges none, and leaves no
consumer behind.
"""

from __future__ import annotations

from asyncio import Semaphore, gather
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats import subjects
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import stream_info
from varco_nats.config import NatsEventBusSettings, StreamSettings
from varco_nats.errors import NotStartedError
from varco_nats.history._lookup import Lookup, subject_counts
from varco_nats.history._reader import PAGE, LookupReader, StreamReader, no_consumer

_LOOKUPS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """What is stored in one channel."""

    channel: str
    messages: int
    first_seq: int
    """Stream sequence of its oldest message."""
    last_seq: int
    first_time_ns: int
    """When its oldest message was stored, in nanoseconds since 1970 UTC."""
    last_time_ns: int
    bytes: int | None = None
    """What it takes on the server; None where the stream holds several channels, as NATS counts
    bytes by stream."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The messages to read, fixed at one moment: what is stored later is not among them."""

    stream: str
    subjects: tuple[str, ...] | None
    """Their subjects; None for everything in the stream."""
    first_seq: int
    last_seq: int
    count: int
    """How many there were at that moment."""
    readable: bool
    """Whether a consumer can be opened: not on WorkQueue and Interest streams, not where the stream
    has as many as it may, and not where the login has no right to."""
    direct: bool
    """Whether the stream allows direct get."""


class History:
    """The stored messages of a stream's channels.

    Args:
        settings: which server, stream and prefixes; default `NatsEventBusSettings()`.
        connection: an open connection to use, which `stop()` leaves open; default its own.

    Example:
        async with History(settings) as history:
            async for message in history.read("orders", limit=100, newest_first=True):
                print(message.seq, message.data)
    """

    def __init__(
        self, settings: StreamSettings | None = None, *, connection: Connection | None = None
    ) -> None:
        self._settings = settings if settings is not None else NatsEventBusSettings()
        self._given = connection
        self._connection: Connection | None = None
        self._in_use: set[EphemeralConsumer] = set()

    def __repr__(self) -> str:
        return f"History({self._settings.stream_name})"

    async def start(self) -> None:
        """Connect.

        Raises:
            ServerUnreachableError, AuthenticationError: no connection.
            JetStreamUnavailableError: the server has no JetStream.
            StreamUnavailableError: its cluster has no leader.
        """
        if self._connection is not None:
            return
        connection = self._given or await connect(self._settings, name="varco-history")
        try:
            await with_leader(connection, None, connection.js.account_info)
        except BaseException:
            if connection is not self._given:
                await connection.close()
            raise
        self._connection = connection

    async def stop(self) -> None:
        """Delete the consumers of reads that were not finished, and disconnect."""
        connection, self._connection = self._connection, None
        for consumer in list(self._in_use):
            await consumer.close()
        if connection is not None and connection is not self._given:
            await connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def channels(self) -> list[ChannelSummary]:
        """The channels that hold messages, by name.

        Raises:
            StreamNotFoundError: the stream does not exist.
        """
        info = await self._stream_info()
        lookup = Lookup(
            self._need(), self._settings.stream_name, direct=bool(info.config.allow_direct)
        )
        counts = await self._counts(f"{self._settings.subject_prefix}.>")
        alone = len(counts) == 1 and info.state.messages == sum(counts.values())
        size = int(info.state.bytes) if alone else None
        window = Semaphore(_LOOKUPS_AT_ONCE)

        async def summary(channel: str, subject: str, messages: int) -> ChannelSummary | None:
            async with window:
                first = await lookup.get({"seq": 1, "next_by_subj": subject})
                last = await lookup.get({"last_by_subj": subject})
            if first is None or last is None:  # it was emptied meanwhile
                return None
            return ChannelSummary(
                channel, messages, first.seq, last.seq, first.time_ns, last.time_ns, size
            )

        found = await gather(
            *(
                summary(channel, subject, messages)
                for subject, messages in sorted(counts.items())
                if (channel := self._channel(subject)) is not None
            )
        )
        return [channel for channel in found if channel is not None]

    async def names(self) -> list[str]:
        """The names of the channels that hold messages, sorted.

        Raises:
            StreamNotFoundError: the stream does not exist.
        """
        counts = await self._counts(f"{self._settings.subject_prefix}.>")
        found = (self._channel(subject) for subject in counts)
        return sorted(channel for channel in found if channel is not None)

    async def count(self, channel: str) -> int:
        """How many messages `channel` holds, 0 if there is no such channel.

        Raises:
            StreamNotFoundError: the stream does not exist.
            InvalidChannelError: a channel cannot have such a name.
        """
        return sum((await self._counts(self._settings.subject_name(channel))).values())

    async def select(
        self,
        channels: str | Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
    ) -> Selection:
        """Fix which messages to read.

        Args:
            channels: one name or several; all channels if None.
            since: stored at this time or later.
            until: stored before this time.
            start_seq: lowest stream sequence, included.
            end_seq: highest stream sequence, included.

        Raises:
            StreamNotFoundError: the stream does not exist.
            InvalidChannelError: a channel cannot have such a name.
            PermissionDeniedError: the login may not do this.
            ValueError: a time without a time zone.
        """
        wanted = await self._subjects(channels)
        info = await self._stream_info()
        readable = info.config.retention in (None, RetentionPolicy.LIMITS)
        last = int(info.state.last_seq)
        whole = Selection(
            stream=self._settings.stream_name,
            subjects=wanted,
            first_seq=max(int(info.state.first_seq), start_seq or 1),
            last_seq=min(last, last if end_seq is None else end_seq),
            count=0,
            readable=readable,
            direct=bool(info.config.allow_direct),
        )
        begin, end = _aware("since", since), _aware("until", until)
        try:
            return await self._narrowed(whole, begin, end)
        except NatsError as error:
            if not (whole.readable and no_consumer(self._need(), error)):
                raise
        return await self._narrowed(replace(whole, readable=False), begin, end)

    async def batches(
        self, selection: Selection, *, newest_first: bool = False, page: int = PAGE
    ) -> AsyncGenerator[Batch]:
        """The selected messages in batches of about `page`; the fast way to read many.

        After a lost connection, the read goes on where it was.
        """
        # in a cluster, a replica has counted them, which may be behind
        if selection.count or (self._need().is_clustered and selection.subjects != ()):
            reader = self._reader(selection)
            read = reader.backwards if newest_first else reader.forwards
            async with aclosing(read(selection.first_seq, selection.last_seq, page=page)) as found:
                async for batch in found:
                    yield batch

    async def read(
        self,
        channels: str | Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> AsyncGenerator[StoredMessage]:
        """The messages stored now; see `select` for the other arguments and the errors.

        Args:
            limit: how many messages to give at most.
            newest_first: from the newest to the oldest.
        """
        if limit is not None and limit <= 0:
            return
        selection = await self.select(
            channels, since=since, until=until, start_seq=start_seq, end_seq=end_seq
        )
        page = PAGE if limit is None else min(limit, PAGE)
        given = 0
        async with aclosing(
            self.batches(selection, newest_first=newest_first, page=page)
        ) as batches:
            async for batch in batches:
                for message in batch:
                    yield message
                    given += 1
                    if given == limit:
                        return

    def _need(self) -> Connection:
        if self._connection is None:
            raise NotStartedError("History", "reading")
        return self._connection

    def _channel(self, subject: str) -> str | None:
        prefix, channel_prefix = self._settings.subject_prefix, self._settings.channel_prefix
        return subjects.channel_from(prefix, channel_prefix, subject)

    def _reader(self, selection: Selection) -> StreamReader:
        connection = self._need()
        if selection.readable:
            return StreamReader(connection, selection.stream, selection.subjects, self._in_use)
        return LookupReader(
            connection, selection.stream, selection.subjects, direct=selection.direct
        )

    async def _subjects(self, channels: str | Sequence[str] | None) -> tuple[str, ...] | None:
        if channels is not None:
            names = [channels] if isinstance(channels, str) else channels
            return tuple(dict.fromkeys(self._settings.subject_name(name) for name in names))
        if not self._settings.channel_prefix:
            return (self._settings.wildcard_subject(),)
        # a prefix may end inside a token, where no wildcard can stand
        return tuple(self._settings.subject_name(name) for name in await self.names())

    async def _narrowed(
        self, whole: Selection, since: datetime | None, until: datetime | None
    ) -> Selection:
        reader = self._reader(whole)
        first, last = whole.first_seq, whole.last_seq
        if since is not None:
            first = max(first, await reader.sequence_at(since))
        if until is not None:
            last = min(last, await reader.sequence_at(until) - 1)
        count = 0
        if first <= last and whole.subjects != ():
            count = await reader.count_between(first, last)
        return replace(whole, first_seq=first, last_seq=last, count=count)

    async def _stream_info(self) -> StreamInfo:
        return await stream_info(self._need(), self._settings.stream_name, state=True)

    async def _counts(self, pattern: str) -> dict[str, int]:
        return await subject_counts(self._need(), self._settings.stream_name, pattern)


def _aware(name: str, moment: datetime | None) -> datetime | None:
    if moment is not None and moment.utcoffset() is None:
        raise ValueError(
            f"{name}={moment} has no time zone; use datetime.now(UTC) or "
            f"{name}.astimezone(), which takes it as local time"
        )
    return moment
