"""Columns of a DataFrame, collected piece by piece in little memory and exact. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_INT64 = np.iinfo(np.int64)
_EXACT_FLOAT = 2**53
_NOTHING = type(None)
_TOGETHER = 16  # pieces
_ARROW: dict[type, Any] = {
    str: pa.large_string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_TEXT: Any = pd.StringDtype(na_value=np.nan)
_MASKED: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


class Column:
    """Values of one column, added in pieces; rows that were left out have none."""

    __slots__ = ("_merged", "_pieces", "_rows", "_small", "_types")

    def __init__(self) -> None:
        self._pieces: list[Any] = []  # Arrow arrays, or lists of what those cannot hold exactly
        self._merged = 0  # pieces that stay as they are
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
        """Whether there are any but None."""
        return bool(self._types)

    def add(self, first: int, values: Sequence[Any]) -> None:
        """Put `values` at the rows from `first` on."""
        self._leave_out(first)
        types = set(map(type, values))
        types.discard(_NOTHING)
        self._types |= types
        self._pieces.append(_packed(values, types))
        self._rows += len(values)
        self._small += 1
        if self._small >= _TOGETHER:
            self._merge()
            self._merged, self._small = len(self._pieces), 0

    def finish(self, rows: int) -> Any:
        """The array of `rows` values that `column_of` makes of them."""
        self._leave_out(rows)
        arrow = self._arrow
        if arrow is None or any(isinstance(piece, list) for piece in self._pieces):
            return column_of(list(self))
        self._merge()
        # texts are shared with the frame, so that they are in memory once
        return _to_pandas(pa.chunked_array(_typed(self._pieces, arrow), type=arrow))

    @property
    def _arrow(self) -> Any:
        return _ARROW.get(next(iter(self._types))) if len(self._types) == 1 else None

    def _merge(self) -> None:
        """Make one of the last pieces, so that there never are many small ones."""
        last = self._pieces[self._merged :]
        if len(last) < 2 or self._arrow is None or any(isinstance(piece, list) for piece in last):
            return
        self._pieces[self._merged :] = [pa.concat_arrays(_typed(last, self._arrow))]
        self._small = 1

    def _leave_out(self, rows: int) -> None:
        if rows > self._rows:
            self._pieces.append(pa.nulls(rows - self._rows))
            self._rows = rows


def _packed(values: Sequence[Any], types: set[type]) -> Any:
    if not types:
        return pa.nulls(len(values))
    arrow = _ARROW.get(next(iter(types))) if len(types) == 1 else None
    if arrow is not None:
        try:
            return pa.array(values, type=arrow)
        except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid):
            pass  # an integer beyond 64 bits, half a surrogate pair
    return list(values)


def _typed(pieces: list[Any], arrow: Any) -> list[Any]:
    return [piece if piece.type == arrow else pa.nulls(len(piece), arrow) for piece in pieces]


def _to_pandas(array: Any) -> Any:
    """What `column_of` would make of the same values."""
    if array.type == pa.large_string():
        return _TEXT.__from_arrow__(array)
    if array.null_count and array.type in _MASKED:
        return _MASKED[array.type].__from_arrow__(array)
    values = array.to_numpy()  # a missing float becomes NaN
    return values if values.flags.writeable else values.copy()


def column_of(values: Sequence[Any]) -> Any:
    """`values` as the narrowest array that holds them exactly, None where there is nothing.

    int64, float64, bool or str; Int64 and boolean where some are missing; object for lists,
    objects, integers beyond 64 bits and mixed types.
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
        return strings([v if type(v) is str else None for v in values])  # as pandas would
    return _objects(values)


def strings(values: Sequence[str | None]) -> Any:
    """An array of texts, as pandas keeps them; halves of surrogate pairs are written out."""
    try:
        return pd.array(values, dtype="str")
    except UnicodeEncodeError:  # JSON can name half a pair, but UTF-8 cannot
        return pd.array([v if v is None else clean(v) for v in values], dtype="str")


def times(values: Sequence[Any]) -> Any:
    """A column of moments in UTC; None is missing."""
    return pd.to_datetime(pd.Series(values, dtype=object), utc=True).dt.as_unit("us").array


def microseconds(moment: datetime) -> int:
    """`moment` since 1970; the nearest time in UTC, where a `datetime` can hold none that early
    or late."""
    return min(max((moment - _EPOCH) // _MICROSECOND, _EARLIEST), _LATEST)


def clean(text: str) -> str:
    """`text` as UTF-8 can write it: half a surrogate pair becomes `\\ud800`."""
    return text.encode(errors="backslashreplace").decode()


def _exact_as_floats(values: Sequence[Any], types: set[type]) -> bool:
    return int not in types or all(
        -_EXACT_FLOAT <= value <= _EXACT_FLOAT for value in values if type(value) is int
    )


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = value
    return array
