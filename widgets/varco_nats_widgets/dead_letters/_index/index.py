"""A small index of a dead letter queue, of all its entries, from which filters select. Pure."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from uuid import UUID

import numpy as np
import numpy.typing as npt

from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets.dead_letters._index.blocks import Block, Mask
from varco_nats_widgets.dead_letters._index.filter import DeadLetterFilter
from varco_nats_widgets.dead_letters._index.frame import NOT_A_TIME
from varco_nats_widgets.dead_letters._index.groups import ROW, Names, Rows, Selection, id_bytes
from varco_nats_widgets.dead_letters._index.page import Page
from varco_nats_widgets.frames._columns import microseconds
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._decoding import Decoding

_BLOCK = 1000  # entries that are worth a block of their own


@dataclass(frozen=True, eq=False)
class _State:
    """What an index holds at one moment; it never changes, so that it can be read on any thread."""

    parts: tuple[Rows, ...]
    blocks: tuple[Block, ...]
    """Of all but the last entries."""
    tail: Page | None
    """These, until they are enough for a block."""

    @cached_property
    def rows(self) -> Rows:
        return np.concatenate(self.parts) if self.parts else np.empty(0, dtype=ROW)

    @cached_property
    def all_blocks(self) -> tuple[Block, ...]:
        return self.blocks if self.tail is None else (*self.blocks, Block(self.tail))


class DeadLetterIndex:
    """What is needed of each entry to filter, to group and to choose; see `nbytes`.

    It may be used on any threads.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._names = Names()
        self._changing = threading.Lock()
        self._state = _State((), (), None)
        self._last_seq = 0

    def __len__(self) -> int:
        return sum(map(len, self._state.parts))

    @property
    def last_seq(self) -> int:
        """The highest sequence that was ever added, 0 if there is none."""
        return self._last_seq

    @property
    def nbytes(self) -> int:
        """The memory that it takes, but for the last entries."""
        state = self._state
        return state.rows.nbytes + sum(block.nbytes for block in state.blocks)

    # Changes

    def add(self, entries: Sequence[StoredEntry]) -> None:
        """Take in entries, in order of their sequences; those up to `last_seq` are known."""
        with self._changing:
            state = self._state
            fresh = [stored for stored in entries if stored.message.seq > self._last_seq]
            if not fresh:
                return
            known = () if state.tail is None else state.tail.entries
            page, blocks = Page((*known, *fresh), self._decoding), state.blocks
            rows = self._rows_of(page, len(known))
            is_block = len(page) >= _BLOCK
            if is_block:
                blocks = (*blocks, Block(page))
            # the rows are put together by whoever reads them, not each time that some are added
            parts = (state.rows,) if "rows" in vars(state) else state.parts
            self._state = _State((*parts, rows), blocks, None if is_block else page)
            self._last_seq = fresh[-1].message.seq

    def _rows_of(self, page: Page, first: int) -> Rows:
        """The rows of the entries of a page from one on."""
        names, heads = self._names, page.heads[first:]
        texts: dict[str, list[str | None]] = {
            "channel": [entry.channel for entry in heads],
            "handler": [entry.handler_name for entry in heads],
            "error_type": [entry.error_type for entry in heads],
            "event_type": page.event_types[first:],
            "tenant_id": [entry.tenant_id for entry in heads],
            "source": [entry.source for entry in heads],
        }
        rows = np.empty(len(heads), dtype=ROW)
        rows["seq"] = [stored.message.seq for stored in page.entries[first:]]
        rows["id"] = np.frombuffer(b"".join(page.ids[first:]), "V16")
        failed_first, rows["last"] = (each[first:] for each in page.times)
        # it is not known where it would be that of the last
        rows["first"] = np.where(failed_first == NOT_A_TIME, rows["last"], failed_first)
        rows["event"] = [hash(event) if event else 0 for event in page.event_ids[first:]]
        rows["group"] = [
            names.group(entry.handler_name, entry.error_type, entry.error_message)
            for entry in heads
        ]
        for name, each in texts.items():
            rows[name] = names.codes_of(name, each)
        rows["came_back"] = np.array(page.replays[first:]) > 0
        return rows

    def keep(self, seqs: npt.NDArray[np.int64]) -> None:
        """Forget all entries but those with these sequences."""
        with self._changing:
            state = self._state
            kept = np.isin(state.rows["seq"], seqs)
            if kept.all():
                return
            blocks = []
            for block, part in _parts(state.blocks):
                if kept[part].all():
                    blocks.append(block)
                elif kept[part].any():
                    blocks.append(block.kept(kept[part]))
            tail = state.tail
            if tail is not None and not (of_tail := kept[len(kept) - len(tail) :]).all():
                left = [*compress(tail.entries, of_tail.tolist())]
                tail = Page(left, self._decoding) if left else None
            self._state = _State((state.rows[kept],), tuple(blocks), tail)

    # Filters

    def select(self, wanted: DeadLetterFilter) -> Selection:
        """The entries that meet the filter, `condition` included."""
        state = self._state
        rows = state.rows[self._mask(state, wanted)] if wanted else state.rows
        return Selection(rows, self._names)

    def _mask(self, state: _State, wanted: DeadLetterFilter) -> Mask:
        rows, names = state.rows, self._names
        mask = np.ones(len(rows), dtype=bool)
        coded = {
            "channel": wanted.channels,
            "handler": wanted.handlers,
            "error_type": wanted.error_types,
            "event_type": wanted.event_types,
            "tenant_id": wanted.tenants,
            "source": wanted.sources,
        }
        for column, texts in coded.items():
            if texts is not None:
                mask &= np.isin(rows[column], names.codes(column, texts))
        if wanted.since is not None:
            mask &= rows["last"] >= microseconds(wanted.since)
        if wanted.until is not None:
            mask &= rows["last"] < microseconds(wanted.until)
        if wanted.groups is not None:
            mask &= np.isin(rows["group"], names.places(wanted.groups))
        if wanted.error or wanted.text or wanted.condition is not None:
            for block, part in _parts(state.all_blocks):
                some = mask[part]
                if wanted.error and some.any():
                    some &= block.with_error(wanted.error)
                if wanted.text and some.any():
                    some &= block.with_text(wanted.text)
                if wanted.condition is not None and some.any():
                    some &= block.meeting(wanted.condition)
        return mask

    def hint(self, condition: Condition | None) -> str:
        """Which column a condition names that no entry has; "" if there is none."""
        columns: set[str] = set()
        hint = ""
        if condition is not None:
            for block in self._state.all_blocks:
                columns |= block.names
                hint = condition.unknown(columns)
                if not hint:
                    break  # in most cases the first block has all that are named
        return hint

    # Single entries

    def group_ids(self) -> set[str]:
        """The ids of the groups that there are or were."""
        return {group.id for group in self._names.groups}

    def seqs_of(self, entry_ids: Collection[UUID]) -> npt.NDArray[np.int64]:
        """The sequences of those of these entries that are here, ascending."""
        rows, wanted = self._state.rows, {entry_id.bytes for entry_id in entry_ids}
        return rows["seq"][[entry_id in wanted for entry_id in id_bytes(rows)]]

    def channels_of(self, entry_ids: Collection[UUID]) -> dict[str, int]:
        """How many of these entries each channel has."""
        rows, wanted = self._state.rows, {entry_id.bytes for entry_id in entry_ids}
        among = rows["channel"][[entry_id in wanted for entry_id in id_bytes(rows)]]
        return self._names.counts("channel", among)

    def may_have_event(self, event_id: str) -> list[int]:
        """Sequences of the entries that may be about this event; no other is."""
        rows = self._state.rows
        found: list[int] = rows["seq"][rows["event"] == hash(event_id)].tolist()
        return found


def _parts(blocks: Sequence[Block]) -> Iterator[tuple[Block, slice]]:
    """Each block with the places of its entries."""
    first = 0
    for block in blocks:
        yield block, slice(first, first + len(block))
        first += len(block)
