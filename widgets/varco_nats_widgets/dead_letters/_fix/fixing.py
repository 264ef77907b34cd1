"""Fixes of many entries, as coroutines that run on a lab's loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pandas as pd

from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets.dead_letters._browser import DeadLetterBrowser
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._fix.entry import fixed, shown_event
from varco_nats_widgets.dead_letters._fix.fields import FieldCounts
from varco_nats_widgets.dead_letters._fix.steps import FixStep
from varco_nats_widgets.dead_letters._fix.table import FixTable
from varco_nats_widgets.dead_letters._index.filter import FilterOptions
from varco_nats_widgets.dead_letters._replaying import Replaying
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker, Entries

type _Kept = dict[UUID, tuple[PayloadEdit | None, PayloadEdit]]
"""The edits that a fix made, each with the one that it replaced."""


class Fixing:
    """The fixing behind one `DeadLetters`."""

    def __init__(
        self, worker: DeadLettersWorker, browser: DeadLetterBrowser, replaying: Replaying
    ) -> None:
        self._worker = worker
        self._browser = browser
        self._replaying = replaying
        self._kept: list[_Kept] = []  # the last one last

    async def fix(
        self,
        which: Entries | None,
        filters: FilterOptions,
        steps: Sequence[FixStep],
        keep: bool,
        progress: Progress,
    ) -> pd.DataFrame:
        """The difference that the steps make; with `keep`, its edits are in place."""
        worker, reader = self._worker, self._browser.reader
        entry_ids = [*dict.fromkeys(await worker.ids_of(which, filters, anew=True))]
        table, before = FixTable(), worker.edits

        def work(entries: list[StoredEntry]) -> None:
            for stored in map(reader.true, entries):
                last = before.get(stored.entry.entry_id)
                table.add(fixed(stored, reader.stored_as, last, steps))

        await worker.go_through(entry_ids, work, progress)
        frame = await asyncio.to_thread(table.frame, len(entry_ids))
        if keep:
            self._keep(table.edits, before)
        frame.attrs["kept"] = keep
        worker.model.set(fix_table=frame)
        return frame

    def _keep(self, made: dict[UUID, PayloadEdit], before: dict[UUID, PayloadEdit]) -> None:
        self._replaying.check_not_sent(made)
        now = self._worker.edits
        self._forget_gone(now)
        if now is not before and any(now.get(each) is not before.get(each) for each in made):
            raise ValueError("an entry was edited while this went on, and nothing is kept; again")
        if made:
            kept = {entry_id: (now.get(entry_id), edit) for entry_id, edit in made.items()}
            self._kept.append(kept)
            self._show({**now, **made})

    async def undo(self) -> int:
        """Put back what the last fix that was kept replaced; for how many entries."""
        now = self._worker.edits
        self._forget_gone(now)
        if not self._kept:
            raise ValueError("there is no fix to undo; fix(..., keep=True) keeps one")
        back = {
            entry_id: old
            for entry_id, (old, made) in self._kept[-1].items()
            if now.get(entry_id) is made  # neither replayed nor edited again
        }
        self._replaying.check_not_sent(back)
        self._kept.pop()
        left = {entry_id: edit for entry_id, edit in now.items() if entry_id not in back}
        self._show(left | {entry_id: old for entry_id, old in back.items() if old is not None})
        return len(back)

    def _forget_gone(self, now: dict[UUID, PayloadEdit]) -> None:
        """Forget what a fix did to entries that have no edit any more, as they were replayed."""
        left = (
            {entry_id: pair for entry_id, pair in kept.items() if entry_id in now}
            for kept in self._kept
        )
        self._kept = [kept for kept in left if kept]

    def _show(self, edits: dict[UUID, PayloadEdit]) -> None:
        self._worker.show_edits(edits)
        self._worker.model.set(kept_fixes=len(self._kept))
        self._replaying.check_plan()

    async def fields(
        self, which: Entries | None, filters: FilterOptions, progress: Progress
    ) -> pd.DataFrame:
        """The fields of the entries' events, as their last edits left them."""
        worker, reader, counts = self._worker, self._browser.reader, FieldCounts()
        entry_ids = await worker.ids_of(which, filters, anew=True)
        edits = worker.edits

        def work(entries: list[StoredEntry]) -> None:
            for stored in map(reader.true, entries):
                last = edits.get(stored.entry.entry_id)
                if (events := shown_event(stored, reader.stored_as, last)) is not None:
                    counts.add(events[0])

        await worker.go_through(entry_ids, work, progress)
        return await asyncio.to_thread(counts.frame)
