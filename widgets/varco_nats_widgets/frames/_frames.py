"""Stored messages as a DataFrame. Pure: no server, no event classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from varco_nats.history import Batch, StoredMessage
from varco_nats_widgets.frames._arrow_json import PlainReader
from varco_nats_widgets.frames._columns import (
    ColumnBuilder,
    Growing,
    column_of,
    event_times,
    strings,
)
from varco_nats_widgets.frames._decoding import ChannelOf, Decoding
from varco_nats_widgets.frames._headers import HEADERS, HeaderColumns, Headers, taken_with
from varco_nats_widgets.frames._payload import (
    MORE,
    OWN,
    flatten,
    layout,
    may_be_envelope,
    take_apart,
    with_time_as_field,
)

MAX_FIELDS = 1000
"""The most columns that the payload gets. Further fields are in `data.more`, a dict in each row;
a field of that name is renamed."""

_BLOCK = 2048  # rows that are turned into columns together by the exact way
_FEW = 256  # rows that are not worth more than the exact way
_READING = 2  # blocks that are read at a time while `add` goes on
_KNOWN_LAYOUTS = 1000
_TEXTS = ("channel", "event_type", "event_id")


class FrameBuilder:
    """Collects messages and makes one DataFrame of them.

    Args:
        channel_of: the channel of a subject, for JSON; or how a lab reads messages.
        event_types: the types to keep; None keeps all.
        headers: whether there is a column `headers`, with a dict or None in each row; or the names
            of headers, each of which gets a column of text.
        known: payload fields that come first, even if no message has them.
        prefix: goes before the name of each field of the payload, such as `data.`.
    """

    def __init__(
        self,
        channel_of: ChannelOf | Decoding,
        event_types: Collection[str] | None = None,
        *,
        headers: Headers = False,
        known: Iterable[str] = (),
        prefix: str = "",
    ) -> None:
        self._decoding = Decoding.of(channel_of)
        self._used: dict[str, set[str]] = {}  # decoders by channel
        self._prefix = prefix
        self._event_types = frozenset(event_types) if event_types is not None else None
        self._headers = HeaderColumns(headers)
        # with a prefix, `data.more` is the only other column that a field could be called
        self._taken: Collection[str] = (
            {MORE.removeprefix(prefix)} if prefix else taken_with(headers)
        )
        self._plain = PlainReader(self._taken, prefix)
        self._reading: deque[tuple[Batch, Future[Any]]] = deque()
        # messages that are not columns yet
        self._messages: list[StoredMessage] = []
        self._events: list[dict[str, Any]] = []
        self._problems: dict[int, str] = {}
        self._rows = 0  # in the columns
        self._seqs = Growing(np.int64)
        self._times = Growing(np.int64)
        self._timestamps = Growing(np.int64)
        self._texts = {name: ColumnBuilder() for name in _TEXTS}
        self._fields = {name: ColumnBuilder() for name in known}
        self._more: dict[int, dict[str, Any]] = {}
        self._layouts: dict[Any, tuple[str, ...]] = {}
        self._broken: dict[int, tuple[str, bytes]] = {}
        self.filtered = 0
        """Messages that `event_types` left out."""

    def __len__(self) -> int:
        return self._rows + len(self._messages) + sum(len(part) for part, _ in self._reading)

    def add(self, messages: Iterable[StoredMessage], limit: int | None = None) -> None:
        """Append one row for each message; stop when there are `limit` rows."""
        some = messages if isinstance(messages, Batch) else Batch.of(messages)
        start = 0
        while start < len(some):
            room = len(some) if limit is None else limit - len(self)
            if room <= 0:
                return
            part = some[start : start + self._plain.rows]
            start += len(part)
            if self._event_types is None:
                part = part[:room]
            if self._plain.is_ready and len(part) >= _FEW and self._decoding.is_plain:
                self._reading.append((part, self._plain.start(part.payloads)))
                # with types to keep, the number of rows is known only when they are read
                self._finish(room, leave=_READING if self._event_types is None else 0)
            else:
                self._finish(room)
                self._take_exactly(part, room)

    def _finish(self, room: int = 0, *, leave: int = 0) -> None:
        """Make columns of the blocks that are being read, except the last ones."""
        while len(self._reading) > leave:
            part, reading = self._reading.popleft()
            tables = reading.result()
            if tables is None or not self._take_plain(part, tables, room):
                self._plain.refused()
                self._take_exactly(part, room)

    def _take_plain(self, part: Batch, tables: Any, room: int) -> bool:
        """Add rows of a block; returns whether they are surely those of the exact way."""
        self._make_columns()
        chosen, rows = part, None
        if self._event_types is not None:
            rows = self._plain.chosen(tables, len(part), self._event_types)[:room]
            chosen = Batch.of([part[row] for row in rows.tolist()])
        block = self._plain.block(tables, part.payloads, self._fields, rows)
        if block is None:
            return False
        if rows is not None:
            seen = int(rows[-1]) + 1 if len(rows) == room else len(part)
            self.filtered += seen - len(rows)
            if not chosen:
                return True
        first = self._rows
        self._add_common(chosen)
        self._timestamps.add(block.times)
        for builders, columns in ((self._texts, block.texts), (self._fields, block.fields)):
            for name, values in columns.items():
                if isinstance(values, list):
                    builders[name].add(first, values)
                else:
                    builders[name].add_arrow(first, values)
        return True

    def _take_exactly(self, part: Batch, room: int) -> None:
        """Append rows by the exact way, which makes an object of each event."""
        learn = len(part) >= _FEW and self._decoding.is_plain and self._plain.is_due(len(part))
        for start in range(0, len(part), _BLOCK):
            some: Sequence[StoredMessage] = part[start : start + _BLOCK]
            events, problems = self._decoding.decode_all(some, self._used)
            if learn:
                self._plain.learn(events)
            if self._event_types is not None:
                some, events, problems = self._chosen(some, events, problems, room)
                room -= len(some)
            waiting = len(self._messages)
            self._messages += some
            self._events += events
            self._problems |= {waiting + row: problem for row, problem in problems.items()}
            if len(self._messages) >= _BLOCK:
                self._make_columns()

    def _chosen(
        self,
        messages: Sequence[StoredMessage],
        events: list[dict[str, Any]],
        problems: dict[int, str],
        room: int,
    ) -> tuple[list[StoredMessage], list[dict[str, Any]], dict[int, str]]:
        """The first `room` messages of the wanted types."""
        assert self._event_types is not None
        rows: list[int] = []
        for row, event in enumerate(events):
            if len(rows) == room:
                break
            if take_apart(event).event_type in self._event_types:
                rows.append(row)
            else:
                self.filtered += 1
        kept = {index: problems[row] for index, row in enumerate(rows) if row in problems}
        return [messages[row] for row in rows], [events[row] for row in rows], kept

    def _make_columns(self) -> None:
        """Turn the messages that wait into columns."""
        if not self._messages:
            return
        first, messages, block = self._rows, self._messages, Block(self._events)
        self._add_common(Batch.of(messages))
        self._timestamps.add(block.times)
        for name, values in block.texts.items():
            self._texts[name].add(first, values)
        for row, problem in self._problems.items():
            self._broken[first + row] = (problem, self._decoding.raw(messages[row]))
        self._add_fields(first, block)
        self._messages, self._events, self._problems = [], [], {}

    def _add_common(self, messages: Batch) -> None:
        """Add what is known of messages without their payloads."""
        first, rows = self._rows, len(messages)
        self._rows += rows
        self._seqs.add(messages.seqs)
        self._times.add(messages.times_ns)
        channels = [*map(self._decoding.channel_of, messages.subjects)]
        self._texts["channel"].add(first, channels)
        if self._headers:
            headers = messages.headers or [None] * rows
            self._headers.add(first, [*map(self._decoding.headers, headers)])

    def _add_fields(self, first: int, block: Block) -> None:
        columns: dict[str, Sequence[Any]] = {}
        for part in block.parts():
            for name, values in zip(self._names(part), part.columns, strict=True):
                if name not in self._fields:
                    if len(self._fields) >= MAX_FIELDS:
                        for row, value in zip(part.rows, values, strict=True):
                            self._more.setdefault(first + row, {})[name] = value
                        continue
                    self._fields[name] = ColumnBuilder()
                if len(part.rows) == block.rows:
                    columns[name] = values
                    continue
                column: Any = columns.get(name)
                if column is None:
                    column = columns[name] = [None] * block.rows
                for row, value in zip(part.rows, values, strict=True):
                    column[row] = value
        for name, values in columns.items():
            self._fields[name].add(first, values)

    def _names(self, part: _LayoutRows) -> tuple[str, ...]:
        names = self._layouts.get(part.layout)
        if names is None:
            if len(self._layouts) >= _KNOWN_LAYOUTS:
                self._layouts.clear()
            flat = flatten(part.example, self._taken)
            names = self._layouts[part.layout] = tuple(self._prefix + name for name in flat)
        return names

    def fields(self) -> Mapping[str, ColumnBuilder]:
        """The payload fields in order of appearance, with their values as they came."""
        self._finish()
        self._plain.rest()
        self._make_columns()
        return self._fields

    def build(self, *, last: bool = False) -> pd.DataFrame:
        """The frame, its index `seq` in the order in which the messages were added.

        Where decoders were given, its `attrs["decoders"]` has the names of those that were used by
        channel, such as `{"orders": "msgpack"}`.

        Args:
            last: whether no other frame is built afterwards. Then this one gets the columns
                themselves instead of copies, so that there is memory for them only once.
        """
        self._finish()
        self._plain.rest()
        self._make_columns()
        rows = self._rows
        columns: dict[str, Any] = {"stored_at": _utc(self._times.array(copy=not last), "ns")}
        for name, texts in self._texts.items():
            # these columns are text, even if no row has a value
            columns[name] = texts.finish(rows) if texts.has_values else strings([None] * rows)
        columns["timestamp"] = _utc(self._timestamps.array(copy=not last), "us")
        headers = self._headers.finish(rows)
        columns |= headers
        for name, column in self._fields.items():
            columns[name] = column.finish(rows, copy=not last)
        if self._more:
            columns[MORE] = column_of([self._more.get(row) for row in range(rows)])
        if self._broken:
            none = (None, None)
            columns["decode_error"] = strings([self._broken.get(r, none)[0] for r in range(rows)])
            columns["raw"] = column_of([self._broken.get(r, none)[1] for r in range(rows)])
        index = pd.Index(self._seqs.array(copy=not last), name="seq", copy=False)
        frame = pd.DataFrame(columns, index=index, copy=False)
        if headers:
            frame.attrs[HEADERS] = [*headers]
        if self._used:
            used = {channel: ", ".join(sorted(names)) for channel, names in self._used.items()}
            frame.attrs["decoders"] = used
        return frame


class _LayoutRows(NamedTuple):
    """The rows of a block whose payloads have the same fields in the same order."""

    rows: Sequence[int]
    layout: Any
    example: dict[str, Any]
    columns: Sequence[Sequence[Any]]


class Block:
    """Some events taken apart into columns; those with the same keys at once, which is faster."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self.rows = len(events)
        self.texts: dict[str, list[Any]] = {
            name: [None] * self.rows for name in ("event_type", "event_id")
        }
        self.time_texts: list[str | None] = [None] * self.rows
        # events with the same keys in the same order and plain texts as id and type: their rows,
        # and the values by key
        self._groups: list[tuple[list[int], dict[str, Any]]] = []
        self._singles: dict[int, dict[str, Any]] = {}  # payloads of other events, by row
        self._sort(events)
        self.times, unreadable = event_times(self.time_texts)
        for row in unreadable:
            self._singles[row] = with_time_as_field(events[row], take_apart(events[row]))

    def _sort(self, events: Sequence[dict[str, Any]]) -> None:
        found: dict[tuple[str, ...], list[int]] = {}
        for row, event in enumerate(events):
            keys = tuple(event)
            rows = found.get(keys)
            if rows is None:
                found[keys] = [row]
            else:
                rows.append(row)
        for keys, rows in found.items():
            if not may_be_envelope(keys):
                alike = events if len(rows) == self.rows else [events[row] for row in rows]
                transposed = zip(*(event.values() for event in alike), strict=True)
                columns: dict[str, Any] = dict(zip(keys, transposed, strict=True))
                own = [columns[name] for name in OWN if name in columns]
                if all(set(map(type, values)) == {str} for values in own):
                    self._take_group(rows, columns)
                    continue
            for row in rows:
                fields = take_apart(events[row])
                self.texts["event_type"][row] = fields.event_type
                self.texts["event_id"][row] = fields.event_id
                self.time_texts[row] = fields.timestamp
                self._singles[row] = fields.payload

    def _take_group(self, rows: list[int], columns: dict[str, Any]) -> None:
        for key, name in OWN.items():
            if key in columns:
                target = self.time_texts if name == "timestamp" else self.texts[name]
                for row, value in zip(rows, columns.pop(key), strict=True):
                    target[row] = value
        self._groups.append((rows, columns))

    def parts(self) -> list[_LayoutRows]:
        """The fields of the payloads by layout, in the order of each layout's first row."""
        found: list[_LayoutRows] = []
        single = dict(self._singles)
        for rows, by_name in self._groups:
            names, columns = tuple(by_name), list(by_name.values())
            nested = any(dict in set(map(type, values)) for values in columns)
            if not nested and self._singles.keys().isdisjoint(rows):
                found.append(_LayoutRows(rows, (names,), dict.fromkeys(names), columns))
                continue
            rest = zip(*columns, strict=True) if columns else [()] * len(rows)
            for row, values in zip(rows, rest, strict=True):
                single.setdefault(row, dict(zip(names, values, strict=True)))
        found += _by_layout(single)
        return sorted(found, key=lambda part: part.rows[0])


def _by_layout(events: dict[int, dict[str, Any]]) -> Iterator[_LayoutRows]:
    """The same for payloads that may be nested, which are given by row."""
    found: dict[Any, tuple[list[int], dict[str, Any], list[list[Any]]]] = {}
    for row in sorted(events):
        values: list[Any] = []
        shape = layout(events[row], values)
        rows, _, leaves = found.setdefault(shape, ([], events[row], []))
        rows.append(row)
        leaves.append(values)
    for shape, (rows, example, leaves) in found.items():
        yield _LayoutRows(rows, shape, example, list(zip(*leaves, strict=True)))


def completeness(
    count: int, rows: int, filtered: int, truncated_by: str | None
) -> dict[str, int | str | None]:
    """Whether a frame has all that was asked for, in plain values that can be saved as JSON.

    Args:
        count: how many messages there were when the reading began.
        rows: how many rows the frame has.
        filtered: messages that were left out because they have another type.
        truncated_by: the limit that ended the reading early, if one did.
    """
    loaded = rows + filtered
    expected = max(count, loaded)
    cut = truncated_by if loaded < expected else None
    return {
        "expected": expected,
        "loaded": loaded,
        "filtered": filtered,
        "gaps": 0 if cut else expected - loaded,
        "truncated_by": cut,
    }


def _utc(times: Any, unit: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times, dtype=f"datetime64[{unit}, UTC]", copy=False)
