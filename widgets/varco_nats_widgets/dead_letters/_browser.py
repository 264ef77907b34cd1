"""Reading a dead letter queue: coroutines on a lab's loop thread that take nothing from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from uuid import UUID

import pandas as pd

from varco_nats.dlq._codec import DlqNames, StoredEntry
from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.dead_letters._entry import DeadLetter, dead_letter, original_of
from varco_nats_widgets.dead_letters._index.filter import DeadLetterFilter, event_fields
from varco_nats_widgets.dead_letters._index.frame import DeadLetterFrameBuilder
from varco_nats_widgets.dead_letters._index.groups import Selection
from varco_nats_widgets.dead_letters._index.queue import IndexedQueue
from varco_nats_widgets.dead_letters._index.reader import DlqReader
from varco_nats_widgets.frames._headers import Headers

_MAX_COPIES = 1000


class DeadLetterNotFoundError(VarcoNatsError, LookupError):
    """No entry with this id, where one is to be looked at.

    Attributes:
        entry_id: the id.
        stream: the queue's stream.
    """

    def __init__(self, entry_id: UUID, stream: str) -> None:
        self.entry_id = entry_id
        self.stream = stream
        super().__init__(
            f"no dead letter {entry_id} is stored in {stream}; it may have been replayed or "
            "discarded meanwhile: lab.replays() has what was done"
        )


class DeadLetterBrowser:
    """Shows what is in the queue `names`."""

    def __init__(self, session: Session, names: DlqNames) -> None:
        self.names = names
        self.settings = session.settings
        self.connection = session.connection
        self.reader = DlqReader(self.connection, names, session.decoding.of_channels())
        self.queue = IndexedQueue(self.reader)

    async def count(self) -> int:
        state = await self.reader.state()
        return 0 if state is None else state.entries

    async def frame(
        self,
        wanted: DeadLetterFilter,
        limit: int | None,
        newest_first: bool,
        progress: Progress,
        headers: Headers,
    ) -> pd.DataFrame:
        builder = DeadLetterFrameBuilder(self.reader.decoding, headers=headers)
        scan = _Scan(progress)
        reading = scan.all_entries(self.reader, newest_first=newest_first)
        if wanted:
            selection = await self.select(wanted, progress)
            reading = scan.selected(self.queue, selection, newest_first=newest_first)
        async with aclosing(reading) as batches:
            async for entries in batches:
                room = len(entries) if limit is None else limit - len(builder)
                await asyncio.to_thread(builder.add, entries[:room])
                if limit is not None and len(builder) >= limit:
                    scan.cut = "limit"
                    break
        frame = await asyncio.to_thread(builder.build)
        frame.attrs["completeness"] = scan.completeness(len(builder))
        return frame

    async def select(self, wanted: DeadLetterFilter, progress: Progress | None = None) -> Selection:
        """The entries that match, of those that the queue holds now."""

        async def on_read(done: int, total: int) -> bool:
            if progress is not None:
                progress.done, progress.total = done, total
            return True

        if wanted.times is not None:
            wanted = wanted.at(await self.reader.now())
        await self.queue.renew(on_read)
        return await asyncio.to_thread(self.queue.index.select, wanted)

    async def groups(self, wanted: DeadLetterFilter, progress: Progress) -> pd.DataFrame:
        selection, scan = await self.select(wanted, progress), _Scan(progress)
        scan.expect(self.queue, selection)
        frame = await asyncio.to_thread(selection.frame)
        frame.attrs["completeness"] = scan.completeness(len(selection))
        return frame

    async def go_through(
        self,
        entry_ids: Collection[UUID],
        work: Callable[[list[StoredEntry]], object],
        on_progress: Callable[[int, int], object],
    ) -> None:
        """Have `work` done in a thread with those of these entries that are in the queue.

        Args:
            work: gets some of them at a time, in the order of the queue.
            on_progress: called with the entries read and how many there are.
        """
        await self.queue.renew()
        seqs = await asyncio.to_thread(self.queue.index.seqs_of, entry_ids)
        done = 0
        async with aclosing(self.reader.entries_among(self.queue.state, seqs)) as batches:
            async for entries in batches:
                await asyncio.to_thread(work, entries)
                done += len(entries)
                on_progress(done, len(seqs))

    async def find(self, entry_id: UUID) -> StoredEntry:
        """The entry with this id.

        Raises:
            DeadLetterNotFoundError: there is none.
        """
        state = await self.reader.state()
        seqs = self.queue.index.seqs_of([entry_id]).tolist()
        for stored in await self.reader.entries_at(seqs, state):
            if stored.entry.entry_id == entry_id:
                return stored
        found = await self.reader.find(entry_id, state)
        if found is None:
            raise DeadLetterNotFoundError(entry_id, self.names.stream)
        return found

    async def entry(self, entry_id: UUID, progress: Progress) -> DeadLetter:
        stored = await self.find(entry_id)
        await self.select(DeadLetterFilter(), progress)
        return await self.whole(stored)

    async def copies(self, of: StoredEntry) -> tuple[UUID, ...]:
        """The ids of other entries of the same event, as far as the index knows them."""
        event_id = event_fields(of, self.reader.decoding).event_id
        if event_id is None:
            return ()
        alike = self.queue.index.may_have_event(event_id)
        seqs = [seq for seq in alike if seq != of.message.seq][:_MAX_COPIES]
        if not seqs:
            return ()
        entries = await self.reader.entries_at(seqs, await self.reader.state())
        true_id = self.reader.true_event_id(of)
        return tuple(
            stored.entry.entry_id
            for stored in entries
            if self.reader.true_event_id(stored) == true_id
        )

    async def whole(self, stored: StoredEntry) -> DeadLetter:
        """An entry with what is known of its original and its copies."""
        copies = await self.copies(stored)
        original = ""
        if stored.entry.source_ref is not None:
            found = await self.reader.original(stored.entry.source_ref)
            original = original_of(self.reader.true(stored), found, self.reader.stored_as)
        return dead_letter(stored, self.reader.decoding, original, copies)


class _Scan:
    """One way through the queue: what is expected, what was left out, what cut it off."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._expected = 0
        self.filtered = 0
        self.cut: str | None = None

    async def all_entries(
        self, reader: DlqReader, *, newest_first: bool
    ) -> AsyncGenerator[list[StoredEntry]]:
        """All entries, in batches."""
        state = await reader.state()
        self._expected = 0 if state is None else state.entries
        reading = reader.batches(state, newest_first=newest_first)
        async with aclosing(self._counted(reading, self._expected)) as batches:
            async for entries in batches:
                yield entries

    def expect(self, queue: IndexedQueue, selection: Selection) -> None:
        """Expect what was selected of the queue."""
        self._expected = max(queue.entries, len(selection))
        self.filtered = self._expected - len(selection)

    async def selected(
        self, queue: IndexedQueue, selection: Selection, *, newest_first: bool
    ) -> AsyncGenerator[list[StoredEntry]]:
        """Those that were selected, in batches."""
        self.expect(queue, selection)
        seqs = selection.seqs()
        reading = queue.reader.entries_among(queue.state, seqs, newest_first=newest_first)
        async with aclosing(self._counted(reading, len(seqs))) as batches:
            async for entries in batches:
                yield entries

    async def _counted(
        self, reading: AsyncGenerator[list[StoredEntry]], total: int
    ) -> AsyncGenerator[list[StoredEntry]]:
        self._progress.done, self._progress.total = 0, total
        async with aclosing(reading) as batches:
            async for entries in batches:
                self._progress.done += len(entries)
                if entries:
                    yield entries

    def completeness(self, rows: int) -> dict[str, int | str | None]:
        """The verdict on whether all that was asked for is there, as in a frame of events."""
        loaded = rows + self.filtered
        expected = max(self._expected, loaded)
        cut = self.cut if loaded < expected else None
        return {
            "expected": expected,
            "loaded": loaded,
            "filtered": self.filtered,
            "gaps": 0 if cut else expected - loaded,
            "truncated_by": cut,
        }
