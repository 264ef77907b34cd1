"""Conditions on the columns of a frame of events: `total > 100 and status == "paid"`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pandas as pd
from pandas.api import types

from varco_nats_widgets._notebook import formulas_as_text
from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._condition_fields import (
    Field,
    FrameTable,
    RowTable,
    Table,
    is_missing,
)
from varco_nats_widgets.frames._condition_parser import ConditionError, Parser
from varco_nats_widgets.frames._condition_tests import Node, Rows, as_text
from varco_nats_widgets.frames._headers import HEADERS, Headers, distinct
from varco_nats_widgets.frames._payload import COLUMNS, MORE
from varco_nats_widgets.frames._query import warn_caller

__all__ = ["Condition", "ConditionError", "as_text", "has_text", "where"]

_NOT_PAYLOAD = frozenset({"stored_at", "channel", "decode_error"})
_MAY_NARROW = (object, pd.Int64Dtype(), pd.BooleanDtype())


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; made by `Condition.parse`."""

    source: str
    columns: tuple[str, ...]
    """The columns that it names."""
    _test: Node
    _fields: tuple[Field, ...]
    _operands: tuple[Field, ...]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Its form is `COLUMN OPERATOR VALUE`, joined by `and`, `or`, `not` and parentheses.

        Columns have their names in the frame: `total`, `customer.name`; in backticks if they
        contain spaces. `headers.tenant` is a header, whatever its case. `items[0].sku` is in the
        first element of a list, `items[-1]` in the last, `items[].sku` in any of them.

        Operators: `==`, `!=`, `<`, `<=`, `>`, `>=` with a value or with another column; `in (…)`,
        or `in` a column of lists; `contains`, `startswith`, `endswith`, which ignore the case, and
        `matches`, a regular expression that is found anywhere in the text (`(?i)` at its beginning
        ignores the case); `is missing`, `is present`. In a list, these look for an element that
        contains the text, or equals the number.

        Values: numbers, quoted text, `true`, `false`, `null`; for columns of times a time in
        quotes, in UTC unless it has an offset, `"today"`, or `"10m"` for ten minutes before the
        condition was read. A value of another kind than the condition's does not match, nor does
        a missing one.

        Raises:
            ConditionError: it cannot be read; says where, and what to write.
        """
        parser = Parser(text)
        test = parser.parse()
        columns = dict.fromkeys(field.name for field in parser.fields)
        return cls(text, tuple(columns), test, tuple(parser.fields), tuple(parser.operands))

    @property
    def headers(self) -> Headers:
        """The headers that it names, for `Lab.frame(headers=)`; True where it needs all."""
        if HEADERS in self.columns:
            return True
        return distinct(name for f in self._fields if (name := f.header) is not None) or False

    def check_headers(self, frame: pd.DataFrame) -> None:
        """Raise ConditionError if it names a header that the frame was not loaded with."""
        columns = {str(name).casefold() for name in frame.columns}
        for field in self._fields:
            wanted = {field.name.casefold(), HEADERS}
            if HEADERS in (field.name, field.name.partition(".")[0]) and not wanted & columns:
                names = self.headers if isinstance(self.headers, bool) else list(self.headers)
                reason = f"this frame has no {field.name}; load it with headers={names}"
                raise ConditionError(self.source, field.position, reason)

    def unknown(self, columns: Collection[str], *, unquoted: bool = False) -> str:
        """Which column it names that is none of these, and what may be meant; "" if there is none.

        Args:
            columns: those there are.
            unquoted: look only at those that others are compared with, which may be texts.
        """
        known = {*columns, "seq"}
        for field in self._operands if unquoted else self._fields:
            if field.name in known or field.header is not None or MORE in known:
                continue
            near = get_close_matches(field.name, known, n=1)
            outer = [name for name in known if field.name.startswith(f"{name}.")]
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if field in self._operands:
                hint = f'; text needs quotes: "{field.name}"'
            elif outer:
                name = max(outer, key=len)
                hint = f"; of a list, write {name}[]{field.name.removeprefix(name)}"
            return f"there is no column {field.name!r}{hint}"
        return ""

    def mask(self, rows: pd.DataFrame | Table) -> Rows:
        """Whether each row matches."""
        table = FrameTable(rows, MORE) if isinstance(rows, pd.DataFrame) else rows
        return self._test.mask(table)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row matches that is a dict with the names of a frame's columns."""
        return bool(self._test.mask(RowTable(row))[0])


def where(
    frame: pd.DataFrame,
    condition: str | Condition | None = None,
    *,
    text: str = "",
    in_headers: bool = False,
    tidy: bool = False,
) -> pd.DataFrame:
    """The rows of a frame of events that match.

    Args:
        frame: as `Lab.frame` gives it.
        condition: such as `total > 100 and customer.name contains "ada"`; see `Condition.parse`.
        text: a value of the payload must contain it; the case is ignored.
        in_headers: or a header, of those that the frame has: `lab.frame(…, headers=True)`.
        tidy: leave out the columns of the payload that are empty now, and use narrower types where
            they hold the values that are left, as if only these rows had been loaded.

    Warns:
        UserWarning: no row matches, and the frame lacks a column of the condition; or what another
            column is compared with may be a text without its quotes.

    Raises:
        ConditionError: the condition cannot be read, or names a header and the frame has none;
            says where.

    Example:
        lab.frame("orders").pipe(where, "total > 100", text="ada")
        lab.frame("orders", headers=["tenant"]).pipe(where, 'headers.tenant == "acme"')
    """
    formulas_as_text()
    if isinstance(condition, str):
        condition = Condition.parse(condition) if condition.strip() else None
    if condition is not None:
        condition.check_headers(frame)
        matching = frame[condition.mask(frame)]
        is_all_gone = matching.empty and not frame.empty  # as by a name that is spelled wrongly
        if hint := condition.unknown(frame.columns, unquoted=not is_all_gone):
            warn_caller(f"{condition.source}: {hint}")
        frame = matching
    if text:
        outer = {str(name).partition(".")[0] for name in frame.columns}
        if in_headers and HEADERS not in outer:
            raise ValueError(
                "in_headers=True: this frame has no headers; load it with headers=True"
            )
        frame = frame[has_text(frame, text, in_headers=in_headers)]
    return _tidied(frame) if tidy else frame


def _tidied(frame: pd.DataFrame) -> pd.DataFrame:
    tidied = {}
    headers = frame.attrs.get(HEADERS, [])
    for name, column in frame.items():
        if name not in COLUMNS and name not in headers and column.isna().all():
            continue
        if column.dtype in _MAY_NARROW:
            values = [None if is_missing(value) else value for value in column.tolist()]
            column = pd.Series(column_of(values), index=frame.index, name=name)
        tidied[name] = column
    result = pd.DataFrame(tidied, index=frame.index)
    if headers:
        result.attrs[HEADERS] = headers
    return result


def has_text(frame: pd.DataFrame, text: str, *, in_headers: bool = False) -> list[bool]:
    """Whether a value of each row's payload, or a header, contains `text`; the case is ignored."""
    needle = text.casefold()
    found = [False] * len(frame)
    left_out = _NOT_PAYLOAD if in_headers else {*_NOT_PAYLOAD, *frame.attrs.get(HEADERS, ())}
    for name in frame.columns:
        column = frame[name]
        if name in left_out or not _may_contain(column.dtype, set(needle)):
            continue
        texts = ["" if is_missing(value) else as_text(value) for value in column.tolist()]
        if needle not in "\n".join(texts).casefold():  # much faster than one value at a time
            continue
        for row, value in enumerate(texts):
            if not found[row]:
                found[row] = needle in value.casefold()
    return found


def _may_contain(dtype: Any, characters: set[str]) -> bool:
    """Whether the text of a value of this type, in lower case, can contain these characters."""
    if types.is_datetime64_any_dtype(dtype):
        return characters <= set("0123456789+-:.t")
    if types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype):
        return characters <= set("0123456789+-.einf")
    return True
