"""What a condition tests: fields of rows, value by value or by whole columns. Pure.

A column is tested whole only where that gives the same as testing each of its values, which is the
exact way; `check.whole` returns None where it might not.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._condition_fields import Field, Table, expanded, present

type Rows = np.ndarray[tuple[int], np.dtype[np.bool_]]

ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}

_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_EXACT_FLOAT = 2**53


def as_text(value: object) -> str:
    """The text of a value that is searched; `3` for 3.0 too, as a column may be of floats."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, dict)):
        return _JSON.encode(value)
    return str(value)


# Conditions, joined


class Node(Protocol):
    """A part of a condition."""

    def mask(self, table: Table) -> Rows:
        """Whether each row matches."""


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node

    def mask(self, table: Table) -> Rows:
        return ~self.inner.mask(table)


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Node, ...]

    def mask(self, table: Table) -> Rows:
        both: Rows = np.logical_and.reduce([part.mask(table) for part in self.parts])
        return both


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Node, ...]

    def mask(self, table: Table) -> Rows:
        either: Rows = np.logical_or.reduce([part.mask(table) for part in self.parts])
        return either


@dataclass(frozen=True, slots=True)
class Present:
    """Whether a field is there."""

    field: Field

    def mask(self, table: Table) -> Rows:
        column = None if self.field.steps else table.column(self.field.name)
        if column is not None and column.dtype != object:
            return column.notna().to_numpy(dtype=bool)
        return _marked(len(table), present(table, self.field)[0])


@dataclass(frozen=True, slots=True)
class Test:
    """Whether a field is there and passes a check; of several elements, one of them."""

    field: Field
    check: Check

    def mask(self, table: Table) -> Rows:
        column = None if self.field.steps else table.column(self.field.name)
        if column is not None and (found := self.check.whole(column)) is not None:
            return found
        rows, values = present(table, self.field)
        if self.check.into_lists and any(isinstance(value, list) for value in values):
            rows, values = expanded(rows, values)
        hits = self.check.each(values)
        return _marked(len(table), [row for row, hit in zip(rows, hits, strict=True) if hit])


@dataclass(frozen=True, slots=True)
class TestOfTwo:
    """Whether one field compares to another; of several elements, one of them."""

    left: Field
    sign: str
    right: Field

    def mask(self, table: Table) -> Rows:
        if not (self.left.steps or self.right.steps):
            left, right = table.column(self.left.name), table.column(self.right.name)
            if left is not None and right is not None:
                found = _compared(left, self.sign, right)
                if found is not None:
                    return found
        others: dict[int, list[Any]] = {}
        for row, value in zip(*present(table, self.right), strict=True):
            others.setdefault(row, []).append(value)
        compare = ORDER[self.sign]
        hits = [
            row
            for row, value in zip(*present(table, self.left), strict=True)
            if any(_are_comparable(value, o) and compare(value, o) for o in others.get(row, ()))
        ]
        return _marked(len(table), hits)


def _marked(rows: int, hits: Sequence[int]) -> Rows:
    mask = np.zeros(rows, dtype=bool)
    mask[np.array(hits, dtype=np.intp)] = True
    return mask


# Checks of values


class Check(Protocol):
    """A check of values that are not missing."""

    @property
    def into_lists(self) -> bool:
        """Whether the elements of a list are checked in its place."""

    def each(self, values: Sequence[Any]) -> Iterable[bool]:
        """Whether each value passes: the exact way."""

    def whole(self, column: pd.Series) -> Rows | None:
        """Whether each value of a column passes; None where only the exact way is."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison with a value; one of another kind does not pass."""

    sign: str
    operand: Any
    time: pd.Timestamp | None = None
    """The time that the operand stands for, which times are compared with."""
    into_lists = False

    def each(self, values: Sequence[Any]) -> Iterable[bool]:
        compare, operand, time = ORDER[self.sign], self.operand, self.time
        for value in values:
            other = time if isinstance(value, datetime) else operand
            yield _are_comparable(value, other) and compare(value, other)

    def whole(self, column: pd.Series) -> Rows | None:
        kind, operand = _kind(column), self.operand
        if kind == "time":
            operand = self.time
        elif isinstance(operand, bool) or kind == "bool":
            operand = operand if isinstance(operand, bool) and kind == "bool" else None
        elif (kind == "text") is not isinstance(operand, str):
            operand = None
        if not kind:
            return None
        if operand is None:
            return np.zeros(len(column), dtype=bool)
        if kind == "text":
            return _of_arrow(_ARROW_ORDER[self.sign], _arrow(column), operand)
        if kind == "time":
            found: Rows = ORDER[self.sign](column, operand).to_numpy(dtype=bool)
            return found & column.notna().to_numpy(dtype=bool)
        numbers, present = _numbers(column)
        if kind == "float" and not _is_exact(operand):
            return None
        if kind == "int" and isinstance(operand, float):
            if operand.is_integer():
                operand = int(operand)
            elif not _are_exact(numbers):
                return None
        hits: Rows = ORDER[self.sign](numbers, operand) & present
        return hits


@dataclass(frozen=True, slots=True)
class HasText:
    """Whether a text contains, begins with or ends with another, whatever the case.

    A list has a text if one of its elements contains it, and a number if one is equal to it.
    """

    word: str
    operand: Any

    @property
    def needle(self) -> str:
        return as_text(self.operand).casefold()

    @property
    def into_lists(self) -> bool:
        return isinstance(self.operand, str)

    def each(self, values: Sequence[Any]) -> Iterable[bool]:
        compare, needle, equal = WORDS[self.word], self.needle, Compare("==", self.operand)
        known: dict[str, bool] = {}  # many values are the same
        for value in values:
            if isinstance(value, list):
                yield any(equal.each(value))
                continue
            text = as_text(value)
            if (hit := known.get(text)) is None:
                hit = known[text] = compare(text.casefold(), needle)
            yield hit

    def whole(self, column: pd.Series) -> Rows | None:
        if _kind(column) != "text":
            return None
        texts = _arrow(column)
        plain = _of_arrow("string_is_ascii", texts)
        found, needle = np.zeros(len(column), dtype=bool), self.needle
        if needle.isascii():
            lower = _compute().ascii_lower(texts)
            found = _of_arrow(_ARROW_WORDS[self.word], lower, pattern=needle)
        others = np.flatnonzero(~plain & column.notna().to_numpy(dtype=bool))
        if len(others):  # folding the case of these is not replacing letters
            found[others] = list(self.each(column.iloc[others].tolist()))
        return found


@dataclass(frozen=True, slots=True)
class Matches:
    """Whether a regular expression is found in a text, in time proportional to its length."""

    pattern: str
    into_lists = True

    def each(self, values: Sequence[Any]) -> Iterable[bool]:
        texts = [clean(as_text(value)) for value in values]
        found: Rows = self._found(pa.array(texts, type=pa.large_string()))
        return found.tolist()

    def whole(self, column: pd.Series) -> Rows | None:
        return self._found(_arrow(column)) if _kind(column) == "text" else None

    def _found(self, texts: Any) -> Rows:
        return _of_arrow("match_substring_regex", texts, pattern=self.pattern)


def problem_of_pattern(pattern: str) -> str | None:
    """Why it is no regular expression; None if it is."""
    try:
        Matches(pattern).each([""])
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        if "perl operator" in reason or "escape sequence" in reason:
            reason += "; looking ahead or behind and references to groups are not possible"
        return reason
    return None


def _are_comparable(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return isinstance(value, bool) and isinstance(operand, bool)
    if isinstance(operand, datetime):
        return isinstance(value, datetime) and (value.tzinfo is None) == (operand.tzinfo is None)
    if isinstance(operand, str):
        return isinstance(value, str)
    return isinstance(value, (int, float)) and isinstance(operand, (int, float))


# Whole columns

_ARROW_ORDER = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_ARROW_WORDS = {
    "contains": "match_substring",
    "startswith": "starts_with",
    "endswith": "ends_with",
}


def _kind(column: pd.Series) -> str:
    """`int`, `float`, `bool`, `text` or `time`; "" for what is compared value by value."""
    dtype = column.dtype
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "time"
    if isinstance(dtype, (pd.Int64Dtype, pd.BooleanDtype, np.dtype)):
        return {"i": "int", "f": "float", "b": "bool"}.get(dtype.kind, "")
    return ""


def _numbers(column: pd.Series) -> tuple[Any, Rows]:
    """The numbers or booleans of a column, and which of them are not missing."""
    present = column.notna().to_numpy(dtype=bool)
    if isinstance(column.dtype, np.dtype):
        numbers = column.to_numpy()
        return numbers.astype(np.float64) if column.dtype.kind == "f" else numbers, present
    kind: Any = np.bool_ if isinstance(column.dtype, pd.BooleanDtype) else np.int64
    return column.to_numpy(dtype=kind, na_value=0), present


def _is_exact(operand: float) -> bool:
    """Whether numpy compares floats with it as Python does, which rounds nothing."""
    try:
        return float(operand) == operand
    except OverflowError:
        return False


def _are_exact(numbers: Any) -> bool:
    """Whether these integers can be floats."""
    return not len(numbers) or (
        int(numbers.min()) >= -_EXACT_FLOAT and int(numbers.max()) <= _EXACT_FLOAT
    )


def _compared(left: pd.Series, sign: str, right: pd.Series) -> Rows | None:
    kinds = {_kind(left), _kind(right)}
    if "" in kinds:
        return None
    if kinds == {"text"}:
        return _of_arrow(_ARROW_ORDER[sign], _arrow(left), _arrow(right))
    if kinds == {"time"}:
        present = left.notna().to_numpy(dtype=bool) & right.notna().to_numpy(dtype=bool)
        found: Rows = ORDER[sign](left, right).to_numpy(dtype=bool) & present
        return found
    if len(kinds) > 1 and kinds != {"int", "float"}:
        return np.zeros(len(left), dtype=bool)
    (first, has_first), (second, has_second) = _numbers(left), _numbers(right)
    if len(kinds) > 1 and not _are_exact(first if _kind(left) == "int" else second):
        return None
    hits: Rows = ORDER[sign](first, second) & has_first & has_second
    return hits


def _arrow(column: pd.Series) -> Any:
    return pa.array(column.array, type=pa.large_string(), from_pandas=True)


def _compute() -> Any:
    import pyarrow.compute

    return pyarrow.compute


def _of_arrow(function: str, texts: Any, *operands: Any, **options: Any) -> Rows:
    compute = _compute()
    found = compute.fill_null(getattr(compute, function)(texts, *operands, **options), False)
    mask: Rows = found.to_numpy() if isinstance(found, pa.ChunkedArray) else found.to_numpy(False)
    return mask if mask.flags.writeable else mask.copy()
