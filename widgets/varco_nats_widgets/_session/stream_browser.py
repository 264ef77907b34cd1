"""`StreamBrowser`: what a `Lab` shows of its server, as coroutines on its loop thread.

Nothing here acknowledges a message or takes one from a service.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    InvalidChannelError,
    PermissionDeniedError,
    StreamNotFoundError,
    UnknownChannelError,
)
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
from varco_nats_widgets._session.elsewhere import (
    EmptyFrame,
    named_elsewhere,
    no_channels_note,
    no_consumers_note,
    pattern_advice,
    unknown_channel,
)
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.decoders._table import matches
from varco_nats_widgets.durability import Durability, Place
from varco_nats_widgets.frames import FrameBuilder, completeness
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import FrameQuery, is_pattern
from varco_nats_widgets.frames._times import with_times

if TYPE_CHECKING:
    from varco_nats_widgets.export import ExportResult


class LabHistory(History):
    """A `History` of any stream.

    Args:
        stream: a stream other than that of the settings; then its channels are subjects, which may
            have wildcards.
    """

    def __init__(
        self, settings: NatsEventBusSettings, connection: Connection, stream: str | None = None
    ) -> None:
        if stream is not None:
            settings = settings.model_copy(update={"stream_name": stream})
        super().__init__(settings, connection=connection)
        self._connection = connection
        self._by_subject = stream is not None

    async def _subjects(self, channels: str | Sequence[str] | None) -> tuple[str, ...] | None:
        if not self._by_subject or channels is None:
            return await super()._subjects(channels)
        wanted = (channels,) if isinstance(channels, str) else tuple(dict.fromkeys(channels))
        return None if ">" in wanted else wanted


_EVERYTHING = frozenset({"*", ">"})  # keys of decoders that are for whatever there is


class StreamBrowser:
    """Asks the server for the channels, streams and consumers there are, and for messages."""

    def __init__(
        self, settings: NatsEventBusSettings, connection: Connection, decoding: Decoding
    ) -> None:
        self._settings = settings
        self._decoding = decoding
        self.connection = connection
        self._facts = Facts(connection)

    async def names(self, stream: str | None = None) -> list[str]:
        """The channels that hold messages, or the subjects of another stream, sorted.

        Raises:
            StreamNotFoundError: there is no such other stream.
        """
        settings = self._settings
        if stream is not None:
            await self.require_stream(stream)
            return sorted(await self._facts.subjects(stream))
        try:
            found = await self._facts.subjects(settings.stream_name, f"{settings.subject_prefix}.>")
        except NotFoundError:
            return []
        return sorted(name for s in found if (name := self._channel(s)) is not None)

    async def require_stream(self, stream: str) -> None:
        """Raise `StreamNotFoundError` where there is no such stream."""
        await self._facts.stream(stream)

    async def idle_decoders(self) -> tuple[str, ...]:
        """The keys of decoders that are for no message which there is now."""
        table = self._decoding.decoders
        if table is None or table.names.keys() <= _EVERYTHING:
            return ()
        channels = await self.names()
        there = [*channels, *map(self._settings.subject_name, channels)]
        idle = [key for key in table.names if not any(matches(key, name) for name in there)]
        return tuple(
            [key for key in idle if key not in _EVERYTHING and not await self._has_messages(key)]
        )

    async def _has_messages(self, subject: str) -> bool:
        """Whether any stream has a message under this subject, or pattern, or a bucket a key."""
        for pattern in (subject, f"$KV.*.{subject}"):
            for stream in await self._facts.stream_names(pattern):
                with suppress(NotFoundError):
                    if await self._facts.subjects(stream, pattern):
                        return True
        return False

    async def count(self, channel: str) -> int:
        """How many messages `channel` holds."""
        subject = self._settings.subject_name(channel)
        with suppress(NotFoundError):
            return sum((await self._facts.subjects(self._settings.stream_name, subject)).values())
        return 0

    async def require(self, *channels: str, call: str = "frame") -> None:
        """Raise `UnknownChannelError` for the first of `channels` that holds no messages.

        Args:
            call: the method of `Lab` that needs them, which the error then shows how to call.
        """
        for channel in channels:
            if not await self.count(channel):
                raise await self.unknown(channel, call)

    async def require_not_elsewhere(self, channel: str, call: str) -> None:
        """Raise `UnknownChannelError` if what holds no messages is a stream, or a subject there."""
        if not await self.count(channel):
            error = await named_elsewhere(self._facts, channel, call)
            if error is not None:
                raise error

    async def unknown(self, channel: str, call: str) -> UnknownChannelError:
        """The error for a channel that holds no messages; it says what else has that name."""
        return await unknown_channel(self._facts, self._settings, channel, await self.names(), call)

    async def channels(self, stream: str | None) -> pd.DataFrame:
        """See `Lab.channels`."""
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

    async def listed(self, stream: str | None) -> pd.DataFrame:
        """What `channels` gives; if that is nothing, a frame that says where there is something."""
        frame = await self.channels(stream)
        if len(frame):
            return frame
        if stream is not None:
            return EmptyFrame(frame, f"The stream {stream!r} holds no messages.")
        return EmptyFrame(frame, await no_channels_note(self._facts, self._settings.stream_name))

    async def streams(self) -> pd.DataFrame:
        """See `Lab.streams`."""
        frame = streams_frame(await self._facts.streams())
        return frame if len(frame) else EmptyFrame(frame, "The server has no stream yet.")

    async def consumers(self, channel: str | None, stream: str | None) -> pd.DataFrame:
        """See `Lab.consumers`."""
        if stream is not None:
            await self._facts.stream(stream)
            infos = await self._facts.consumers(stream)
            return consumers_frame(infos, lambda subject: subject, channel, "subject")
        subject = None if channel is None else self._settings.subject_name(channel)
        infos = []
        with suppress(NotFoundError):
            infos = await self._facts.consumers(self._settings.stream_name)
        frame = consumers_frame(infos, self._settings.channel_from_subject, subject)
        if len(frame):
            return frame
        with suppress(NatsError):  # this login may list consumers, and nothing else
            if channel is None:
                note = await no_consumers_note(self._facts, self._settings.stream_name)
            else:
                unknown = not await self.count(channel)
                note = str(await self.unknown(channel, "consumers")) if unknown else None
            if note is not None:
                return EmptyFrame(frame, note)
        return frame

    async def durability(
        self, channel: str | None, stream: str | None, sync_interval: str | None
    ) -> Durability:
        """See `Lab.durability`; `sync_interval` is the server's, None if it is not known."""
        if channel is None and stream is None:
            raise TypeError("durability() needs a channel, or stream= for all of a stream")
        channel = ">" if channel is None else channel
        subject = channel if stream is not None else self._settings.subject_name(channel)
        name = stream or self._settings.stream_name
        consumers = []
        with suppress(NotFoundError):
            consumers = await self._facts.consumers(name)
        if channel != ">":  # all of the stream
            consumers = consumers_of(consumers, subject)
        if stream is None and not consumers:
            await self.require_not_elsewhere(channel, "durability")
        info = await self._facts.stream(name)
        connected = self.connection.nc.connected_server_version
        # the stream's leader answers; since 2.11 its version is in the metadata
        version = info["config"].get("metadata", {}).get("_nats.ver") or (
            f"{connected.major}.{connected.minor}.{connected.patch}"
        )
        own = self._settings.durable_for(channel) if stream is None else None
        dlq = dead_letter_name(name)
        return Durability(
            Place(
                channel,
                info,
                [info for info in consumers if info["name"] != own],
                version,
                sync_interval,
                dlq if dlq in await self._facts.stream_names() else None,
                self._settings.max_deliver,
                "channel" if stream is None else "subject",
                subject,
            )
        )

    async def stream_of(self, query: FrameQuery) -> str:
        """The stream that `query` names, or the one that has its subjects.

        Raises:
            StreamNotFoundError: there is no such stream; names those that exist.
            ValueError: the subjects are in several streams, or in none.
        """
        if query.stream:
            await self._facts.stream(query.stream)
            return query.stream
        names = [await self._facts.stream_names(subject) for subject in query.channels]
        found = sorted({name for some in names for name in some})
        if len(found) == 1:
            return found[0]
        subjects = f"the subject{'s' * (len(query.channels) > 1)} {query.what}"
        if not found:
            raise ValueError(
                f"no stream keeps {subjects}; lab.streams() shows what each keeps, and "
                f"lab.live(subject={query.channels[0]!r}, stored=False) what passes by there"
            )
        raise ValueError(
            f"the streams {', '.join(map(repr, found))} keep {subjects}; say which with stream="
        )

    async def silent(
        self, channels: Sequence[str], stream: str | None, call: str = "live"
    ) -> dict[str, str]:
        """A notice about each channel that holds no messages, by its subject.

        Args:
            stream: a stream other than that of the settings; then `channels` are subjects.
            call: the method of `Lab` that was called, which a notice shows how to call.
        """
        own = stream is None
        name = self._settings.stream_name if stream is None else stream
        notices: dict[str, str] = {}
        for channel in channels:
            subject = self._settings.subject_name(channel) if own else channel
            if own:
                if not await self.count(channel):
                    notices[subject] = str(await self.unknown(channel, call))
                continue
            with suppress(NotFoundError):  # that there is no stream is reported elsewhere
                if not await self._facts.subjects(name, subject):
                    known = sorted(await self._facts.subjects(name))
                    notices[subject] = str(UnknownChannelError(channel, known, "subject"))
                    if subject == ">":
                        notices[subject] = f"the stream {name!r} holds no messages yet"
        return notices

    async def elsewhere(self, pattern: str, known: Sequence[str]) -> UnknownChannelError | None:
        """The error for a pattern that matches no channel, if it matches subjects elsewhere."""
        advice = await pattern_advice(self._facts, pattern, "explore")
        if advice is None:
            return None
        sentence = f"no channel matches {pattern!r}; {advice}"
        return UnknownChannelError(pattern, known, sentence=sentence)

    async def explained(self, error: InvalidChannelError, call: str) -> InvalidChannelError:
        """The error; if other software stored messages under this name, with how to read them.

        Args:
            call: the method of `Lab` that reads them.
        """
        settings, channel = self._settings, str(error.channel)
        subject = f"{settings.subject_prefix}.{settings.channel_prefix}{channel}"
        if is_pattern(channel):
            with suppress(NatsError):
                if subject in await self._facts.subjects(settings.stream_name, subject):
                    return InvalidChannelError(
                        channel,
                        error.reason,
                        f"to read what other software stored under this name, give "
                        f"stream={settings.stream_name!r}, subject={subject!r} instead of the "
                        "channel; this reads everything else too that the wildcard matches, and "
                        "the column 'channel' tells the subjects apart",
                    )
            if (advice := await pattern_advice(self._facts, channel, call)) is not None:
                return InvalidChannelError(channel, error.reason, advice)
        return error

    def allowed(self, error: PermissionDeniedError) -> PermissionDeniedError:
        """The error; of a login that may only see streams that it names, with how to name one."""
        own = f".STREAM.INFO.{self._settings.stream_name}"
        if not error.subject.endswith((".STREAM.LIST", ".STREAM.NAMES", own)):
            return error
        advice = (
            "or name a stream that this login may read: lab.channels(stream='NAME'), "
            "lab.frame(stream='NAME'), lab.explore(stream='NAME')"
        )
        return PermissionDeniedError(error.operation, error.subject, error.allow, advice)

    @asynccontextmanager
    async def source(
        self, query: FrameQuery, call: str = "frame"
    ) -> AsyncIterator[tuple[LabHistory, Decoding]]:
        """A history to read what `query` selects, and how its messages are read.

        Args:
            call: the method of `Lab` that reads it.

        Raises:
            UnknownChannelError: a channel or subject holds no messages.
            StreamNotFoundError: there is no such stream.
            ValueError: the subjects are in several streams, or in none.
        """
        if query.stream is not None:
            stream = await self.stream_of(query)
            await self._require_subjects(stream, query.channels)
            history = LabHistory(self._settings, self.connection, stream)
            decoding = self._decoding.named(str)
        else:
            await self.require(*query.channels, call=call)
            history = LabHistory(self._settings, self.connection)
            decoding = self._decoding
        try:
            yield history, decoding
        finally:
            await history.stop()

    async def frame(
        self, query: FrameQuery, progress: Progress, decoder: DecoderLike | None = None
    ) -> pd.DataFrame:
        """See `Lab.frame`."""
        async with self.source(query) as (history, decoding):
            decoding = decoding.read_as(decoder)
            selection = await query.select(history)
            progress.total = selection.count
            builder = FrameBuilder(decoding, query.event_types, headers=query.headers)
            cut = await _read(history, selection, query, builder, progress)
        frame = await asyncio.to_thread(builder.build, last=True)
        if not selection.count and query.stream is not None:
            named = [pattern for pattern in query.channels if pattern != ">"]
            if notices := await self.silent(named, await self.stream_of(query)):
                frame = EmptyFrame(frame, next(iter(notices.values())))
        if query.times:
            frame, times = await asyncio.to_thread(with_times, frame, query.times)
            frame.attrs["times"] = {name: found and asdict(found) for name, found in times.items()}
        frame.attrs["completeness"] = completeness(
            selection.count, len(builder), builder.filtered, cut
        )
        return frame

    async def export(
        self, query: FrameQuery, path: Path | str, progress: Progress, **options: Any
    ) -> ExportResult:
        """See `Lab.export`."""
        if query.max_bytes is not None:
            raise ValueError(
                "max_bytes= is for a frame; an export needs no such limit: use limit= or until="
            )

        from varco_nats_widgets.export import export_channels

        def set_progress(done: int, total: int) -> None:
            progress.done, progress.total = done, total

        async with self.source(query, "export") as (history, decoding):
            return await export_channels(
                history, decoding, query, path, progress=set_progress, **options
            )

    def _channel(self, subject: str) -> str | None:
        channel = self._settings.channel_from_subject(subject)
        return None if channel == subject else channel

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
    """Fill `builder`; returns the limit that ended the reading early, if one did."""
    limit, bytes_left = query.limit, query.max_bytes
    read = history.batches(selection, newest_first=query.newest_first, page=query.page)
    async with aclosing(read) as batches:
        async for batch in batches:
            if bytes_left is not None:
                sizes = [*accumulate(map(len, batch.payloads))]
                batch = batch[: bisect_right(sizes, bytes_left)]
                bytes_left -= sizes[-1]
            # decoding takes long, so it runs in a thread while the loop serves handlers
            await asyncio.to_thread(builder.add, batch, limit)
            progress.done += len(batch)
            if limit is not None and len(builder) >= limit:
                return "limit"
            if bytes_left is not None and bytes_left < 0:
                return "max_bytes"
    return None
