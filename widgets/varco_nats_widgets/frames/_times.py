"""Times in payloads: texts in ISO 8601, and numbers since 1970 in whatever unit. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.frames._columns import microseconds, utc_index

NAT = int(np.iinfo(np.int64).min)
"""No time, where times are microseconds since 1970."""

ISO = "ISO 8601"
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""The units of times that are numbers, and how many of each are a second."""

YEAR_2000, YEAR_2100 = 946_684_800, 4_102_444_800
"""Seconds since 1970; numbers between are in no more than one unit."""

_LEAST = 10_000_000  # seconds since 1970, so that small numbers are in no unit
_DIGITS = re.compile(r"\d{9,19}", re.ASCII)
_SHAPE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)? ?(?:Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_EXAMPLE_LENGTH = 60
_FIRST, _LAST = (
    microseconds(datetime.min.replace(tzinfo=UTC)),
    microseconds(datetime.max.replace(tzinfo=UTC)),
)

type Micros = npt.NDArray[np.int64]
"""Microseconds since 1970, `NAT` where there is no time."""


@dataclass(slots=True)
class TimesFound:
    """What became of the values of a column."""

    units: dict[str, int] = field(default_factory=dict)
    """Values by unit: `ISO 8601`, `s`, `ms`, `us`, `ns`, or `time` for what was one already."""
    wrong: int = 0
    """Values that are no times."""
    example: str = ""
    """The first of them."""

    def add(self, other: TimesFound) -> None:
        """Count these too."""
        for unit, count in other.units.items():
            self.note(unit, count)
        self.wrong += other.wrong
        self.example = self.example or other.example

    def note(self, unit: str, count: int) -> None:
        """Count values in this unit."""
        if count:
            self.units[unit] = self.units.get(unit, 0) + count


def times_of(values: Any) -> tuple[pd.DatetimeIndex, TimesFound]:
    """A column as times in UTC, to the microsecond, with NaT for missing values and for no times.

    Each number has the unit in which it is a time of the years 1970 to 2100, or, if it is
    negative, one as long before 1970. Numbers within ten million of 0 are none. A text is a date
    or a time in ISO 8601, in UTC unless it has an offset; or the digits of a number for a time of
    the years 2000 to 2100.

    Args:
        values: an array, or a column of a frame.
    """
    # with its type given, pandas does not try to make numbers of objects
    column = pd.Series(values, dtype=getattr(values, "dtype", None))
    found = TimesFound()
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        moments = pd.to_datetime(column, utc=True).dt.as_unit("us")
        found.note("time", int(moments.notna().sum()))
        return pd.DatetimeIndex(moments), found
    missing = column.isna().to_numpy()
    times = np.full(len(column), NAT, dtype=np.int64)
    for kind, rows, some in _by_kind(column, missing):
        for unit, within, converted in _converted(kind, some):
            times[rows[within]] = converted[within]
            found.note(unit, int(within.sum()))
    wrong = np.flatnonzero((times == NAT) & ~missing)
    found.wrong = len(wrong)
    if found.wrong:
        found.example = clean(repr(_plain(column.iloc[int(wrong[0])])), _EXAMPLE_LENGTH)
    return utc_index(times), found


def iso_times(texts: Sequence[str]) -> Micros:
    """Texts in ISO 8601 as times, in UTC unless they have an offset.

    A year or a month alone, or digits without a dash, are no times: an id may look like that.
    """
    times = np.full(len(texts), NAT, dtype=np.int64)
    rows = [row for row, text in enumerate(texts) if text[4:5] == "-" and _SHAPE.fullmatch(text)]
    if rows:
        wanted = pd.Series([texts[row].replace(",", ".") for row in rows], dtype="str")
        parsed = pd.to_datetime(wanted, utc=True, format="ISO8601", errors="coerce")
        parsed = parsed.dt.as_unit("us").dt.tz_localize(None)
        micros = parsed.to_numpy().view(np.int64)
        times[rows] = np.where((micros >= _FIRST) & (micros <= _LAST), micros, NAT)
    return times


def in_unit(
    numbers: npt.NDArray[Any], unit: str, earliest: int = YEAR_2000
) -> npt.NDArray[np.bool_]:
    """Which numbers, or their absolute values, are times in this unit from `earliest` to 2100."""
    size = np.abs(numbers)
    return np.asarray((size >= earliest * UNITS[unit]) & (size < YEAR_2100 * UNITS[unit]))


def as_micros(numbers: npt.NDArray[Any], unit: str) -> Micros:
    """Numbers in this unit in microseconds; those that are not finite give anything."""
    if numbers.dtype.kind == "i":
        with np.errstate(over="ignore"):  # of those that are in another unit
            return numbers // 1000 if unit == "ns" else numbers * (10**6 // UNITS[unit])
    with np.errstate(invalid="ignore", over="ignore"):
        return np.round(numbers * (1e6 / UNITS[unit])).astype(np.int64)


def moment_of(value: date) -> int:
    """A `datetime` or a `date` in microseconds since 1970, in UTC unless it has a zone."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return microseconds(value if value.tzinfo else value.replace(tzinfo=UTC))


def with_times(
    frame: pd.DataFrame, names: Iterable[str]
) -> tuple[pd.DataFrame, dict[str, TimesFound | None]]:
    """The frame with these columns as `times_of` gives them, and what became of each.

    Columns that are times already stay as they are.

    Returns:
        The frame, and by name what was found: None where there is no such column.
    """
    found: dict[str, TimesFound | None] = {}
    columns: dict[str, pd.DatetimeIndex] = {}
    for name in names:
        found[name] = None
        if name in frame.columns:
            times, found[name] = times_of(frame[name])
            if not isinstance(frame[name].dtype, pd.DatetimeTZDtype):
                columns[name] = times
    return frame.assign(**columns) if columns else frame, found


def add_found(known: dict[str, TimesFound | None], more: Mapping[str, TimesFound | None]) -> None:
    """Count in `known` what `with_times` found in more rows."""
    for name, found in more.items():
        before = known.get(name)
        if before is not None and found is not None:
            before.add(found)
        known[name] = before or found


def explained(name: str, found: TimesFound | None) -> str:
    """What is wrong with a field that was to be times, in a sentence; "" if nothing is.

    Args:
        found: None if no message has the field.
    """
    if found is None:
        return f"times={name!r}: no message has a field of this name"
    if not found.wrong:
        return ""
    every = found.wrong + sum(found.units.values())
    wrong = f"{found.wrong:,} of {every:,} values are not times, such as {found.example}"
    return f"times={name!r}: {wrong}"


def _by_kind(
    column: pd.Series[Any], missing: npt.NDArray[np.bool_]
) -> Iterable[tuple[type, npt.NDArray[np.intp], Any]]:
    """The values that are there by type, with their rows."""
    rows = np.flatnonzero(~missing)
    present = column[~missing]
    kind = {"i": int, "f": float}.get(column.dtype.kind)
    if kind is not None:
        yield kind, rows, present.to_numpy(dtype=np.int64 if kind is int else np.float64)
        return
    values = present.tolist()
    kinds = list(map(type, values))
    for each in set(kinds):
        places = [place for place, found in enumerate(kinds) if found is each]
        yield each, rows[places], [values[place] for place in places]


def _converted(kind: type, values: Any) -> Iterable[tuple[str, npt.NDArray[np.bool_], Micros]]:
    """For each unit, which of the values of this type are in it, and their times."""
    if kind is str:
        times = iso_times(values)
        yield ISO, times != NAT, times
        digits = [int(text) if _DIGITS.fullmatch(text) else 0 for text in values]
        if any(digits):
            numbers = np.array([n if n < 2**63 else 0 for n in digits], dtype=np.int64)
            for unit in UNITS:
                yield unit, in_unit(numbers, unit), as_micros(numbers, unit)
    elif kind in (int, float):
        if isinstance(values, list):
            values = np.array([v if -(2**63) <= v < 2**63 else 0 for v in values], dtype=kind)
        for unit in UNITS:
            yield unit, in_unit(values, unit, _LEAST), as_micros(values, unit)
    elif issubclass(kind, date):
        times = np.array([moment_of(value) for value in values], dtype=np.int64)
        yield "time", np.ones(len(times), dtype=np.bool_), times


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
