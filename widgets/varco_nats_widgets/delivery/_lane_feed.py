"""The marks of a delivery record, kept up to date as it grows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from varco_nats_widgets.delivery._lane_marks import Marks
from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.record import DeliveryRecord
from varco_nats_widgets.record._rows import DEAD_LETTERS, FAULT, KINDS, PRODUCER, STREAM, Row

_CODES = {kind: code for code, kind in enumerate(KINDS)}
_MAX_LANES = 16
_OTHERS = "others"
_MAX_NAME = 60
_MAX_FAULT = 80


class LaneFeed:
    """The marks of a record that may still grow; only its new rows are read each time.

    Events have the numbers that they have in the record's frames.

    Attributes:
        marks: all of them, in order of time.
        faults: the faults among them in words, in order of time.
        lanes: the lanes in the order in which they are shown, each with the number that the
            marks have for it.
    """

    def __init__(self, record: DeliveryRecord) -> None:
        self.marks = Marks.none()
        self.faults: list[str] = []
        self.lanes: list[tuple[int, str]] = []
        self._record = record
        self._first = 1
        self._columns: list[Any] = []
        self._reset()

    def renew(self) -> bool:
        """Read the new rows; whether there were any."""
        rows, first = self._record.rows_after(self._read, self._first)
        if first != self._first:  # older rows were dropped
            self._first = first
            self._reset()
        if not rows:
            return False
        if self._note_ids(rows):  # of messages whose ids were not known until now
            rows, self._first = self._record.rows_after(0, self._first)
            self._reset()
            self._note_ids(rows)
        self._read += len(rows)
        new = [
            (
                row.time,
                self._event(row),
                _CODES[row.kind],
                self._lane(row.process),
                row.delivery,
                -1 if row.seq is None else row.seq,
            )
            for row in rows
        ]
        self._fault_texts += [
            (row.time, clean(f"{row.process}: {row.error or 'fault'}", _MAX_FAULT))
            for row in rows
            if row.kind == FAULT
        ]
        self._columns = [
            np.concatenate([known, np.array(column, dtype=known.dtype)])
            for known, column in zip(self._columns, zip(*new, strict=True), strict=True)
        ]
        self._arrange()
        return True

    def _reset(self) -> None:
        self._read = 0
        self._codes: dict[str, int] = {}  # of events, in the order in which they came
        self._seen: list[float] = []
        self._published: list[float] = []
        self._ids: dict[tuple[str, int], str] = {}
        self._guessed: set[tuple[str, int]] = set()
        self._lane_codes: dict[str, int] = {}
        self._fault_texts: list[tuple[float, str]] = []  # with their times
        types = (np.float64, np.int64, np.int64, np.int64, np.int64, np.int64)
        self._columns = [np.empty(0, dtype=kind) for kind in types]

    def _note_ids(self, rows: Iterable[Row]) -> bool:
        """Note the ids of messages; whether any of these was shown without its id."""
        late = False
        for row in rows:
            if row.event_id is not None and row.seq is not None:
                message = (row.channel, row.seq)
                late = late or message in self._guessed
                self._ids[message] = row.event_id
        return late

    def _event(self, row: Row) -> int:
        """The code of the row's event; -1 for a fault, which belongs to no event."""
        if row.kind == FAULT:
            return -1
        name = row.event_id
        if name is None and row.seq is not None:
            message = (row.channel, row.seq)
            name = self._ids.get(message)
            if name is None:
                self._guessed.add(message)
        name = name or (f"seq {row.seq}" if row.seq is not None else "unknown")
        code = self._codes.setdefault(name, len(self._codes))
        if code == len(self._seen):
            self._seen.append(row.time)
            self._published.append(np.inf)
        self._seen[code] = min(self._seen[code], row.time)
        if row.kind == "published":
            self._published[code] = min(self._published[code], row.time)
        return code

    def _lane(self, process: str) -> int:
        known = self._lane_codes.get(process)
        if known is None:
            full = len(self._lane_codes) >= _MAX_LANES - 1
            known = self._lane_codes.setdefault(_OTHERS if full else process, len(self._lane_codes))
        return known

    def _arrange(self) -> None:
        times, codes, kinds, lanes, deliveries, seqs = self._columns
        seen, published = np.array(self._seen), np.array(self._published)
        order = np.lexsort((seen, np.where(np.isinf(published), seen, published)))
        numbers = np.zeros(len(order) + 1, dtype=np.int64)  # the last is of no event
        numbers[order] = np.arange(len(order)) + self._first
        sent = seqs if self._record.sees_handlers else None
        self.marks = Marks.of(times, numbers[codes], kinds, lanes, deliveries, sent)
        self.faults = [text for _, text in sorted(self._fault_texts, key=lambda fault: fault[0])]
        self.lanes = [
            (code, clean(name, _MAX_NAME))
            for name, code in sorted(self._lane_codes.items(), key=lambda lane: _place(lane[0]))
        ]


def _place(process: str) -> tuple[int, list[tuple[int, str]]]:
    """The sort key of the lane of a process; `consumer-2` comes before `consumer-10`."""
    ends = {PRODUCER: 0, STREAM: 1, DEAD_LETTERS: 4, _OTHERS: 3}
    parts = re.findall(r"\d+|\D+", process)
    return ends.get(process, 2), [
        (int(part), "") if part.isdecimal() else (-1, part) for part in parts
    ]
