"""Conditions on the columns of a frame of events: `total > 100 and status == "paid"`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api import types

from varco_nats_widgets._notebook import formulas_as_text
from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._condition_parser import (
    ConditionError,
    Parser,
    Test,
    as_text,
    is_missing,
)
from varco_nats_widgets.frames._payload import COLUMNS, MORE

__all__ = ["Condition", "ConditionError", "as_text", "has_text", "where"]

_NOT_PAYLOAD = frozenset({"stored_at", "channel", "decode_error"})
_MAY_NARROW = (object, pd.Int64Dtype(), pd.BooleanDtype())


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; made by `Condition.parse`."""

    source: str
    columns: tuple[str, ...]
    """The columns that it names."""
    _test: Test

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Its form is `COLUMN OPERATOR VALUE`, joined by `and`, `or`, `not` and parentheses. Columns
        have their names in the frame (`customer.name`; in backticks if they contain spaces).
        Operators: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in (…)`, `contains`, `startswith`, `endswith`
        (these three ignore the case), `is missing`, `is present`. Values: numbers, quoted text,
        `true`, `false`, `null`; for columns of times a time in quotes, in UTC unless it has an
        offset, `"today"`, or `"10m"` for ten minutes before the condition was read. A value of
        another kind than the condition's does not match, nor does a missing one.

        Raises:
            ConditionError: it cannot be read; says where.
        """
        parser = Parser(text)
        test = parser.parse()
        return cls(text, tuple(dict.fromkeys(parser.columns)), test)

    def mask(self, frame: pd.DataFrame) -> list[bool]:
        """Whether each row matches."""
        values = {name: _values(frame, name) for name in self.columns}
        return [
            self._test(lambda name, row=row: values[name][row])  # type: ignore[misc]
            for row in range(len(frame))
        ]


def where(
    frame: pd.DataFrame,
    condition: str | Condition | None = None,
    *,
    text: str = "",
    tidy: bool = False,
) -> pd.DataFrame:
    """The rows of a frame of events that match.

    Args:
        frame: as `Lab.frame` gives it.
        condition: such as `total > 100 and customer.name contains "ada"`; see `Condition.parse`.
        text: a value of the payload must contain it; the case is ignored.
        tidy: leave out the columns of the payload that are empty now, and use narrower types where
            they hold the values that are left, as if only these rows had been loaded.

    Raises:
        ConditionError: the condition cannot be read; says where.

    Example:
        lab.frame("orders").pipe(where, "total > 100", text="ada")
    """
    formulas_as_text()
    if isinstance(condition, str):
        condition = Condition.parse(condition) if condition.strip() else None
    if condition is not None:
        frame = frame[condition.mask(frame)]
    if text:
        frame = frame[has_text(frame, text)]
    return _tidied(frame) if tidy else frame


def _tidied(frame: pd.DataFrame) -> pd.DataFrame:
    tidied = {}
    for name, column in frame.items():
        if name not in COLUMNS and column.isna().all():
            continue
        if column.dtype in _MAY_NARROW:
            values = [None if is_missing(value) else value for value in column.tolist()]
            column = pd.Series(column_of(values), index=frame.index, name=name)
        tidied[name] = column
    return pd.DataFrame(tidied, index=frame.index)


def has_text(frame: pd.DataFrame, text: str) -> list[bool]:
    """Whether a value of each row's payload contains `text`; the case is ignored."""
    needle = text.casefold()
    found = [False] * len(frame)
    for name in frame.columns:
        column = frame[name]
        if name in _NOT_PAYLOAD or not _may_contain(column.dtype, set(needle)):
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


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    if name == frame.index.name and name not in frame.columns:
        return frame.index.tolist()
    if name in frame.columns:
        found = frame[name].tolist()
    elif MORE in frame.columns:  # it has the fields beyond the limit of columns
        found = [
            more.get(name) if isinstance(more, dict) else None for more in frame[MORE].tolist()
        ]
    else:
        return [None] * len(frame)
    return [None if is_missing(value) else value for value in found]
