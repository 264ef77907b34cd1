"""Dead letters as a DataFrame. Pure: no server, no event classes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import replays_of
from varco_nats.dlq._codec import UNREADABLE, StoredEntry
from varco_nats_widgets.dead_letters._index.filter import NOTHING_KEPT, event_message
from varco_nats_widgets.dead_letters._index.masked import stored_bytes
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._columns import (
    EARLIEST,
    EPOCH,
    LATEST,
    MICROSECOND,
    ColumnBuilder,
    column_of,
    microseconds,
    strings,
    utc_index,
)
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import HEADERS, Headers

TEXTS = {
    "channel": "channel",
    "handler": "handler_name",
    "error_type": "error_type",
    "error_message": "error_message",
    "source": "source",
    "source_ref": "source_ref",
    "tenant_id": "tenant_id",
}
"""Columns, with the attributes of an entry that they have as text."""

PAYLOAD = "data."
"""Before the name of each field of the payload."""

NOT_A_TIME = int(np.iinfo(np.int64).min)
"""Stands for no time, in microseconds since 1970."""


class DeadLetterFrameBuilder:
    """Collects entries and makes one DataFrame of them.

    Args:
        decoding: how the messages of channels are read, under the names of these.
        now: what the age of an entry is counted to; default the time of `build`.
        headers: which headers of the event there are, as in a `FrameBuilder`.
    """

    def __init__(
        self,
        decoding: Decoding,
        now: datetime | None = None,
        *,
        headers: Headers = False,
    ) -> None:
        self._now = now
        self._rows = 0
        self._ids = ColumnBuilder()
        self._texts = {name: ColumnBuilder() for name in TEXTS}
        self._attempts = array("q")
        self._replays = array("q")
        self._first = array("q")  # microseconds since 1970, as the last
        self._last = array("q")
        self._decoding = decoding
        self._events = FrameBuilder(decoding, headers=headers, prefix=PAYLOAD)
        self._unreadable: dict[int, tuple[str, bytes]] = {}

    def __len__(self) -> int:
        return self._rows

    def add(self, entries: Sequence[StoredEntry]) -> None:
        """Append one row for each entry."""
        if not entries:
            return
        first = self._rows
        heads = [stored.entry for stored in entries]
        self._ids.add(first, [str(entry.entry_id) for entry in heads])
        for name, attribute in TEXTS.items():
            values = [getattr(entry, attribute) for entry in heads]
            self._texts[name].add(first, [v if v is None else str(v) for v in values])
        self._attempts.extend(bounded(entry.attempts) for entry in heads)
        self._replays.extend(bounded(replays_of(stored.headers)) for stored in entries)
        times = failure_times(heads)
        self._first.extend(times.first.tolist())
        self._last.extend(times.last.tolist())
        self._events.add([*self._messages(entries)])
        for row, stored in enumerate(entries):
            if stored.entry.error_type == UNREADABLE:
                problem = stored.entry.error_message
                self._unreadable[first + row] = (problem, stored_bytes(stored, self._decoding))
        self._rows += len(entries)

    def _messages(self, entries: Sequence[StoredEntry]) -> Iterator[StoredMessage]:
        """The events of entries, {} for bytes that are no JSON, which would hold up the others."""
        for row, stored in enumerate(entries, self._rows):
            message = event_message(stored)
            if self._decoding.is_plain and message.data[:1] != b"{":
                problem = self._decoding.decode(message).problem
                if problem is not None:
                    self._unreadable[row] = (problem, self._decoding.raw(message))
                    message = message._replace(data=NOTHING_KEPT)
            yield message

    def build(self) -> pd.DataFrame:
        """The frame, its index `entry_id` in the order in which the entries were added."""
        rows = self._rows
        events = self._events.build()
        first, last = np.array(self._first), np.array(self._last)
        now = microseconds(self._now or datetime.now(UTC))
        texts = {name: self._text_column(name) for name in TEXTS}
        columns: dict[str, Any] = {
            "channel": texts["channel"],
            "event_type": events["event_type"].array,
            "event_id": events["event_id"].array,
            "handler": texts["handler"],
            "error_type": texts["error_type"],
            "error_message": texts["error_message"],
            "attempts": np.array(self._attempts),
            "first_failed_at": utc_index(first),
            "last_failed_at": utc_index(last),
            "age": pd.TimedeltaIndex((now - last).view("timedelta64[us]")),
            "source": texts["source"],
            "source_ref": texts["source_ref"],
            "tenant_id": texts["tenant_id"],
            "replay_count": np.array(self._replays),
            "timestamp": events["timestamp"].array,
        }
        own = events.attrs.get(HEADERS, [])
        columns |= {name: events[name].array for name in own}
        payload = [name for name in events.columns if name.startswith(PAYLOAD)]
        columns |= {name: events[name].array for name in payload}
        columns |= self._problems(events)
        ids = self._ids.finish(rows) if rows else strings([])
        frame = pd.DataFrame(columns, index=pd.Index(ids, name="entry_id"), copy=False)
        frame.attrs |= events.attrs
        return frame

    def _text_column(self, name: str) -> Any:
        column = self._texts[name]
        return column.finish(self._rows) if column.has_values else strings([None] * self._rows)

    def _problems(self, events: pd.DataFrame) -> dict[str, Any]:
        """Why rows could not be read, and their bytes, where there are any."""
        if "decode_error" not in events and not self._unreadable:
            return {}
        problems: list[Any] = [None] * self._rows
        raw: list[Any] = [None] * self._rows
        if "decode_error" in events:
            found = events["decode_error"]
            for row in np.flatnonzero(found.notna().to_numpy()).tolist():
                problems[row], raw[row] = found.iloc[row], events["raw"].iloc[row]
        for row, (problem, data) in self._unreadable.items():
            problems[row], raw[row] = problem, data
        return {"decode_error": strings(problems), "raw": column_of(raw)}


def frame_of(entries: Sequence[StoredEntry], decoding: Decoding) -> pd.DataFrame:
    """A frame of these entries."""
    builder = DeadLetterFrameBuilder(decoding)
    builder.add(entries)
    return builder.build()


class FailureTimes(NamedTuple):
    """When entries failed, in microseconds since 1970."""

    first: npt.NDArray[np.int64]
    """`NOT_A_TIME` where only the last of several failures is known."""
    last: npt.NDArray[np.int64]


def failure_times(heads: Sequence[DeadLetterEntry]) -> FailureTimes:
    """When these entries failed; as `microseconds` and `first_failure` say of each."""
    first = np.array([(e.first_failed_at - EPOCH) // MICROSECOND for e in heads], dtype=np.int64)
    last = np.array([(e.last_failed_at - EPOCH) // MICROSECOND for e in heads], dtype=np.int64)
    several = np.array([entry.attempts > 1 for entry in heads], dtype=bool)
    is_unknown = several & (first == last)
    first, last = first.clip(EARLIEST, LATEST), last.clip(EARLIEST, LATEST)
    return FailureTimes(np.where(is_unknown, NOT_A_TIME, first), last)


def bounded(value: int) -> int:
    return min(max(value, -(2**62)), 2**62)
