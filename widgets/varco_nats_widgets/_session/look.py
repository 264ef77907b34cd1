"""Looking at the server for a `Lab`: coroutines on its loop thread that disturb nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate

import pandas as pd
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import InvalidChannelError, StreamNotFoundError, UnknownChannelError
from varco_nats.history import History, Selection
from varco_nats.subjects import dead_letter_name
from varco_nats_widgets._session.channels import (
    Scope,
    channels_frame,
    consumers_frame,
    consumers_of,
    no_channels,
    streams_frame,
)
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets.durability import Durability, Place
from varco_nats_widgets.export import ExportResult, export_channels
from varco_nats_widgets.frames import FrameBuilder, completeness
from varco_nats_widgets.frames._query import FrameQuery, is_pattern

_ATTEMPTS = 5

type _Method[**P, T] = Callable[Concatenate[Look, P], Coroutine[Any, Any, T]]


def _again_if_lost[**P, T](method: _Method[P, T]) -> _Method[P, T]:
    """Ask again after a reconnect: what was under way then gets no answer any more."""

    @wraps(method)
    async def asked(look: Look, /, *args: P.args, **options: P.kwargs) -> T:
        for _ in range(_ATTEMPTS - 1):
            reconnected = asyncio.Event()
            forget = look.connection.on_reconnect(reconnected.set)
            asking = asyncio.create_task(method(look, *args, **options))
            waiting = asyncio.create_task(reconnected.wait())
            try:
                await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    return asking.result()
            finally:
                forget()
                asking.cancel()
                waiting.cancel()
                await asyncio.gather(asking, waiting, return_exceptions=True)
        return await method(look, *args, **options)

    return asked


class LabHistory(History):
    """A `History` of any stream.

    Args:
        stream: another stream; what it calls channels are then subjects, also with wildcards.
    """

    def __init__(
        self, settings: NatsEventBusSettings, connection: Connection, stream: str | None = None
    ) -> None:
        if stream is not None:
            settings = settings.model_copy(update={"stream_name": stream})
        super().__init__(settings, connection=connection)
        self._connection = connection
        self._by_subject = stream is not None

    async def select_query(self, query: FrameQuery) -> Selection:
        """What `query` selects."""
        return await self.select(
            query.channels,
            since=query.since,
            until=query.until,
            start_seq=query.start_seq,
            end_seq=query.end_seq,
        )

    async def _subjects(self, channels: str | Sequence[str] | None) -> tuple[str, ...] | None:
        if not self._by_subject or channels is None:
            return await super()._subjects(channels)
        wanted = (channels,) if isinstance(channels, str) else tuple(dict.fromkeys(channels))
        return None if ">" in wanted else wanted


class Look:
    """What a `Lab` shows of its server."""

    def __init__(self, settings: NatsEventBusSettings, connection: Connection) -> None:
        self._settings = settings
        self.connection = connection
        self._facts = Facts(connection)

    @_again_if_lost
    async def names(self) -> list[str]:
        """The channels that hold messages, sorted."""
        settings = self._settings
        try:
            found = await self._facts.subjects(settings.stream_name, f"{settings.subject_prefix}.>")
        except NotFoundError:
            return []
        return sorted(name for s in found if (name := self._channel(s)) is not None)

    @_again_if_lost
    async def count(self, channel: str) -> int:
        """How many messages `channel` holds."""
        subject = self._settings.subject_name(channel)
        with suppress(NotFoundError):
            return sum((await self._facts.subjects(self._settings.stream_name, subject)).values())
        return 0

    @_again_if_lost
    async def require(self, *channels: str) -> None:
        """Raise `UnknownChannelError` for the first of `channels` that holds no messages."""
        for channel in channels:
            if not await self.count(channel):
                raise UnknownChannelError(channel, await self.names())

    @_again_if_lost
    async def channels(self, stream: str | None) -> pd.DataFrame:
        settings = self._settings
        if stream is not None:
            return await channels_frame(
                self._facts, Scope(stream, ">", lambda subject: subject, "subject")
            )
        own = Scope(settings.stream_name, f"{settings.subject_prefix}.>", self._channel)
        try:
            return await channels_frame(self._facts, own)
        except StreamNotFoundError:
            return no_channels()

    @_again_if_lost
    async def streams(self) -> pd.DataFrame:
        return streams_frame(await self._facts.streams())

    @_again_if_lost
    async def consumers(self, channel: str | None, stream: str | None) -> pd.DataFrame:
        if stream is not None:
            await self._facts.stream(stream)
            infos = await self._facts.consumers(stream)
            return consumers_frame(infos, lambda subject: subject, channel, "subject")
        subject = None if channel is None else self._settings.subject_name(channel)
        infos = []
        with suppress(NotFoundError):
            infos = await self._facts.consumers(self._settings.stream_name)
        return consumers_frame(infos, self._settings.channel_from_subject, subject)

    @_again_if_lost
    async def durability(
        self, channel: str, stream: str | None, sync_interval: str | None
    ) -> Durability:
        subject = channel if stream is not None else self._settings.subject_name(channel)
        name = stream or self._settings.stream_name
        info = await self._facts.stream(name)
        consumers = consumers_of(await self._facts.consumers(name), subject)
        connected = self.connection.nc.connected_server_version
        # the stream's leader answers, and has said its version since 2.11
        version = info["config"].get("metadata", {}).get("_nats.ver") or (
            f"{connected.major}.{connected.minor}.{connected.patch}"
        )
        own = self._settings.durable_for(channel) if stream is None else None
        dlq = dead_letter_name(name)
        return Durability(
            Place(
                channel,
                info,
                [one for one in consumers if one["name"] != own],
                version,
                sync_interval,
                dlq if dlq in await self._facts.stream_names() else None,
                self._settings.max_deliver,
            )
        )

    @_again_if_lost
    async def stream_of(self, query: FrameQuery) -> str:
        """The stream that `query` names, or the one that has its subjects.

        Raises:
            StreamNotFoundError: there is no such stream; names those there are.
            ValueError: the subjects are in several streams, or in none.
        """
        if query.stream:
            await self._facts.stream(query.stream)
            return query.stream
        names = [await self._facts.stream_names(subject) for subject in query.channels]
        found = sorted({name for some in names for name in some})
        if len(found) == 1:
            return found[0]
        where = f"streams {', '.join(map(repr, found))} have" if found else "no stream has"
        raise ValueError(f"{where} subject {', '.join(query.channels)}; say which with stream=")

    @_again_if_lost
    async def silent(self, channels: Sequence[str], stream: str | None) -> dict[str, str]:
        """What to say of those channels that hold no messages, by their subjects.

        Args:
            stream: another stream, whose subjects `channels` are then.
        """
        own = stream is None
        name = self._settings.stream_name if stream is None else stream
        said: dict[str, str] = {}
        for channel in channels:
            subject = self._settings.subject_name(channel) if own else channel
            with suppress(NotFoundError):  # without the stream there is more to say
                if not await self._facts.subjects(name, subject):
                    known = await (self.names() if own else self._facts.subjects(name))
                    what = "channel" if own else "subject"
                    said[subject] = str(UnknownChannelError(channel, sorted(known), what))
        return said

    async def explained(self, error: InvalidChannelError) -> InvalidChannelError:
        """The error, with how to read what other software stored under such a name."""
        settings, channel = self._settings, str(error.channel)
        subject = f"{settings.subject_prefix}.{settings.channel_prefix}{channel}"
        if is_pattern(channel):
            with suppress(NatsError):
                if subject in await self._facts.subjects(settings.stream_name, subject):
                    return InvalidChannelError(
                        channel,
                        error.reason,
                        f"stream={settings.stream_name!r}, subject={subject!r} in place of the "
                        "channel reads what other software stored under this name, together with "
                        "all else that the wildcard matches; its column 'channel' tells them apart",
                    )
        return error

    @asynccontextmanager
    async def source(
        self, query: FrameQuery
    ) -> AsyncIterator[tuple[LabHistory, Callable[[str], str]]]:
        """Where to read what `query` asks for, and what to call its subjects.

        Raises:
            UnknownChannelError: a channel or subject that holds no messages.
            StreamNotFoundError: there is no such stream.
            ValueError: the subjects are in several streams, or in none.
        """
        if query.stream is not None:
            stream = await self.stream_of(query)
            await self._require_subjects(stream, query.channels)
            history = LabHistory(self._settings, self.connection, stream)
            channel_of: Callable[[str], str] = str
        else:
            await self.require(*query.channels)
            history = LabHistory(self._settings, self.connection)
            channel_of = self._settings.channel_from_subject
        try:
            yield history, channel_of
        finally:
            await history.stop()

    async def frame(self, query: FrameQuery, progress: Progress) -> pd.DataFrame:
        async with self.source(query) as (history, channel_of):
            selection = await self._select(history, query)
            progress.total = selection.count
            builder = FrameBuilder(channel_of, query.event_types, headers=query.headers)
            cut = await _read(history, selection, query, builder, progress)
        frame = await asyncio.to_thread(builder.build)
        frame.attrs["completeness"] = completeness(
            selection.count, len(builder), builder.filtered, cut
        )
        return frame

    async def export(
        self, query: FrameQuery, path: Path | str, progress: Progress, **options: Any
    ) -> ExportResult:
        if query.max_bytes is not None:
            raise ValueError(
                "max_bytes= is for a frame; an export needs none, use limit= or until="
            )

        def at(done: int, total: int) -> None:
            progress.done, progress.total = done, total

        async with self.source(query) as (history, channel_of):
            return await export_channels(history, channel_of, query, path, progress=at, **options)

    @_again_if_lost
    async def _select(self, history: LabHistory, query: FrameQuery) -> Selection:
        return await history.select_query(query)

    def _channel(self, subject: str) -> str | None:
        channel = self._settings.channel_from_subject(subject)
        return None if channel == subject else channel

    @_again_if_lost
    async def _require_subjects(self, stream: str, subjects: Sequence[str]) -> None:
        for subject in subjects:
            if not is_pattern(subject) and not await self._facts.subjects(stream, subject):
                known = sorted(await self._facts.subjects(stream))
                raise UnknownChannelError(subject, known, "subject")


async def _read(
    history: History,
    selection: Selection,
    query: FrameQuery,
    builder: FrameBuilder,
    progress: Progress,
) -> str | None:
    """Fill `builder`; what made it end early, if anything did."""
    limit, left = query.limit, query.max_bytes
    read = history.batches(selection, newest_first=query.newest_first, page=query.page)
    async with aclosing(read) as batches:
        async for batch in batches:
            found = len(batch)
            if left is not None:
                taken = 0
                while taken < found and left >= 0:
                    left -= len(batch[taken].data)
                    taken += 1
                if left < 0:
                    batch = batch[: taken - 1]
            # decoding is work for a thread: the loop serves handlers meanwhile
            await asyncio.to_thread(builder.add, batch, limit)
            progress.done += len(batch)
            if limit is not None and len(builder) >= limit:
                return "limit"
            if left is not None and left < 0:
                return "max_bytes"
    return None
