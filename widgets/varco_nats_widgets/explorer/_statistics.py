"""What is in a channel, counted: event types, sizes, fields and their values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.explorer._field_counts import (
    FieldCounts,
    field_table,
    value_rows,
)
from varco_nats_widgets.explorer._numbers import Histogram, Spread, as_times
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._frames import Block
from varco_nats_widgets.frames._payload import flatten
from varco_nats_widgets.frames._times import NAT, Micros

BUCKETS = 120
"""Points of the rate chart."""

_BROKEN = "(not readable)"
_UNTYPED = "(no type)"
_BLOCK = 2048  # messages that are counted together
_KNOWN_LAYOUTS = 1000
_MAX_FIELDS = 500
_MAX_TYPES = 200
_NUMBERS = 4_000_000  # that are kept of all fields together, for medians and histograms
_HEADER = "headers."

type Rates = dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""Messages a second over time for each channel: times in seconds since 1970, and rates. All have
the same times."""


@dataclass(frozen=True)
class Statistics:
    """Of the newest messages of one or several channels."""

    channels: tuple[str, ...]
    messages: int
    """How many were counted."""
    total: int
    """How many the channels hold."""
    broken: int
    """Those that are no JSON object."""
    first_time: pd.Timestamp | None
    """When the oldest of those counted was stored."""
    last_time: pd.Timestamp | None
    event_types: pd.DataFrame
    """Index `event_type`; columns `messages`, `share` (0 to 1), `bytes` (of payload)."""
    sizes: pd.Series[float]
    """Bytes of a payload: `min`, `median`, `mean`, `p95`, `max`, `sum`."""
    fields: pd.DataFrame
    """Index `field`; columns `present` (share of the readable messages that have it, 0 to 1),
    `kinds` (such as `text 90%, null 10%`), `different` (values; missing where they are over 2,000),
    `most_frequent`; of numbers `min`, `median` and `max`; of numbers and times `histogram` (as
    text); where most values are times, `unit` (`ISO 8601`, `s`, `ms`, `us`, `ns` since 1970, or
    `time` for what the decoder gave as one), `earliest` and `latest` (UTC). Numbers count as times
    if they are of the years 2000 to 2100, and within 30 days of when their messages were stored or
    in a field that is called after a time, such as `created_at`."""
    headers: pd.DataFrame
    """The same for headers: index `header`, `present` as a share of all messages."""
    values: pd.DataFrame
    """The ten most frequent values of each field, the fields that vary least first; columns
    `field`, `value`, `messages`, `share` (of the messages that have the field). Then those of
    headers, as `headers.<name>`."""
    histograms: dict[str, Histogram]
    """Of each field of numbers: the edges of bins of equal width, and the numbers in each. Of each
    field of times as text, such as `timestamp`, the same with times as edges (`datetime64`, UTC);
    of such headers, as `headers.<name>`."""
    sampled: tuple[str, ...]
    """Fields with so many numbers or times that their median and histogram are of some of them,
    chosen at random. All others, and every minimum and maximum, are exact for what was counted."""
    rates: Rates

    def __repr__(self) -> str:
        return f"Statistics({', '.join(self.channels)})"

    def summary(self) -> str:
        """The figures in one line of text."""
        if not self.messages:
            return "no messages"
        part = "all" if self.messages >= self.total else "the newest"
        of = "" if self.messages >= self.total else f"{self.messages:,} of "
        sizes = self.sizes
        shown = counted(self.total if of else self.messages, "message")
        sampled = ""
        if self.sampled:
            fields = counted(len(self.sampled), "field")
            sampled = f" · medians and histograms of {fields} from a part chosen at random"
        named = len(self.event_types.index.difference([_BROKEN, _UNTYPED]))
        types = f" · {counted(named, 'event type')}" if named else ""
        return (
            f"{part} {of}{shown}{types} · "
            f"{self.broken:,} not readable · payload {sizes['min']:,.0f} to "
            f"{sizes['max']:,.0f} bytes, median {sizes['median']:,.0f}, 95% up to "
            f"{sizes['p95']:,.0f}{sampled}"
        )


class StatisticsBuilder:
    """Counts messages, in memory that grows by 20 bytes with each.

    Args:
        decoding: how messages are read.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._types: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._fields: dict[str, FieldCounts] = {}
        self._headers: dict[str, FieldCounts] = {}
        self._layouts: dict[Any, tuple[str, ...]] = {}
        self._subjects: dict[str, int] = {}
        self._places: list[npt.NDArray[np.int32]] = []  # of each message's subject in `_subjects`
        self._times: list[npt.NDArray[np.int64]] = []
        self._sizes: list[npt.NDArray[np.int64]] = []
        self._count = self._broken = 0

    def __len__(self) -> int:
        return self._count

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Count these too."""
        for some in batched(messages, _BLOCK):
            subjects = self._subjects
            places = [subjects.setdefault(message.subject, len(subjects)) for message in some]
            self._places.append(np.array(places, dtype=np.int32))
            times = np.array([message.time_ns for message in some], dtype=np.int64)
            self._times.append(times)
            sizes = [len(message.data) for message in some]
            self._sizes.append(np.array(sizes, dtype=np.int64))
            self._count += len(some)
            events, problems = self._decoding.decode_all(some)
            self._broken += len(problems)
            block = Block(events)
            self._add_types(block.texts["event_type"], sizes, problems)
            # numbers of a field are kept for as long as there is room
            known = (*self._fields.values(), *self._headers.values())
            room = _NUMBERS // max(1, sum(counts.kept for counts in known))
            self._add_fields(block, times // 1000, room)
            self._add_headers(some, times // 1000, room)

    def _add_types(
        self, types: Sequence[str | None], sizes: Sequence[int], problems: Collection[int]
    ) -> None:
        for row, (name, size) in enumerate(zip(types, sizes, strict=True)):
            event_type = _BROKEN if row in problems else name or _UNTYPED
            if event_type not in self._types and len(self._types) >= _MAX_TYPES:
                event_type = "(others)"
            self._types[event_type] += 1
            self._bytes[event_type] += size

    def _add_fields(self, block: Block, stored_at: Micros, room: int) -> None:
        ids = block.texts["event_id"]
        rows = [row for row, value in enumerate(ids) if value is not None]
        if rows and (counts := _counts_of(self._fields, "event_id")) is not None:
            counts.add([ids[row] for row in rows], stored_at[rows], room)
        timed = np.flatnonzero(block.times != NAT)
        if len(timed) and (counts := _counts_of(self._fields, "timestamp")) is not None:
            texts = [block.time_texts[row] or "" for row in timed.tolist()]
            counts.add_times(texts, block.times[timed], room)
        for part in block.parts():
            stored = stored_at if len(part.rows) == block.rows else stored_at[part.rows]
            names = self._layouts.get(part.layout)
            if names is None:
                if len(self._layouts) >= _KNOWN_LAYOUTS:
                    self._layouts.clear()
                names = self._layouts[part.layout] = tuple(flatten(part.example))
            for name, values in zip(names, part.columns, strict=True):
                if (counts := _counts_of(self._fields, name)) is not None:
                    counts.add(values, stored, room)

    def _add_headers(self, messages: Sequence[StoredMessage], stored_at: Micros, room: int) -> None:
        found: dict[str, tuple[list[int], list[str]]] = {}
        for row, message in enumerate(messages):
            for name, value in (self._decoding.headers(message.headers) or {}).items():
                rows, values = found.setdefault(name, ([], []))
                rows.append(row)
                values.append(value)
        for name, (rows, values) in found.items():
            if (counts := _counts_of(self._headers, name)) is not None:
                counts.add(values, stored_at[rows], room)

    def build(self, channels: Iterable[str], total: int) -> Statistics:
        """The statistics of what was added; `total` is how many messages there are."""
        times = np.concatenate([np.empty(0, dtype=np.int64), *self._times])
        spreads = {
            name: spread
            for name, counts in self._fields.items()
            if (spread := counts.spread()) is not None
        }
        of_times, of_header_times = _of_times(self._fields), _of_times(self._headers)
        drawn = of_times | {_HEADER + name: spread for name, spread in of_header_times.items()}
        return Statistics(
            channels=tuple(channels),
            messages=len(self),
            total=max(total, len(self)),
            broken=self._broken,
            first_time=pd.Timestamp(int(times.min()), tz="UTC") if len(times) else None,
            last_time=pd.Timestamp(int(times.max()), tz="UTC") if len(times) else None,
            event_types=self._event_types(),
            sizes=_sizes(self._sizes),
            fields=field_table(self._fields, spreads, of_times, len(self) - self._broken, "field"),
            headers=field_table(self._headers, {}, of_header_times, len(self), "header"),
            values=pd.DataFrame(
                [*value_rows(self._fields), *value_rows(self._headers, _HEADER)],
                columns=["field", "value", "messages", "share"],
            ),
            histograms={name: spread.histogram for name, spread in spreads.items()}
            | {name: as_times(spread.histogram) for name, spread in drawn.items()},
            sampled=tuple(name for name, spread in (spreads | drawn).items() if spread.sampled),
            rates=self._rates(times),
        )

    def _event_types(self) -> pd.DataFrame:
        ranked = self._types.most_common()
        return pd.DataFrame(
            {
                "messages": [count for _, count in ranked],
                "share": [round(count / len(self), 4) for _, count in ranked],
                "bytes": [self._bytes[name] for name, _ in ranked],
            },
            index=pd.Index([name for name, _ in ranked], name="event_type", dtype=object),
        )

    def _rates(self, times: npt.NDArray[np.int64]) -> Rates:
        if not len(times):
            return {}
        start = int(times.min())
        duration = int(times.max()) - start
        width = max(duration // BUCKETS + 1, 1_000_000)  # nanoseconds, of which 1 ms is the least
        count = duration // width + 1
        centres = (np.arange(count, dtype=np.float64) + 0.5) * (width / 1e9) + start / 1e9
        bins = np.concatenate(self._places) * count + (times - start) // width
        counts = np.bincount(bins, minlength=len(self._subjects) * count).reshape(-1, count)
        return {
            self._decoding.channel_of(subject): (centres, counts[place] / (width / 1e9))
            for subject, place in self._subjects.items()
        }


def _counts_of(known: dict[str, FieldCounts], name: str) -> FieldCounts | None:
    """What is counted of this field or header; None where there are too many others."""
    counts = known.get(name)
    if counts is None and len(known) < _MAX_FIELDS:
        counts = known[name] = FieldCounts()
    return counts


def _of_times(found: Mapping[str, FieldCounts]) -> dict[str, Spread]:
    """How the times are distributed in those whose values are times as text."""
    return {
        name: spread
        for name, counts in found.items()
        if (spread := counts.spread_of_times(name)) is not None
    }


def _sizes(sizes: Sequence[npt.NDArray[np.int64]]) -> pd.Series[float]:
    values = pd.Series(np.concatenate(sizes) if sizes else [0], dtype="float64", name="bytes")
    found = values.agg(["min", "median", "mean", "max", "sum"])
    found["p95"] = values.quantile(0.95)
    return found[["min", "median", "mean", "p95", "max", "sum"]]
