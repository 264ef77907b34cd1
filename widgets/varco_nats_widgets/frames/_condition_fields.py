"""The fields that a condition names, and the rows that have them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Protocol

import pandas as pd

from varco_nats_widgets.frames._headers import HEADERS, header_of

type Step = str | int | None
"""The way into a value: a key of an object, a position in a list, or None: every element."""


def is_missing(value: object) -> bool:
    """Whether it is None, NaN, NaT or NA."""
    return value is None or value is pd.NA or value is pd.NaT or value != value


@dataclass(frozen=True, slots=True)
class Field:
    """A field as a condition names it: `total`, `items[0].sku`, `items[].sku`."""

    name: str
    """The column."""
    steps: tuple[Step, ...] = ()
    """The way into the column's values."""
    position: int = 0
    """Where the condition names it."""

    @property
    def header(self) -> str | None:
        """The name of the header that it is, None if it is none."""
        prefix, dot, name = self.name.partition(".")
        return name if dot and prefix == HEADERS else None

    @property
    def elements(self) -> Field:
        """Each element of the list that it is."""
        return replace(self, steps=(*self.steps, None))


class Table(Protocol):
    """Rows that a condition can be tested on."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> pd.Series | None:
        """A whole column; None where only its values are to be had."""

    def values(self, name: str) -> Sequence[Any]:
        """The values of a column; None for what is missing."""


class ColumnTable:
    """Rows in columns.

    Args:
        columns: a frame, or a dict, which takes a tenth of the time to make; a list in it is tested
            value by value.
        more: the column with the fields beyond the limit of columns.
    """

    def __init__(
        self, columns: pd.DataFrame | Mapping[str, pd.Series | list[Any]], rows: int, more: str
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._more = more

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> pd.Series | None:
        columns = self._columns
        if name not in columns and name.startswith(f"{HEADERS}."):
            name = same_header(name, columns) or name
        column = columns.get(name)
        return None if isinstance(column, list) else column

    def values(self, name: str) -> Sequence[Any]:
        if (column := self.column(name)) is not None:
            return [None if is_missing(value) else value for value in column.tolist()]
        if isinstance(listed := self._columns.get(name), list):
            return listed
        outer, inner = _split(name, self._columns)
        if not outer and self._more in self._columns:
            outer, inner = self._more, name
        if not outer:
            return [None] * len(self)
        return [_inside(outer, value, inner) for value in self._columns[outer]]


class FrameTable(ColumnTable):
    """The rows of a frame of events."""

    def __init__(self, frame: pd.DataFrame, more: str) -> None:
        super().__init__(frame, len(frame), more)
        self._index = frame.index

    def column(self, name: str) -> pd.Series | None:
        if name == self._index.name and name not in self._columns:
            return self._index.to_series()
        return super().column(name)


class RowTable:
    """One row, as a dict with the names of a frame's columns."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def __len__(self) -> int:
        return 1

    def column(self, name: str) -> pd.Series | None:
        return None

    def values(self, name: str) -> Sequence[Any]:
        row = self._row
        if name not in row and name.startswith(f"{HEADERS}."):
            name = same_header(name, row) or name
        if name not in row:
            outer, inner = _split(name, row)
            return [_inside(outer, row[outer], inner) if outer else None]
        return [None if is_missing(row[name]) else row[name]]


def same_header(name: str, names: Iterable[Any]) -> str | None:
    """Which of `names` is the same but for its case, as that of a header does not count."""
    wanted = name.casefold()
    return next((each for each in names if str(each).casefold() == wanted), None)


def _split(name: str, columns: Any) -> tuple[str, str]:
    """The column that has `name` in its objects, and the rest; "" if there is none."""
    outer = name
    while dot := outer.rfind(".") + 1:
        outer = outer[: dot - 1]
        if outer in columns:
            return outer, name[dot:]
    return "", ""


def _inside(column: str, value: Any, name: str) -> Any:
    """What has this name in an object of a column."""
    found = reached(value, (name,))
    if found is None and column == HEADERS and isinstance(value, dict):
        return header_of(value, name)
    return found


def reached(value: Any, steps: Sequence[Step]) -> Any:
    """What is at the end of `steps` in `value`, None if nothing is; no step is None."""
    for step in steps:
        if isinstance(step, str):
            value = _member(value, step) if isinstance(value, dict) else None
        elif isinstance(value, list) and step is not None and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return None if is_missing(value) else value


def _member(value: dict[str, Any], name: str) -> Any:
    """The member of an object, or of one in it: `a.b` may be either."""
    if name in value:
        return value[name]
    outer, dot, inner = name.partition(".")
    return _member(value[outer], inner) if dot and isinstance(value.get(outer), dict) else None


def _gathered(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    """What is present at the end of `steps`, of which some are None."""
    if None not in steps:
        found = reached(value, steps)
        return [] if found is None else [found]
    first = steps.index(None)
    several = reached(value, steps[:first])
    rest = steps[first + 1 :]
    elements = several if isinstance(several, list) else ()
    return [found for element in elements for found in _gathered(element, rest)]


def present(table: Table, field: Field) -> tuple[list[int], list[Any]]:
    """The values that are not missing, and in which rows they are; an element of a list each."""
    values = table.values(field.name)
    if None in field.steps:
        rows: list[int] = []
        found: list[Any] = []
        for row, value in enumerate(values):
            each = _gathered(value, field.steps)
            rows += repeat(row, len(each))
            found += each
        return rows, found
    if field.steps:
        values = [reached(value, field.steps) for value in values]
    rows = [row for row, value in enumerate(values) if value is not None]
    return rows, [values[row] for row in rows]


def expanded(rows: list[int], values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """The same with each element of a list in its place."""
    some = [value if isinstance(value, list) else (value,) for value in values]
    each = [[element for element in few if element is not None] for few in some]
    owners = [repeat(row, len(few)) for row, few in zip(rows, each, strict=True)]
    return list(chain.from_iterable(owners)), list(chain.from_iterable(each))
