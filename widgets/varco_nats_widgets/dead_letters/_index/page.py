"""Dead letters taken apart as far as an index needs them at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from varco_nats._nats.provenance import replays_of
from varco_nats.dlq._codec import UNREADABLE, StoredEntry
from varco_nats_widgets.dead_letters._index.columns import ENTRY_ID, Columns, text_array
from varco_nats_widgets.dead_letters._index.filter import NOTHING_KEPT, event_message, event_of
from varco_nats_widgets.dead_letters._index.frame import (
    TEXTS,
    DeadLetterFrameBuilder,
    bounded,
    failure_times,
)
from varco_nats_widgets.dead_letters._index.masked import OfShownEntries, stored_bytes
from varco_nats_widgets.dead_letters._index.plain import PlainEntries, PlainEvents, plain_event
from varco_nats_widgets.frames._columns import POOL
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import HEADERS
from varco_nats_widgets.frames._payload import TYPE_KEY

type Places = npt.NDArray[np.int32]

_ID = "event_id"
_texts_of = attrgetter(*TEXTS.values())


class Page:
    """Some entries, in order of their sequences.

    Those whose events are JSON objects, or no JSON at all, are plain: what their events say is read
    from the JSON when somebody asks. Of all others a frame is made.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """

    def __init__(self, entries: Sequence[StoredEntry], decoding: Decoding) -> None:
        self.entries = entries
        self.replays = [replays_of(stored.headers) for stored in entries]
        self.heads = [stored.entry for stored in entries]
        self.ids = [entry.entry_id.bytes for entry in self.heads]
        self.times = failure_times(self.heads)
        self.event_types: list[str | None] = [None] * len(entries)
        self.event_ids: list[str | None] = [None] * len(entries)
        self._events: list[bytes] = []
        """Of those that are plain, {} for those that are no JSON."""
        self._problems: dict[int, tuple[str, bytes]] = {}
        """Why entries cannot be read, and their bytes, by row."""
        plain, others = self._sort(decoding)
        self._plain, self._others = np.array(plain, np.int32), np.array(others, np.int32)
        self._frame = self._frame_of(others, decoding)

    def _sort(self, decoding: Decoding) -> tuple[list[int], list[int]]:
        """Which entries are plain, and which others there are."""
        if not (decoding.is_plain or isinstance(decoding, OfShownEntries)):
            return [], [*range(len(self.entries))]
        plain: list[int] = []
        others: list[int] = []
        for row, stored in enumerate(self.entries):
            data = event_of(stored)
            data = NOTHING_KEPT if data is None else data
            event = plain_event(data)
            if event is None:
                message = event_message(stored)
                problem = decoding.decode(message).problem
                if problem is None:
                    others.append(row)
                    continue
                self._problems[row] = problem, decoding.raw(message)
                data, event = NOTHING_KEPT, {}
            if stored.entry.error_type == UNREADABLE:
                problem = stored.entry.error_message
                self._problems[row] = problem, stored_bytes(stored, decoding)
            plain.append(row)
            self._events.append(data)
            event_type, event_id = event.get(TYPE_KEY), event.get(_ID)
            if type(event_type) is str:
                self.event_types[row] = event_type
            if type(event_id) is str:
                self.event_ids[row] = event_id
        return plain, others

    def _frame_of(self, rows: Sequence[int], decoding: Decoding) -> pd.DataFrame:
        if not rows:
            return pd.DataFrame()
        builder = DeadLetterFrameBuilder(decoding, headers=True)
        builder.add([self.entries[row] for row in rows])
        frame = builder.build()
        for texts, column in ((self.event_types, "event_type"), (self.event_ids, _ID)):
            for row, text in zip(rows, frame[column].tolist(), strict=True):
                texts[row] = text if isinstance(text, str) else None
        return frame

    def __len__(self) -> int:
        return len(self.entries)

    def parts(self) -> list[tuple[Places, PlainEntries | Columns]]:
        """What conditions look at, each part with the places of its entries."""
        parts: list[tuple[Places, PlainEntries | Columns]] = []
        if len(self._plain):
            parts.append((self._plain, PlainEntries(self._heads(), PlainEvents(self._events))))
        if len(self._others):
            parts.append((self._others, Columns.of(self._frame)))
        return parts

    def _heads(self) -> Columns:
        """The columns of the plain entries themselves, as they are in a frame."""
        rows = self._plain.tolist()
        heads = [self.heads[row] for row in rows]
        texts = zip(*map(_texts_of, heads), strict=True)
        arrays = {name: text_array(each) for name, each in zip(TEXTS, texts, strict=True)}
        arrays[ENTRY_ID] = pa.array(
            [self.ids[row] for row in rows], pa.binary(16), memory_pool=POOL
        )
        numbers = {
            "attempts": [bounded(entry.attempts) for entry in heads],
            "replay_count": [self.replays[row] for row in rows],
        }
        for name, each in numbers.items():
            arrays[name] = pa.array(each, pa.int64(), memory_pool=POOL)
        for name, moments in zip(("first_failed_at", "last_failed_at"), self.times, strict=True):
            times = moments[self._plain].view("datetime64[us]")
            arrays[name] = pa.array(times, pa.timestamp("us", tz="UTC"), memory_pool=POOL)
        found = [self.entries[row].headers for row in rows]
        any_values: dict[str, list[Any]] = {
            HEADERS: [dict(headers) if headers else None for headers in found]
        }
        if self._problems:
            problems = [self._problems.get(row, (None, None)) for row in rows]
            arrays["decode_error"] = text_array([problem for problem, _ in problems])
            any_values["raw"] = [data for _, data in problems]
        return Columns(arrays, any_values)
