"""Reading a dead letter queue: coroutines on a lab's loop thread that take nothing from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from uuid import UUID

import pandas as pd

from varco_nats.dlq._codec import DlqNames, StoredEntry
from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.dead_letters._entry import DeadLetter, dead_letter, original_of
from varco_nats_widgets.dead_letters._filter import DeadLetterFilter, event_fields, event_of
from varco_nats_widgets.dead_letters._frame import DeadLetterFrameBuilder, Matching
from varco_nats_widgets.dead_letters._groups import DeadLetterIndex
from varco_nats_widgets.dead_letters._reader import DlqReader
from varco_nats_widgets.frames._headers import Headers


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
        scan = _Scan(wanted, progress)
        async with aclosing(scan.matching(self.reader, newest_first=newest_first)) as batches:
            async for entries in batches:
                room = len(entries) if limit is None else limit - len(builder)
                await asyncio.to_thread(builder.add, entries[:room])
                if limit is not None and len(builder) >= limit:
                    scan.cut = "limit"
                    break
        frame = await asyncio.to_thread(builder.build)
        frame.attrs["completeness"] = scan.completeness(len(builder))
        return frame

    async def groups(self, wanted: DeadLetterFilter, progress: Progress) -> pd.DataFrame:
        index, scan = DeadLetterIndex(), _Scan(wanted, progress)
        async with aclosing(scan.matching(self.reader)) as batches:
            async for entries in batches:
                await asyncio.to_thread(index.add, entries)
        frame = await asyncio.to_thread(index.frame)
        frame.attrs["completeness"] = scan.completeness(len(index))
        return frame

    async def stored(
        self,
        wanted: Callable[[list[StoredEntry]], list[StoredEntry]],
        on_progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> list[StoredEntry]:
        """All entries that are wanted.

        Args:
            wanted: gives those of some entries.
            on_progress: called with the entries read and how many there are.
        """
        found: list[StoredEntry] = []
        progress = Progress("reading", False)
        scan = _Scan(DeadLetterFilter(), progress)
        async with aclosing(scan.matching(self.reader)) as batches:
            async for entries in batches:
                found += await asyncio.to_thread(wanted, entries)
                on_progress(progress.done, progress.total)
        return found

    async def entry(self, entry_id: UUID, progress: Progress) -> DeadLetter:
        stored = await self.reader.find(entry_id, await self.reader.state())
        if stored is None:
            raise DeadLetterNotFoundError(entry_id, self.names.stream)
        copies: list[UUID] = []
        event_id = event_fields(stored, self.reader.decoding).event_id
        if event_id is not None:
            scan = _Scan(DeadLetterFilter(), progress)
            async with aclosing(scan.matching(self.reader)) as batches:
                async for entries in batches:
                    copies += await asyncio.to_thread(
                        _copies, entries, event_id, stored, self.reader
                    )
        return await self.whole(stored, tuple(copies))

    async def whole(self, stored: StoredEntry, copies: tuple[UUID, ...]) -> DeadLetter:
        """An entry with what is known of its original."""
        original = ""
        if stored.entry.source_ref is not None:
            found = await self.reader.original(stored.entry.source_ref)
            original = original_of(self.reader.true(stored), found, self.reader.stored_as)
        return dead_letter(stored, self.reader.decoding, original, copies)


class _Scan:
    """One way through the queue: what is expected, what was seen, what was left out."""

    def __init__(self, wanted: DeadLetterFilter, progress: Progress) -> None:
        self._wanted = wanted
        self._progress = progress
        self._expected = 0
        self.filtered = 0
        self.cut: str | None = None

    async def matching(
        self, reader: DlqReader, *, newest_first: bool = False
    ) -> AsyncGenerator[list[StoredEntry]]:
        """The entries that match, in batches."""
        state = await reader.state()
        self._expected = self._progress.total = await reader.expected(state, self._wanted)
        batches = reader.batches(state, self._wanted, newest_first=newest_first)
        matching = Matching(self._wanted, reader.decoding)
        async with aclosing(batches):
            async for entries in batches:
                found = await asyncio.to_thread(matching, entries)
                self._progress.done += len(entries)
                self.filtered += len(entries) - len(found)
                if found:
                    yield found

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


def _copies(
    entries: Sequence[StoredEntry], event_id: str, of: StoredEntry, reader: DlqReader
) -> list[UUID]:
    """The other entries of the same event, whose id is shown as `event_id`."""
    mark, true_id = event_id.encode(errors="surrogatepass"), reader.true_event_id(of)
    return [
        stored.entry.entry_id
        for stored in entries
        if mark in (event_of(stored) or b"")
        and stored.message.seq != of.message.seq
        and reader.true_event_id(stored) == true_id
    ]
