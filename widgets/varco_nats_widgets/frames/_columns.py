"""Columns of a DataFrame: collected piece by piece in little memory, with exact values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from varco_nats_widgets.decoders._values import clean as clean

_INT64 = np.iinfo(np.int64)
_EXACT_FLOAT = 2**53
_NOTHING = type(None)
_MERGED = 8  # pieces at once
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
"""Arrow's own keeps much more than it needs when several threads make columns. It is used all the
same by `combine_chunks`, which ignores the pool that it is given, and by a chunked `to_numpy`."""

_CLOCK = ("now", "today")  # which pandas reads as the time when it reads them
_NANOSECONDS = r"([.,]\d{6})\d{1,3}\b"
_TEXT: Any = pd.StringDtype(na_value=np.nan)
# what an array of numbers has where there is none, by their type
_FILL: dict[Any, Any] = {pa.int64(): 0, pa.bool_(): False, pa.float64(): np.nan}
_MASKED: dict[Any, Any] = {
    pa.int64(): pd.arrays.IntegerArray,
    pa.bool_(): pd.arrays.BooleanArray,
}


class Growing:
    """A numpy array that grows at its end."""

    __slots__ = ("_array", "_rows")

    def __init__(self, dtype: Any) -> None:
        self._array = np.empty(0, dtype)  # with room for more than there is
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, values: Any) -> None:
        end = self._rows + len(values)
        if end > len(self._array):
            roomy = np.empty(max(end, 2 * len(self._array)), self._array.dtype)
            roomy[: self._rows] = self._array[: self._rows]
            self._array = roomy
        self._array[self._rows : end] = values
        self._rows = end

    def array(self, *, copy: bool = True) -> Any:
        """All values; without `copy` the array itself, to which nothing can be added in place."""
        if copy:
            return self._array[: self._rows].copy()
        self._array.resize(self._rows, refcheck=False)  # in place, as it only shrinks
        return self._array


class _Numbers:
    """Numbers or truth values as a frame has them, and which rows have none.

    Args:
        arrow: their type.
    """

    __slots__ = ("_missing", "_values", "type")

    def __init__(self, arrow: Any) -> None:
        self.type = arrow
        self._values = Growing(arrow.to_pandas_dtype())
        self._missing: Growing | None = None

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        values = self._values.array(copy=False).tolist()
        if self._missing is None:
            return iter(values)
        missing = self._missing.array(copy=False).tolist()
        return (None if gone else v for v, gone in zip(values, missing, strict=True))

    def add(self, array: Any) -> None:
        """Append an Arrow array of this type."""
        if array.null_count and self._missing is None:
            self._missing = Growing(bool)
            self._missing.add(np.zeros(len(self), bool))
        if self._missing is not None:
            missing = pc.is_null(array, memory_pool=POOL)
            self._missing.add(missing.to_numpy(zero_copy_only=False))
        if array.null_count:
            nothing = pa.scalar(_FILL[self.type], self.type)
            array = pc.coalesce(array, nothing, memory_pool=POOL)
        self._values.add(array.to_numpy(zero_copy_only=False))

    def array(self, *, copy: bool) -> Any:
        """The array that `column_of` would make of them; without `copy` in their own memory."""
        values = self._values.array(copy=copy)
        if self._missing is None or self.type not in _MASKED:
            return values
        return _MASKED[self.type](values, self._missing.array(copy=copy))


class ColumnBuilder:
    """Collects the values of one column; rows that get no value have None."""

    __slots__ = ("_merged", "_pieces", "_rows", "_small", "_types")

    def __init__(self) -> None:
        # Arrow arrays, lists of values that Arrow cannot hold, or one `_Numbers` at the beginning
        self._pieces: list[Any] = []
        self._merged = 0  # pieces that are large enough and stay as they are
        self._small = 0
        self._types: set[type] = set()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        """The values as they were added."""
        for piece in self._pieces:
            yield from piece.to_pylist() if isinstance(piece, pa.Array) else piece

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
        if self._small >= _MERGED or self._arrow in _FILL:
            self._merge()
            self._merged, self._small = len(self._pieces), 0

    def finish(self, rows: int, *, copy: bool = True) -> Any:
        """The array of `rows` values; the same as `column_of` would make of them.

        Args:
            copy: whether what is changed in it leaves this builder as it is.
        """
        self._fill_up(rows)
        arrow = self._arrow
        if arrow is None or any(isinstance(piece, list) for piece in self._pieces):
            return column_of(list(self))
        self._merge()
        if arrow in _FILL:
            return self._pieces[0].array(copy=copy)
        # the frame shares the texts, so that they are in memory only once
        return to_pandas(pa.chunked_array(_typed(self._pieces, arrow), type=arrow))

    @property
    def _arrow(self) -> Any:
        return _ARROW.get(next(iter(self._types))) if len(self._types) == 1 else None

    def _merge(self) -> None:
        """Merge the last pieces into one, so that there are never many small ones."""
        arrow = self._arrow
        last = self._pieces if arrow in _FILL else self._pieces[self._merged :]
        if arrow is None or any(isinstance(piece, list) for piece in last):
            return
        if arrow in _FILL:
            has_some = isinstance(last[0], _Numbers)
            numbers = last[0] if has_some else _Numbers(arrow)
            for piece in _typed(last[has_some:], arrow):
                numbers.add(piece)
            self._pieces = [numbers]
        elif len(last) > 1:
            self._pieces[self._merged :] = [pa.concat_arrays(_typed(last, arrow), memory_pool=POOL)]
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
    return [
        piece if piece.type == arrow else pa.nulls(len(piece), arrow, memory_pool=POOL)
        for piece in pieces
    ]


def to_pandas(array: Any) -> Any:
    """The array that `column_of` would make of the values of a chunked Arrow array."""
    if array.type == pa.large_string():
        return _TEXT.__from_arrow__(array)
    numbers = _Numbers(array.type)
    for piece in array.chunks:
        numbers.add(piece)
    return numbers.array(copy=False)


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
