"""The index of a queue, topped up by what came, and what a widget shows of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np

from varco_nats._nats.direct import StoredMessage
from varco_nats_widgets._session.worker import ModelReference, TraitsModel
from varco_nats_widgets.dead_letters._index.filter import (
    DeadLetterFilter,
    FilterOptions,
    dead_letter_filter,
)
from varco_nats_widgets.dead_letters._index.groups import Selection
from varco_nats_widgets.dead_letters._index.index import DeadLetterIndex
from varco_nats_widgets.dead_letters._index.reader import DlqReader, QueueState

_SHOW_SECONDS = 0.5  # between two pictures of the groups while they are counted
_PAUSES = 25  # times as long as it takes to show them, as to draw them takes as long again
_ALL = DeadLetterFilter()
_CLOCKS_DIFFER = timedelta(minutes=1)

type OnRead = Callable[[int, int], Awaitable[bool]]
"""Is told the entries read and how many there are; gives whether to go on."""


class IndexedQueue:
    """One index of a queue for all that looks at it."""

    def __init__(self, reader: DlqReader) -> None:
        self.reader = reader
        self.index = DeadLetterIndex(reader.decoding)
        self.state: QueueState | None = None
        """What the queue held when the index was renewed last."""
        self._created: datetime | None = None
        self._read_until = 0  # a sequence
        self._left_out = 0  # entries up to that one that were not read
        self._lock = asyncio.Lock()

    @property
    def entries(self) -> int:
        """Entries that the queue held when the index was renewed last."""
        return 0 if self.state is None else self.state.entries

    @property
    def is_loaded(self) -> bool:
        """Whether it has all that the queue held when it was renewed last."""
        return self._read_until > 0 and not self._left_out

    @property
    def left_out(self) -> int:
        """Entries that were not read, as a reading was told to end."""
        return self._left_out

    async def renew(self, on_read: OnRead | None = None, *, whole: bool = True) -> bool:
        """Take in what came into the queue since, forget what left it; whether anything did.

        Where it is cancelled, or fails, the next one goes on from there.

        Args:
            whole: whether to read what a reading left out that was told to end.
        """
        async with self._lock:
            state = await self.reader.state()
            changed = self._begin(state, whole)
            if state is None:
                return changed
            index = self.index
            before = len(index), index.last_seq
            known = max(self._read_until, index.last_seq)
            # each sequence is an entry, unless that has left
            entries = len(index) + self._left_out + state.last_seq - known
            has_left = self._read_until > 0 and entries != state.entries
            if state.last_seq > known and state.entries:
                await self._read(state, known + 1, on_read)
            self._read_until = state.last_seq
            if self.reader.is_foreign:  # the stream may have other messages, too
                has_left = len(index) + self._left_out != state.entries
            if has_left:
                seqs = await self.reader.seqs()
                await asyncio.to_thread(index.keep, seqs)
                if not self.reader.is_foreign:
                    self._left_out = int(np.count_nonzero(seqs <= state.last_seq)) - len(index)
                elif self._left_out:
                    self._left_out = max(state.entries - len(index), 0)
            return changed or before != (len(index), index.last_seq)

    def _begin(self, state: QueueState | None, whole: bool) -> bool:
        """Begin anew where the stream is another one, or the index lacks what is wanted."""
        before, self.state = self.state, state
        created = None if state is None else state.created
        last_seq = 0 if state is None else state.last_seq
        is_other = created != self._created or last_seq < self._read_until
        if is_other or (whole and self._left_out):
            self.index = DeadLetterIndex(self.reader.decoding)
            self._created, self._read_until, self._left_out = created, 0, 0
        return is_other and (before is not None or state is not None)

    async def _read(self, state: QueueState, first: int, on_read: OnRead | None) -> None:
        """Read from sequence `first` on, to the end unless `on_read` says no."""
        index, reader, done = self.index, self.reader, len(self.index)

        def take(messages: Sequence[StoredMessage]) -> None:
            index.add(reader.decoded(messages))

        reading = reader.messages(state, first, state.last_seq, ahead=True)
        async with aclosing(reading):
            async for messages in reading:
                await asyncio.to_thread(take, messages)
                done += len(messages)
                if on_read is not None and not await on_read(done, max(state.entries, done)):
                    self._left_out += max(state.entries - done, 0)
                    return


class DeadLettersTraits(TraitsModel, Protocol):
    """The traits of a `DeadLetters` that its worker reads; it sets these and others."""

    selected_ids: list[str]
    chosen_groups: tuple[str, ...]
    filters: dict[str, Any]


class FollowedQueue:
    """What a widget shows of a queue: the entries that match its filter, and their groups."""

    def __init__(self, model: ModelReference[DeadLettersTraits], queue: IndexedQueue) -> None:
        self._model = model
        self._queue = queue
        self.matching = queue.index.select(_ALL)
        """The entries that match, as shown."""
        self.loaded = False
        """Whether it was read, and what matches is known."""
        self._is_read = False
        self.stopping = False
        """Set it to have reading end with what was found so far."""
        self._given = self._filter = _ALL
        self._clocks = ""  # says that this computer's clock is wrong, where that matters
        self._showing = asyncio.Lock()
        self._next_show = 0.0

    @property
    def index(self) -> DeadLetterIndex:
        """The index of all entries."""
        return self._queue.index

    def set_filter(self, given: FilterOptions) -> None:
        """Set it at once; by this computer's clock until `begin_filter`."""
        self._filter = self._given = dead_letter_filter(**given)
        self._clocks = ""

    async def begin_filter(self) -> None:
        """Have what the filter says of the past (`10m`) mean the past from now on."""
        given, clocks = self._given, ""
        wanted = given
        if given.times is not None:
            here, now = datetime.now(UTC), await self._queue.reader.now()
            wanted = given.at(now)
            if wanted != given.at(here):
                clocks = clock_words(here - now)
        if given is self._given:  # else another filter was set meanwhile
            self._filter, self._clocks = wanted, clocks

    async def read(self) -> None:
        """Read the queue, or what came since it was read."""
        await self.begin_filter()
        self._model.set(notice="")
        # a long reading shows what it has at once, a short one only its end
        self._next_show = time.monotonic() + _SHOW_SECONDS if self._queue.is_loaded else 0.0
        await self._queue.renew(self._on_read)
        self._is_read = True
        await self.show()
        self.loaded = True

    async def _on_read(self, done: int, total: int) -> bool:
        begin = time.monotonic()
        if begin > self._next_show:
            self._model.set(progress=(done, total))
            await self.show()
            now = time.monotonic()
            self._next_show = now + max(_SHOW_SECONDS, _PAUSES * (now - begin))
        return not self.stopping

    async def follow(self) -> bool:
        """Take in what came into the queue since, forget what left it; whether anything did."""
        changed = await self._queue.renew(whole=False)
        self._model.set(entries=self._queue.entries)
        if changed:
            await self.show()
        return changed

    async def show(self) -> None:
        """Show what matches the filter, of what is in the index."""
        async with self._showing:
            wanted = self._filter
            matching, values = await asyncio.to_thread(_shown, self.index, wanted)
            if wanted is not self._filter:
                return  # another filter was set meanwhile, which is shown next
            self.matching = matching
            reader = self._queue.reader
            about = values.pop("hint") or reader.notice or reader.stored_as.notice
            if self._is_read and self._queue.state is None and not reader.notice:
                about = (
                    f"there is no stream {reader.names.stream} yet: a service with a NatsDLQ makes "
                    "it; if yours has another name, give the Lab the settings of your bus"
                )
            notice = " · ".join(filter(None, (self._clocks, about)))
            if self._is_read and (left_out := self._queue.left_out):
                found = len(self.index)
                notice = f"stopped after {found:,} of {found + left_out:,} entries"
            self._model.set(entries=self._queue.entries, notice=notice, **values)


def clock_words(ahead: timedelta) -> str:
    """That this computer's clock is wrong by the server's, in words; "" where it hardly is."""
    if abs(ahead) < _CLOCKS_DIFFER:
        return ""
    by = str(timedelta(seconds=round(abs(ahead).total_seconds())))
    return (
        f"this computer's clock is {by} {'ahead of' if ahead > timedelta(0) else 'behind'} the "
        "server's, by which the filter counts"
    )


def _shown(index: DeadLetterIndex, wanted: DeadLetterFilter) -> tuple[Selection, dict[str, Any]]:
    """The entries that match, and what is shown of them."""
    matching = index.select(wanted)
    channels = matching.counts("channel")
    choices = ("channel", "event_type", "handler", "error_type", "tenant_id")
    return matching, {
        "group_table": matching.frame(),
        "matching": len(matching),
        "channels": channels,
        "choices": {name: matching.counts(name) for name in choices},
        "hint": "" if len(matching) else index.hint(wanted.condition),
    }
