"""Reading a dead letter queue without taking from it: by direct get, no consumer is opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage, read_batches
from varco_nats._nats.stream import covers, led_info, overlap
from varco_nats.dlq._codec import DlqNames, StoredEntry, made_of
from varco_nats.history._lookup import Lookup, read_whole, subject_pages
from varco_nats.history._reader import read_undirected
from varco_nats.replay._foreign import origins_of
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets.dead_letters._index.filter import event_message
from varco_nats_widgets.dead_letters._index.foreign import ForeignNames, is_of_dead_letters
from varco_nats_widgets.dead_letters._index.masked import OfShownEntries, shown_entry
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._payload import take_apart

PAGE = 2000
"""Entries in one batch."""

_ALL = ">"  # subjects
_LOOKUPS_AT_ONCE = 256
_INFO_TIMEOUT = 30.0  # of an answer that lists what was removed
_NOW_TIMEOUT = 2.0  # also for the server's time, without which this computer's will do
_MANY = 0.1  # of all entries, above which they are not looked up one by one
_FIRST_WINDOW = 500
_WIDER = 8
_MAX_NAMED = 2


@dataclass(frozen=True, slots=True)
class QueueState:
    """What a dead letter queue held at one moment."""

    entries: int
    first_seq: int
    last_seq: int
    direct: bool
    """Whether the stream allows direct get."""
    kept: bool
    """Whether it keeps what a consumer was sent."""
    plain: bool
    """Whether every subject names the entry's channel."""
    created: datetime | None
    """When the stream was created, which tells it from an earlier one of the same name."""


class DlqReader:
    """The entries of the queue `names`, over `connection`, as they are shown.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """

    def __init__(self, connection: Connection, names: DlqNames, decoding: Decoding) -> None:
        self._connection = connection
        self.names = names
        self._subject = _ALL
        """What the entries are stored under; other messages of the stream are none."""
        self.is_foreign = isinstance(names, ForeignNames)
        """Whether others write this queue, and the entries' subjects do not name them."""
        if self.is_foreign:
            self._subject = names.all_entries()
        self._elsewhere = ""
        self.stored_as = decoding
        """How messages are read as they are stored; what that shows is masked."""
        self.decoding = decoding
        """How the events of the entries that this gives are read: they are masked already."""
        if decoding.mask is not None:
            self.decoding = OfShownEntries(decoding.channel_of)

    @property
    def notice(self) -> str:
        """What is not where it was looked for, in words: parts of entries, or the queue; or ""."""
        own = self.names.notice if isinstance(self.names, ForeignNames) else ""
        return "; ".join(filter(None, (own, self._elsewhere)))

    async def state(self) -> QueueState | None:
        """What there is; None if there is no such stream."""
        try:
            info = await led_info(self._connection, self.names.stream)
        except NotFoundError:
            if self.is_foreign:  # nobody else makes it, so that its name is wrong
                await Facts(self._connection).stream(self.names.stream)
            self._elsewhere = await self._others_words()
            return None
        self._elsewhere = self._origins_words(info.config.as_dict()) if self.is_foreign else ""
        subjects = list(info.config.subjects or [])
        entries = info.state.messages
        if self._subject != _ALL:
            can_be = any(overlap(each, self._subject) for each in subjects)
            if not can_be and not (self._elsewhere or info.config.subject_transform):
                self._elsewhere = (
                    f"{self.names.stream} takes no message under {self._subject!r}: its subjects "
                    f"are {', '.join(subjects) or 'none'}"
                )
            pages = subject_pages(self._connection, self.names.stream, self._subject)
            async with aclosing(pages):
                entries = sum([sum(page.values()) async for page in pages])
        return QueueState(
            entries=entries,
            first_seq=info.state.first_seq,
            last_seq=info.state.last_seq,
            direct=bool(info.config.allow_direct),
            kept=info.config.retention in (None, RetentionPolicy.LIMITS),
            plain=subjects == [self.names.all_entries()],
            created=info.created,
        )

    async def _others_words(self) -> str:
        """That other streams may have dead letters, where this queue does not exist; or ""."""
        try:
            names = await Facts(self._connection).stream_names()
        except (NatsError, OSError):  # a login that may not list them
            return ""
        found = [name for name in names if is_of_dead_letters(name)]
        if not found:
            return ""
        calls = [f"DeadLetters.of_stream(lab, {name!r})" for name in found[:_MAX_NAMED]]
        return (
            f"there is no stream {self.names.stream!r} yet; what others stored may be in "
            f"{', '.join(found[:_MAX_NAMED])}: {' or '.join(calls)} opens it"
        )

    def _origins_words(self, config: Mapping[str, Any]) -> str:
        """That the queue copies other streams, in which its entries may stay; or ""."""
        origins = origins_of(config)
        if not origins:
            return ""
        here = origins_of(config, elsewhere=False)
        opens = f"; DeadLetters.of_stream(lab, {here[0]!r}) opens the original" if here else ""
        return (
            f"{self.names.stream} copies {', '.join(origins[:_MAX_NAMED])}, where what is replayed "
            f"or discarded here may stay, so that it can be sent again from there{opens}"
        )

    async def now(self) -> datetime:
        """What time it is by the server's clock; by that of this computer where that is not known.

        Entries have times of the servers and services, whose clocks need not agree with this one.
        """
        api = f"STREAM.INFO.{self.names.stream}"
        try:
            answer = await self._connection.ask_jetstream(api, {}, _NOW_TIMEOUT)
            return datetime.fromisoformat(answer["ts"]).astimezone(UTC)
        except (NatsError, OSError, KeyError, ValueError):  # also a server before 2.10
            return datetime.now(UTC)

    async def seqs(self) -> npt.NDArray[np.int64]:
        """The sequences of all entries there are, ascending."""
        api, request = f"STREAM.INFO.{self.names.stream}", {"deleted_details": True}
        state = (await self._connection.ask_jetstream(api, request, _INFO_TIMEOUT))["state"]
        if not state["messages"]:
            return np.empty(0, dtype=np.int64)
        seqs = np.arange(state["first_seq"], state["last_seq"] + 1, dtype=np.int64)
        return np.setdiff1d(seqs, state.get("deleted") or [], assume_unique=True)

    async def batches(
        self,
        state: QueueState | None,
        *,
        first: int = 1,
        newest_first: bool = False,
        seqs: npt.NDArray[np.int64] | None = None,
    ) -> AsyncGenerator[list[StoredEntry]]:
        """The entries of `state` from sequence `first` on, in batches.

        Args:
            seqs: only those with these sequences.
        """
        chosen = None if seqs is None else frozenset(seqs.tolist())
        if state is None:
            return
        ranges = [(first, state.last_seq)]
        if newest_first:
            ranges = _windows(max(first, state.first_seq), state.last_seq)
        for low, high in ranges:
            reading = self.messages(state, low, high)
            async with aclosing(reading):
                window: list[StoredEntry] = []
                async for messages in reading:
                    if chosen is not None:
                        messages = [message for message in messages if message.seq in chosen]
                    entries = await asyncio.to_thread(self.decoded, messages)
                    if newest_first:
                        window += entries
                    else:
                        yield entries
            if window:
                yield window[::-1]

    def decoded(self, messages: Sequence[StoredMessage]) -> list[StoredEntry]:
        return [self._shown(message) for message in messages]

    def _shown(self, message: StoredMessage) -> StoredEntry:
        return shown_entry(self.names.decode(message), self.stored_as)

    def true(self, stored: StoredEntry) -> StoredEntry:
        """The entry as it is stored: to compare, to edit and to replay, not to be shown."""
        is_masked = self.stored_as.mask is not None
        return self.names.decode(stored.message) if is_masked else stored

    def true_event_id(self, stored: StoredEntry) -> str | None:
        """The id that the event itself has, which may be another than the one that is shown."""
        event = self.stored_as.true(event_message(self.true(stored))).event
        return take_apart(event).event_id

    async def entries_among(
        self, state: QueueState | None, seqs: npt.NDArray[np.int64], *, newest_first: bool = False
    ) -> AsyncGenerator[list[StoredEntry]]:
        """The entries with these sequences, which are ascending, in batches; not those gone."""
        if state is None or not len(seqs):
            return
        if len(seqs) > state.entries * _MANY:  # reading all of them is faster
            first = int(seqs[0])
            reading = self.batches(state, first=first, newest_first=newest_first, seqs=seqs)
            async with aclosing(reading):
                async for entries in reading:
                    yield entries
            return
        for some in batched((seqs[::-1] if newest_first else seqs).tolist(), PAGE):
            yield await self.entries_at(some, state)

    async def entries_at(self, seqs: Sequence[int], state: QueueState | None) -> list[StoredEntry]:
        """The entries with these sequences, in this order, without those that are gone."""
        if state is None:
            return []
        lookup = Lookup(self._connection, self.names.stream, direct=state.direct)
        messages: list[StoredMessage] = []
        for batch in batched(seqs, _LOOKUPS_AT_ONCE):
            found = await asyncio.gather(*(lookup.get({"seq": seq}) for seq in batch))
            messages += [
                message
                for message in found
                if message is not None and covers(self._subject, message.subject)
            ]
        return self.decoded(messages)

    async def find(self, entry_id: UUID, state: QueueState | None) -> StoredEntry | None:
        """The entry with this id, None if there is none."""
        if state is None:
            return None
        if self.is_foreign:
            return await self._made_up(entry_id, state)
        request = {"seq": 1, "next_by_subj": self.names.of_entry(entry_id)}
        lookup = Lookup(self._connection, self.names.stream, direct=state.direct)
        message = await lookup.get(request)
        if message is None and state.direct:  # by a replica that may be behind
            lookup = Lookup(self._connection, self.names.stream, direct=False)
            message = await lookup.get(request)
        if message is not None:
            return self._shown(message)
        if made_of(entry_id) is not None:
            return await self._made_up(entry_id, state)
        if state.plain:
            return None
        async with aclosing(self.batches(state)) as batches:
            async for entries in batches:  # entries whose subject does not name them
                for stored in entries:
                    if stored.entry.entry_id == entry_id:
                        return stored
        return None

    async def _made_up(self, entry_id: UUID, state: QueueState) -> StoredEntry | None:
        """The entry of a message that this id was made of."""
        if (seq := made_of(entry_id)) is None:
            return None
        found = await self.entries_at([seq], state)
        return next((stored for stored in found if stored.entry.entry_id == entry_id), None)

    async def original(self, source_ref: object) -> StoredMessage | None:
        """The message that `stream:sequence` names, None if it is gone or that is no such name."""
        stream, _, seq = str(source_ref).rpartition(":")
        if not (stream and seq.isascii() and seq.isdigit() and len(seq) < 20):
            return None
        if set(stream) & set(" .*>/\\\t\r\n"):
            return None
        # any stream can be asked this way, whether it allows direct get or not
        lookup = Lookup(self._connection, stream, direct=False)
        try:
            return await lookup.get({"seq": int(seq)})
        except NotFoundError:
            return None

    async def messages(
        self, state: QueueState, first: int, last: int, *, ahead: bool = False
    ) -> AsyncGenerator[Sequence[StoredMessage]]:
        """The entries from sequence `first` to `last` as they are stored, in batches.

        Args:
            ahead: whether the next batch is on its way while one is used.
        """
        if last < first:
            return
        if not state.direct:
            undirected = read_undirected(
                self._connection,
                self.names.stream,
                self._subject,
                first,
                last,
                kept=state.kept,
                page=PAGE,
            )
            async with aclosing(undirected) as found:
                async for batch in found:
                    yield batch
            return
        page = min(PAGE, last - first + 1)

        async def read(start: int, _last: int) -> AsyncGenerator[list[StoredMessage]]:
            reading = read_batches(
                self._connection,
                self.names.stream,
                subject=self._subject,
                start=start,
                batch=page,
                ahead=ahead,
            )
            async with aclosing(reading):
                async for answer in reading:
                    yield answer.messages

        reading = read_whole(
            self._connection, self.names.stream, [self._subject], read, start=first
        )
        async with aclosing(reading):
            async for messages in reading:
                if messages[-1].seq > last:
                    if wanted := [message for message in messages if message.seq <= last]:
                        yield wanted
                    return
                yield messages
                if messages[-1].seq == last:
                    return


def _windows(first: int, last: int) -> list[tuple[int, int]]:
    """Ranges of sequences from the end to the beginning, each wider than the one before."""
    windows, width = [], _FIRST_WINDOW
    while last >= first:
        low = max(first, last - width + 1)
        windows.append((low, last))
        last, width = low - 1, min(width * _WIDER, PAGE * _WIDER)
    return windows
