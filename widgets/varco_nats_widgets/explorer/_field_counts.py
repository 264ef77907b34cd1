"""What is counted of a field or a header: kinds, frequent values, numbers, times. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats_widgets.explorer._numbers import Numbers, Spread, as_floats
from varco_nats_widgets.frames._columns import clean, column_of, objects, strings, utc_index
from varco_nats_widgets.frames._conditions import as_text
from varco_nats_widgets.frames._times import (
    ISO,
    NAT,
    UNITS,
    YEAR_2000,
    Micros,
    as_micros,
    in_unit,
    iso_times,
    moment_of,
)

MAX_VALUES = 2000
"""Different values counted in one field."""

_VALUE_LENGTH = 80
_TOP = 10
_MOST = 0.9  # of the values of a field of times are times
_NEAR = 30 * 86_400 * 10**6  # microseconds
_NOTHING = type(None)
_KINDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    _NOTHING: "null",
    list: "list",
    dict: "object",
    bytes: "bytes",
    datetime: "time",
    date: "date",
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_UNIT_WORDS = frozenset(
    ("s", "sec", "secs", "seconds", "ms", "millis", "us", "micros", "ns", "nanos", "utc")
)
_TIME_WORDS = frozenset(
    (
        *("at", "born", "created", "date", "datetime", "deadline", "due", "epoch", "exp"),
        *("expires", "expiry", "iat", "modified", "nbf", "since", "stamp", "time", "times"),
        *("timestamp", "ts", "unix", "until", "updated", "when"),
    )
)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Of a field whose values are times."""

    unit: str
    """`ISO 8601`, `s`, `ms`, `us`, `ns`, or `time` for what the decoder gave as a time."""
    earliest: int
    """In microseconds since 1970."""
    latest: int


class FieldCounts:
    """Counts the values of one field."""

    __slots__ = ("_times", "full", "kinds", "moments", "numbers", "present", "values")

    def __init__(self) -> None:
        self.present = 0
        self.kinds: Counter[str] = Counter()
        self.numbers: Numbers | None = None
        """Those among the values, if there are any."""
        self.moments: Numbers | None = None
        """The values that are times and no numbers, in microseconds since 1970, if any are."""
        self.full = False
        """Whether there are more than `MAX_VALUES` different values."""
        self.values: Counter[Any] = Counter()  # texts, and numbers as they are
        self._times: dict[str, _Times] = {}

    def add(self, values: Sequence[Any], stored_at: Micros, room: int) -> None:
        """Count these too.

        Args:
            stored_at: when each one's message was stored.
            room: how many numbers may be kept.
        """
        self.present += len(values)
        kinds = Counter(map(type, values))
        for kind, count in kinds.items():
            self.kinds[_KINDS.get(kind, "other")] += count
        if len(kinds) == 1:
            self._add(next(iter(kinds)), values, stored_at, room)
            return
        for kind in kinds:
            rows = [row for row, value in enumerate(values) if type(value) is kind]
            self._add(kind, [values[row] for row in rows], stored_at[rows], room)

    def add_times(self, texts: Sequence[str], times: Micros, room: int) -> None:
        """Count texts that were read as these times already."""
        self.present += len(texts)
        self.kinds["text"] += len(texts)
        self._count(Counter(texts))
        self._add_moments(ISO, times, room)

    def _add(self, kind: type, values: Sequence[Any], stored_at: Micros, room: int) -> None:
        if kind is _NOTHING:
            return
        if kind is str:
            if max(map(len, values)) > _VALUE_LENGTH:
                values = [value[:_VALUE_LENGTH] for value in values]
            self._add_texts(Counter(values), room)
        elif kind is int or kind is float:
            numbers = as_floats(values)
            self.numbers = self.numbers or Numbers()
            self.numbers.add(values, numbers, room)
            self._count(Counter(values))
            self._find_times(values, numbers, stored_at)
        else:
            self._count(Counter([as_text(value)[:_VALUE_LENGTH] for value in values]))
            if issubclass(kind, date):
                times = np.array([moment_of(value) for value in values], dtype=np.int64)
                self._add_moments("time", times, room)

    def _add_texts(self, counted: Counter[str], room: int) -> None:
        self._count(counted)
        texts = [text for text in counted if text[4:5] == "-"]
        if texts:
            times = iso_times(texts)
            often = np.array([counted[text] for text in texts])
            read = times != NAT
            self._add_moments(ISO, np.repeat(times[read], often[read]), room)

    def _add_moments(self, unit: str, times: Micros, room: int) -> None:
        self._note(unit, times, len(times))
        if len(times):
            self.moments = self.moments or Numbers()
            self.moments.add(times.tolist(), times.astype(np.float64), room)

    def _find_times(
        self, values: Sequence[float], numbers: npt.NDArray[np.float64], stored_at: Micros
    ) -> None:
        if numbers.max() < YEAR_2000:
            return
        for unit in UNITS:
            within = in_unit(numbers, unit) & (numbers > 0)
            if within.any():
                chosen = np.flatnonzero(within)
                exact = np.array([values[row] for row in chosen.tolist()])  # within 64 bits
                times = as_micros(exact, unit)
                near = np.abs(times - stored_at[within]) <= _NEAR
                self._note(unit, times, len(times), int(near.sum()))

    def _note(self, unit: str, times: Micros, count: int, near: int = 0) -> None:
        if not len(times):
            return
        found = self._times.setdefault(unit, _Times())
        found.count += count
        found.near += near
        found.earliest = min(found.earliest, int(times.min()))
        found.latest = max(found.latest, int(times.max()))

    def _count(self, counted: Counter[Any]) -> None:
        known = self.values
        if not self.full and len(known) + len(counted) <= MAX_VALUES:
            known.update(counted)
            return
        for value in counted.keys() & known.keys():
            known[value] += counted.pop(value)
        for value, count in counted.items():
            if len(known) >= MAX_VALUES:
                self.full = True
                return
            known[value] = count

    def frequent(self, number: int) -> list[tuple[str, int]]:
        """The most frequent values as text, and how often each occurs."""
        texts: Counter[str] = Counter()
        for value, count in self.values.most_common(2 * number):
            texts[clean(as_text(value)[:_VALUE_LENGTH])] += count  # 3 and "3" are one text
        return texts.most_common(number)

    @property
    def kept(self) -> int:
        """How many collections of numbers it keeps."""
        return (self.numbers is not None) + (self.moments is not None)

    def spread(self) -> Spread | None:
        """How its numbers are distributed; None if there are none."""
        return None if self.numbers is None else self.numbers.spread()

    def spread_of_times(self, name: str) -> Spread | None:
        """The same, in microseconds, of the times of a field whose values are times as text."""
        known = self.time_range(name)
        is_text = known is not None and known.unit not in UNITS
        return self.moments.spread() if is_text and self.moments is not None else None

    @property
    def repeats(self) -> bool:
        """Whether "most frequent" says anything: ids are all different."""
        return max(self.values.values(), default=0) > 1

    def time_range(self, name: str) -> TimeRange | None:
        """The times that the field has, if most values are times.

        An integer can be an id or a price that looks like a time. So most numbers must be within
        30 days of when their messages were stored, or the field must be called after a time.
        """
        values = self.present - self.kinds["null"]
        for unit, found in self._times.items():
            if found.count < _MOST * values:
                continue
            if unit not in UNITS or found.near >= _MOST * values or _says_time(name):
                return TimeRange(unit, found.earliest, found.latest)
        return None


@dataclass(slots=True)
class _Times:
    """Of the values that are times in one unit."""

    count: int = 0
    near: int = 0
    """Those within 30 days of when their message was stored."""
    earliest: int = int(np.iinfo(np.int64).max)
    latest: int = NAT


def _says_time(name: str) -> bool:
    """Whether a field is called after a time: `created_at`, `eventTime`, `order.ts_ms`."""
    words = [word.lower() for word in _WORD.findall(name.rpartition(".")[2])]
    while len(words) > 1 and words[-1] in _UNIT_WORDS:
        words.pop()
    return bool(words) and words[-1] in _TIME_WORDS


def field_table(
    found: Mapping[str, FieldCounts],
    spreads: Mapping[str, Spread],
    of_times: Mapping[str, Spread],
    messages: int,
    index: str,
) -> pd.DataFrame:
    """A row for each field; the columns are those of `Statistics.fields`.

    Args:
        spreads: of the fields with numbers.
        of_times: of those whose values are times as text.
        messages: of which `present` is the share.
        index: the name of the index.
    """
    every = found.values()
    numbers = [spreads.get(name) for name in found]
    drawn = [of_times.get(name) or spreads.get(name) for name in found]
    times = [counts.time_range(name) for name, counts in found.items()]
    columns = {
        "present": [round(counts.present / messages, 4) for counts in every],
        "kinds": strings([_kinds(counts) for counts in every]),
        "different": pd.array(
            [None if counts.full else len(counts.values) for counts in every], dtype="Int64"
        ),
        "most_frequent": strings(
            [counts.frequent(1)[0][0] if counts.repeats else "" for counts in every]
        ),
        "min": objects([spread and spread.lowest for spread in numbers]),
        "median": column_of([spread and spread.median for spread in numbers]),
        "max": objects([spread and spread.highest for spread in numbers]),
        "histogram": strings([spread.sparkline if spread else "" for spread in drawn]),
        "unit": strings([known.unit if known else "" for known in times]),
        "earliest": utc_index(_micros([known.earliest if known else None for known in times])),
        "latest": utc_index(_micros([known.latest if known else None for known in times])),
    }
    return pd.DataFrame(columns, index=pd.Index(list(found), name=index, dtype=object))


def value_rows(
    found: Mapping[str, FieldCounts], prefix: str = ""
) -> list[tuple[str, str, int, float]]:
    """The frequent values of each field, those of the fields that vary least first."""
    telling = [(name, counts) for name, counts in found.items() if counts.repeats]
    telling.sort(key=lambda item: -max(item[1].values.values()) / item[1].present)
    return [
        (prefix + name, value, count, round(count / counts.present, 4))
        for name, counts in telling
        for value, count in counts.frequent(_TOP)
    ]


def _micros(times: Sequence[int | None]) -> Micros:
    return np.array([NAT if time is None else time for time in times], dtype=np.int64)


def _kinds(counts: FieldCounts) -> str:
    ranked = counts.kinds.most_common()
    if len(ranked) == 1:
        return ranked[0][0]
    return ", ".join(f"{kind} {_percent(count / counts.present)}" for kind, count in ranked)


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"
