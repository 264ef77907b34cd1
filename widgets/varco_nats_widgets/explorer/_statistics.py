"""What is in a channel, counted: event types, sizes, fields and their values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._conditions import as_text
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._payload import flatten, take_apart

BUCKETS = 120
"""Points of the rate chart."""

MAX_VALUES = 2000
"""Different values counted in one field."""

_BROKEN = "(not readable)"
_UNTYPED = "(no type)"
_MAX_FIELDS = 500
_MAX_TYPES = 200
_VALUE_LENGTH = 80
_TOP = 10
_KINDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "list",
    dict: "object",
}


@dataclass(frozen=True)
class Statistics:
    """Of the newest messages of one or several channels."""

    channels: tuple[str, ...]
    messages: int
    """How many were counted."""
    total: int
    """How many the channels hold."""
    broken: int
    """Those that could not be decoded."""
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
    `most_frequent`."""
    values: pd.DataFrame
    """The ten most frequent values of each field, the fields that vary least first; columns
    `field`, `value`, `messages`, `share` (of the messages that have the field)."""
    rates: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    """Messages a second over time for each channel: times in seconds since 1970, and rates."""

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
        return (
            f"{part} {of}{shown} · {counted(len(self.event_types), 'event type')} · "
            f"{self.broken:,} not readable · payload {sizes['min']:,.0f} to "
            f"{sizes['max']:,.0f} bytes, median {sizes['median']:,.0f}, 95% up to "
            f"{sizes['p95']:,.0f}"
        )


@dataclass(slots=True)
class _Field:
    present: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    full: bool = False


class StatisticsBuilder:
    """Counts messages, in memory that does not grow with how many there are but for times.

    Args:
        decoding: how messages are read.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._types: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._fields: dict[str, _Field] = {}
        self._times: dict[str, list[int]] = {}
        self._sizes: list[int] = []
        self._broken = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Count these too."""
        for message in messages:
            self._times.setdefault(message.subject, []).append(message.time_ns)
            self._sizes.append(len(message.data))
            decoded = self._decoding.decode(message)
            fields = take_apart(decoded.event)
            event_type = fields.event_type or _UNTYPED
            if decoded.problem is not None:
                self._broken += 1
                event_type = _BROKEN
            if event_type not in self._types and len(self._types) >= _MAX_TYPES:
                event_type = "(others)"
            self._types[event_type] += 1
            self._bytes[event_type] += len(message.data)
            for name in ("event_id", "timestamp"):
                if (value := getattr(fields, name)) is not None:
                    self._count(name, value)
            for name, value in flatten(fields.payload).items():
                self._count(name, value)

    def _count(self, name: str, value: object) -> None:
        known = self._fields.get(name)
        if known is None:
            if len(self._fields) >= _MAX_FIELDS:
                return
            known = self._fields[name] = _Field()
        known.present += 1
        known.kinds[_KINDS.get(type(value), "other")] += 1
        if value is None:
            return
        text = clean(as_text(value)[:_VALUE_LENGTH])
        if text in known.values or len(known.values) < MAX_VALUES:
            known.values[text] += 1
        else:
            known.full = True

    def build(self, channels: Iterable[str], total: int) -> Statistics:
        """The statistics of what was added; `total` is how many messages there are."""
        times = [time for stored_at in self._times.values() for time in stored_at]
        readable = len(self) - self._broken
        return Statistics(
            channels=tuple(channels),
            messages=len(self),
            total=max(total, len(self)),
            broken=self._broken,
            first_time=pd.Timestamp(min(times), tz="UTC") if times else None,
            last_time=pd.Timestamp(max(times), tz="UTC") if times else None,
            event_types=self._event_types(),
            sizes=_sizes(self._sizes),
            fields=self._field_table(readable),
            values=self._value_table(),
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

    def _field_table(self, readable: int) -> pd.DataFrame:
        found = self._fields
        return pd.DataFrame(
            {
                "present": [round(counts.present / readable, 4) for counts in found.values()],
                "kinds": [_kinds(counts) for counts in found.values()],
                "different": pd.array(
                    [None if counts.full else len(counts.values) for counts in found.values()],
                    dtype="Int64",
                ),
                "most_frequent": [
                    counts.values.most_common(1)[0][0] if _repeats(counts) else ""
                    for counts in found.values()
                ],
            },
            index=pd.Index(list(found), name="field", dtype=object),
        )

    def _value_table(self) -> pd.DataFrame:
        telling = [(name, counts) for name, counts in self._fields.items() if _repeats(counts)]
        telling.sort(key=lambda item: -max(item[1].values.values()) / item[1].present)
        rows = [
            (name, value, count, round(count / counts.present, 4))
            for name, counts in telling
            for value, count in counts.values.most_common(_TOP)
        ]
        return pd.DataFrame(rows, columns=["field", "value", "messages", "share"])

    def _rates(
        self, times: list[int]
    ) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        if not times:
            return {}
        start, duration = min(times), max(times) - min(times)
        width = max(duration // BUCKETS + 1, 1_000_000)  # nanoseconds, of which 1 ms is the least
        count = duration // width + 1
        centres = (np.arange(count, dtype=np.float64) + 0.5) * (width / 1e9) + start / 1e9
        rates = {}
        for subject, stored_at in self._times.items():
            places = (np.array(stored_at, dtype=np.int64) - start) // width
            counts = np.bincount(places, minlength=count)
            rates[self._decoding.channel_of(subject)] = (centres, counts / (width / 1e9))
        return rates


def _repeats(counts: _Field) -> bool:
    """Whether "most frequent" says anything: ids are all different."""
    return bool(counts.values) and counts.values.most_common(1)[0][1] > 1


def _kinds(counts: _Field) -> str:
    ranked = counts.kinds.most_common()
    if len(ranked) == 1:
        return ranked[0][0]
    return ", ".join(f"{kind} {_percent(count / counts.present)}" for kind, count in ranked)


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def _sizes(sizes: list[int]) -> pd.Series[float]:
    values = pd.Series(sizes or [0], dtype="float64", name="bytes")
    found = values.agg(["min", "median", "mean", "max", "sum"])
    found["p95"] = values.quantile(0.95)
    return found[["min", "median", "mean", "p95", "max", "sum"]]
