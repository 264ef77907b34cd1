"""Columns of a DataFrame: collected piece by piece in little memory, with exact values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from varco_nats_widgets.decoders._values import clean as clean

_INT64 = np.iinfo(np.int64)
_EXACT_FLOAT = 2**53
_NOTHING = type(None)
_MERGED = 16  # pieces at once
_ARROW: dict[type, Any] = {
    str: pa.large_string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}
_PYTHON = {arrow: kind for kind, arrow in _ARROW.items()}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
POOL = pa.system_memory_pool()
"""Arrow's own keeps much more than it needs when several threads make columns."""

_CLOCK = ("now", "today")  # which pandas reads as the time when it reads them
_NANOSECONDS = r"([.,]\d{6})\d{1,3}\b"
_TEXT: Any = pd.StringDtype(na_value=np.nan)
MASKED: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


class ColumnBuilder:
    """Collects the values of one column in pieces; rows that get no value have None."""

    __slots__ = ("_merged", "_pieces", "_rows", "_small", "_types")

    def __init__(self) -> None:
        self._pieces: list[Any] = []  # Arrow arrays, or lists of values that Arrow cannot hold
        self._merged = 0  # pieces that are large enough and stay as they are
        self._small = 0
        self._types: set[type] = set()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        """The values as they were added."""
        for piece in self._pieces:
            yield from piece if isinstance(piece, list) else piece.to_pylist()

    @property
    def has_values(self) -> bool:
        """Whether there is a value other than None."""
        return bool(self._types)

    def add(self, first: int, values: Sequence[Any]) -> None:
        """Put `values` at the rows from `first` on."""
        types = set(map(type, values))
        types.discard(_NOTHING)
        self._add(first, _packed(values, types), types)

    def add_arrow(self, first: int, array: Any) -> None:
        """The same for an Arrow array of a type that `add` would make of its values."""
        has_values = array.null_count < len(array)
        self._add(first, array, {_PYTHON[array.type]} if has_values else set())

    def _add(self, first: int, piece: Any, types: set[type]) -> None:
        self._fill_up(first)
        self._types |= types
        self._pieces.append(piece)
        self._rows += len(piece)
        self._small += 1
        if self._small >= _MERGED:
            self._merge()
            self._merged, self._small = len(self._pieces), 0

    def finish(self, rows: int) -> Any:
        """The array of `rows` values; the same as `column_of` would make of them."""
        self._fill_up(rows)
        arrow = self._arrow
        if arrow is None or any(isinstance(piece, list) for piece in self._pieces):
            return column_of(list(self))
        self._merge()
        # the frame shares the texts, so that they are in memory only once
        return to_pandas(pa.chunked_array(_typed(self._pieces, arrow), type=arrow))

    @property
    def _arrow(self) -> Any:
        return _ARROW.get(next(iter(self._types))) if len(self._types) == 1 else None

    def _merge(self) -> None:
        """Merge the last pieces into one, so that there are never many small ones."""
        last = self._pieces[self._merged :]
        if len(last) < 2 or self._arrow is None or any(isinstance(piece, list) for piece in last):
            return
        self._pieces[self._merged :] = [
            pa.concat_arrays(_typed(last, self._arrow), memory_pool=POOL)
        ]
        self._small = 1

    def _fill_up(self, rows: int) -> None:
        """Give rows without a value None, up to `rows` rows in all."""
        if rows > self._rows:
            self._pieces.append(pa.nulls(rows - self._rows))
            self._rows = rows


def _packed(values: Sequence[Any], types: set[type]) -> Any:
    if not types:
        return pa.nulls(len(values))
    arrow = _ARROW.get(next(iter(types))) if len(types) == 1 else None
    if arrow is not None:
        try:
            return pa.array(values, type=arrow, memory_pool=POOL)
        except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid):
            pass  # an integer beyond 64 bits, or half a surrogate pair
    return list(values)


def _typed(pieces: list[Any], arrow: Any) -> list[Any]:
    return [piece if piece.type == arrow else pa.nulls(len(piece), arrow) for piece in pieces]


def to_pandas(array: Any) -> Any:
    """The array that `column_of` would make of the same values."""
    if array.type == pa.large_string():
        return _TEXT.__from_arrow__(array)
    if array.null_count and array.type in MASKED:
        return MASKED[array.type].__from_arrow__(array)
    values = array.to_numpy()  # a missing float becomes NaN
    return values if values.flags.writeable else values.copy()


def column_of(values: Sequence[Any]) -> Any:
    """`values` as an array of the narrowest type that holds them exactly; None means missing.

    That is int64, float64, bool or str; Int64 and boolean if some are missing; object for lists,
    dicts, integers beyond 64 bits and mixed types.
    """
    types = set(map(type, values))
    missing = _NOTHING in types
    types.discard(_NOTHING)
    if types == {str}:
        return strings(values)
    if types == {bool}:
        return pd.array(values, dtype="boolean") if missing else np.array(values, dtype=bool)
    if types == {int}:
        numbers = [value for value in values if value is not None] if missing else values
        if _INT64.min <= min(numbers) and max(numbers) <= _INT64.max:
            return pd.array(values, dtype="Int64") if missing else np.array(values, dtype=np.int64)
    elif types in ({float}, {int, float}) and _exact_as_floats(values, types):
        return np.array(values, dtype=np.float64)  # None becomes NaN
    elif types == {str, float} and all(v != v for v in values if type(v) is float):
        return strings([v if type(v) is str else None for v in values])  # pandas does the same
    return objects(values)


def strings(values: Sequence[str | None]) -> Any:
    """An array of pandas' type for text; half a surrogate pair is escaped."""
    try:
        return pd.array(values, dtype="str")
    except UnicodeEncodeError:  # JSON can express half a pair, UTF-8 cannot
        return pd.array([v if v is None else clean(v) for v in values], dtype="str")


def times(values: Sequence[Any]) -> Any:
    """An array of times in UTC; None means missing."""
    return pd.to_datetime(pd.Series(values, dtype=object), utc=True).dt.as_unit("us").array


def event_times(texts: Sequence[str | None]) -> tuple[Any, list[int]]:
    """The times in UTC, as microseconds since 1970, and the rows whose text is not a time."""
    column = pd.Series(strings(texts))
    times = _read_times(column)
    unreadable = (times.isna() & column.notna()).to_numpy()
    if unreadable.any():
        # with a text of nanoseconds among them, pandas reads no year beyond 1677 to 2262
        column = column.str.replace(_NANOSECONDS, r"\1", regex=True)
        times = _read_times(column)
        unreadable = (times.isna() & column.notna()).to_numpy()
    return times.to_numpy().view(np.int64), np.flatnonzero(unreadable).tolist()


def _read_times(column: Any) -> Any:
    times = pd.to_datetime(
        column.mask(column.isin(_CLOCK)), utc=True, format="ISO8601", errors="coerce"
    )
    times = times.dt.as_unit("us").dt.tz_localize(None)
    return times.where(times.between(datetime.min, datetime.max))  # the range of a `datetime`


def utc_index(microseconds: Any) -> pd.DatetimeIndex:
    """Times in UTC from an array of microseconds since 1970."""
    return pd.DatetimeIndex(microseconds.view("datetime64[us]"), tz="UTC")


def microseconds(moment: datetime) -> int:
    """`moment` in microseconds since 1970.

    With its offset it can be earlier or later than any `datetime` in UTC; then the earliest or
    latest of those is given.
    """
    return min(max((moment - EPOCH) // MICROSECOND, EARLIEST), LATEST)


def _exact_as_floats(values: Sequence[Any], types: set[type]) -> bool:
    return int not in types or all(
        -_EXACT_FLOAT <= value <= _EXACT_FLOAT for value in values if type(value) is int
    )


def objects(values: Sequence[Any]) -> Any:
    """An array of Python objects, whatever they are."""
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = value
    return array
