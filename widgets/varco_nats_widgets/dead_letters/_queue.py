"""The entries of a queue that match a widget's filter: read once, and then followed."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any, Protocol

import pandas as pd

from varco_nats_widgets._session.worker import ModelReference, TraitsModel
from varco_nats_widgets.dead_letters._filter import (
    DeadLetterFilter,
    FilterOptions,
    dead_letter_filter,
)
from varco_nats_widgets.dead_letters._frame import Matching
from varco_nats_widgets.dead_letters._groups import DeadLetterIndex
from varco_nats_widgets.dead_letters._reader import DlqReader, QueueState

_SHOW_SECONDS = 0.5  # between two pictures of the groups while they are counted


class DeadLettersTraits(TraitsModel, Protocol):
    """The traits of a `DeadLetters` that its worker reads; it sets these and others."""

    selected_ids: list[str]
    chosen_groups: tuple[str, ...]
    filters: dict[str, Any]


class FollowedQueue:
    """An index of the entries that match, and the traits that show their groups."""

    def __init__(self, model: ModelReference[DeadLettersTraits]) -> None:
        self._model = model
        self.index = DeadLetterIndex()
        self.loaded = False
        """Whether it was read."""
        self.stopping = False
        """Set it to have reading end with what was found so far."""
        self._given: FilterOptions = {}
        self._filter = DeadLetterFilter()
        self._hint = ""  # what may be wrong with the filter
        self._held = 0  # entries of the queue that the index knows of, those left out included
        self._last_seq = 0
        self._lock = asyncio.Lock()

    def set_filter(self, given: FilterOptions) -> None:
        self._filter, self._given = dead_letter_filter(**given), given

    async def read(self, reader: DlqReader) -> None:
        """Read the queue from its beginning."""
        async with self._lock:
            # what a filter says of the past ("10m") is meant from now on
            self._filter = dead_letter_filter(**self._given)
            index, state = DeadLetterIndex(), await reader.state()
            total = await reader.expected(state, self._filter)
            entries = 0 if state is None else state.entries
            self._model.set(entries=entries, progress=(0, total), notice="")
            done = await self._index(reader, index, state, 1, total)
            await self._replace(index, state, entries)
            notice = ("" if len(index) else self._hint) or reader.stored_as.notice
            if done < total and self.stopping:
                notice = f"stopped after {done:,} of {total:,} entries"
            self._model.set(notice=notice)

    async def _index(
        self,
        reader: DlqReader,
        index: DeadLetterIndex,
        state: QueueState | None,
        first: int,
        total: int,
    ) -> int:
        """Take the entries from sequence `first` on into `index`; how many were looked at."""
        done, shown = 0, 0.0
        matching = Matching(self._filter, reader.decoding)
        async with aclosing(reader.batches(state, self._filter, first=first)) as batches:
            async for entries in batches:
                done += len(entries)
                await asyncio.to_thread(lambda some: index.add(matching(some)), entries)
                if self.stopping and total:  # not what came since, which a plan needs whole
                    break
                if total and time.monotonic() - shown > _SHOW_SECONDS:
                    self._model.set(progress=(done, max(done, total)))
                    await self._show_groups(index)
                    shown = time.monotonic()
        self._hint = matching.hint
        return done

    async def _replace(self, index: DeadLetterIndex, state: QueueState | None, held: int) -> None:
        self.index, self._held, self.loaded = index, held, True
        self._last_seq = 0 if state is None else state.last_seq
        await self._show_groups(index)

    async def _show_groups(self, index: DeadLetterIndex) -> None:
        frame = await asyncio.to_thread(index.frame)
        self._model.set(
            group_table=frame,
            matching=len(index),
            channels=index.channels,
            choices={
                "channel": index.channels,
                "event_type": index.event_types,
                **_counts(frame),
            },
        )

    async def follow(self, reader: DlqReader) -> bool:
        """Take in what came into the queue since, forget what left it; whether anything did."""
        async with self._lock:
            index, state = self.index, await reader.state()
            if state is None:
                changed = bool(len(index) or self._held)
                await self._replace(DeadLetterIndex(), None, 0)
                self._model.set(entries=0)
                return changed
            if state.last_seq < self._last_seq:  # the stream was deleted and made again
                index = DeadLetterIndex()
                self._held = self._last_seq = 0
            came = 0
            if state.last_seq > self._last_seq:
                seen = max(self._last_seq, index.last_seq)  # more, where it was cancelled
                came = await self._index(reader, index, state, seen + 1, 0)
            self._held += came
            gone = self._held != state.entries
            if gone:
                seqs = await reader.seqs()
                await asyncio.to_thread(index.keep, seqs)
                self._held = len(seqs)
            self._model.set(entries=state.entries)
            if came or gone:
                self.index, self._last_seq = index, state.last_seq
                await self._show_groups(index)
            return bool(came or gone)


def _counts(groups: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many entries each handler and each error type has."""
    sums = {name: groups.groupby(name)["count"].sum() for name in ("handler", "error_type")}
    return {name: {str(key): int(n) for key, n in found.items()} for name, found in sums.items()}
