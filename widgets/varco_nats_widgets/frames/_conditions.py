"""Conditions on the columns of a frame of events: `total > 100 and status == "paid"`. Pure.

A condition is read by the small parser below and tested value by value; nothing in it is run.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from pandas.api import types

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._notebook import formulas_as_text
from varco_nats_widgets.frames._frames import COLUMNS, column_of
from varco_nats_widgets.frames._payload import MORE
from varco_nats_widgets.frames._query import time_of

__all__ = ["Condition", "ConditionError", "has_text", "where"]

_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_MAX_LENGTH = 2000
_MAX_DEPTH = 30
_NOT_PAYLOAD = frozenset({"stored_at", "channel", "decode_error"})
_MAY_NARROW = (object, pd.Int64Dtype(), pd.BooleanDtype())
_TIME_COLUMNS = frozenset({"stored_at", "timestamp"})
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<quoted>`[^`]+`)
    | (?P<sign>==|!=|<>|<=|>=|=|<|>|\(|\)|\[|\]|,|&&?|\|\|?|!)
    | (?P<name>[^\W\d][\w.:@/-]*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIGNS = {"=": "==", "<>": "!=", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not"}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_LITERALS = {"true": True, "false": False, "null": None, "none": None}
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", *_WORDS, *_LITERALS})

type _Get = Callable[[str], Any]
type _Test = Callable[[_Get], bool]


class ConditionError(VarcoNatsError, ValueError):
    """A condition that cannot be read.

    Attributes:
        condition: the whole text.
        position: where the trouble is, in characters from 0.
        reason: what is wrong there.
    """

    def __init__(self, condition: str, position: int, reason: str) -> None:
        self.condition = condition
        self.position = position
        self.reason = reason
        start = max(0, position - 60)
        excerpt = re.sub(r"\s", " ", condition[start : position + 60])
        super().__init__(
            f"condition not understood at character {position + 1}: {reason}\n"
            f"  {excerpt}\n  {' ' * (position - start)}^"
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; made by `Condition.parse`."""

    source: str
    columns: tuple[str, ...]
    """The columns it looks at."""
    _test: _Test

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        `COLUMN OPERATOR VALUE`, joined by `and`, `or`, `not` and parentheses. Columns are named
        as in a frame (`customer.name`; in backticks where they hold spaces). Operators: `==`,
        `!=`, `<`, `<=`, `>`, `>=`, `in (…)`, `contains`, `startswith`, `endswith` (these three
        whatever the case), `is missing`, `is present`. Values: numbers, quoted text, `true`,
        `false`, `null`; for columns of times a time in quotes, UTC unless it says otherwise, or
        `"today"`, or `"10m"` for ten minutes ago, when the condition is read.
        Values of another kind than the condition's, and missing ones, do not match.

        Raises:
            ConditionError: it cannot be read; says where.
        """
        parser = _Parser(text)
        test = parser.whole()
        return cls(text, tuple(dict.fromkeys(parser.columns)), test)

    def mask(self, frame: pd.DataFrame) -> list[bool]:
        """For each row whether it matches."""
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
        text: occurs in a value of the payload, whatever the case.
        tidy: leave out the columns of the payload that no row has any more, and take narrower
            types where they hold the rest, as if only these rows had been loaded.

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
            values = [None if _missing(value) else value for value in column.tolist()]
            column = pd.Series(column_of(values), index=frame.index, name=name)
        tidied[name] = column
    return pd.DataFrame(tidied, index=frame.index)


def has_text(frame: pd.DataFrame, text: str) -> list[bool]:
    """For each row whether a value of its payload has `text` in it, whatever the case."""
    wanted = text.casefold()
    found = [False] * len(frame)
    for name in frame.columns:
        column = frame[name]
        if name in _NOT_PAYLOAD or not _may_hold(column.dtype, set(wanted)):
            continue
        texts = ["" if _missing(value) else as_text(value) for value in column.tolist()]
        if wanted not in "\n".join(texts).casefold():  # one look at all is much faster
            continue
        for row, value in enumerate(texts):
            if not found[row]:
                found[row] = wanted in value.casefold()
    return found


def _may_hold(dtype: Any, characters: set[str]) -> bool:
    """Whether a value of this type can be written with all of these, in lower case."""
    if types.is_datetime64_any_dtype(dtype):
        return characters <= set("0123456789+-:.t")
    if types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype):
        return characters <= set("0123456789+-.einf")
    return True


def as_text(value: object) -> str:
    """A value as it is searched: the same for an integer in a column of floats."""
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


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    if name == frame.index.name and name not in frame.columns:
        return frame.index.tolist()
    if name in frame.columns:
        found = frame[name].tolist()
    elif MORE in frame.columns:  # what had no room as a column of its own
        found = [
            more.get(name) if isinstance(more, dict) else None for more in frame[MORE].tolist()
        ]
    else:
        return [None] * len(frame)
    return [None if _missing(value) else value for value in found]


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _compare(name: str, sign: str, wanted: Any, time: datetime | None) -> _Test:
    compare = _ORDER[sign]

    def test(get: _Get) -> bool:
        value = get(name)
        if isinstance(value, datetime):
            return time is not None and compare(value, time)
        return _alike(value, wanted) and compare(value, wanted)

    return test


def _alike(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return isinstance(value, bool) and isinstance(wanted, bool)
    if isinstance(wanted, str):
        return isinstance(value, str)
    return isinstance(value, (int, float))


def _text_test(name: str, word: str, wanted: str) -> _Test:
    compare, needle = _WORDS[word], wanted.casefold()

    def test(get: _Get) -> bool:
        value = get(name)
        return value is not None and compare(as_text(value).casefold(), needle)

    return test


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, quoted, sign, name, end
    text: str
    position: int


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, source: str) -> None:
        self._source = source
        if len(source) > _MAX_LENGTH:
            raise ConditionError(source, _MAX_LENGTH, f"longer than {_MAX_LENGTH:,} characters")
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0
        self.columns: list[str] = []

    def whole(self) -> _Test:
        test = self._any()
        if self._next.kind != "end":
            raise self._trouble(f"{self._seen()} is too much here; join conditions with and, or")
        return test

    def _split(self) -> Iterator[_Token]:
        position, end = 0, len(self._source.rstrip())
        while position < end:
            found = _TOKEN.match(self._source, position)
            if found is None or found.lastgroup is None:
                position += len(self._source[position:]) - len(self._source[position:].lstrip())
                raise ConditionError(self._source, position, self._odd(position))
            kind, text = found.lastgroup, found[found.lastgroup]
            start, position = found.start(found.lastgroup), found.end()
            word = text.lower()
            if kind == "name" and word in _KEYWORDS:
                kind, text = "sign", word
            yield _Token(kind, _SIGNS.get(text, text), start)
        yield _Token("end", "", end)

    def _odd(self, position: int) -> str:
        char = self._source[position]
        if char in "\"'`":
            return f"the quotation that begins with {char} has no end"
        return f"{char!r} is not understood"

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> bool:
        if self._next.kind == "sign" and self._next.text in texts:
            self._at += 1
            return True
        return False

    def _trouble(self, reason: str) -> ConditionError:
        return ConditionError(self._source, self._next.position, reason)

    def _seen(self) -> str:
        return "the end" if self._next.kind == "end" else repr(self._next.text)

    def _any(self) -> _Test:
        tests = [self._all()]
        while self._take("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda get: any(test(get) for test in tests)

    def _all(self) -> _Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda get: all(test(get) for test in tests)

    def _one(self) -> _Test:
        if self._depth >= _MAX_DEPTH:
            raise self._trouble("nested too deep")
        self._depth += 1
        try:
            if self._take("not"):
                inner = self._one()
                return lambda get: not inner(get)
            if self._take("("):
                group = self._any()
                if not self._take(")"):
                    raise self._trouble(f"a ) is missing before {self._seen()}")
                return group
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> _Test:
        name = self._column()
        if self._take("is"):
            return self._presence(name)
        negated = self._take("not")
        position = self._next
        if self._take("in"):
            tests = [self._equal(name, "==", value) for value in self._list()]
            result: _Test = lambda get: any(test(get) for test in tests)  # noqa: E731
        elif self._take(*_WORDS):
            wanted = self._value()
            result = _text_test(name, position.text, "" if wanted is None else as_text(wanted))
        elif not negated and self._take(*_ORDER):
            sign, begin = position.text, self._next
            value = self._value()
            if value is None and sign not in ("==", "!="):
                self._at -= 1
                raise self._trouble("null has no order; write 'is missing' or 'is present'")
            result = self._equal(name, sign, value, begin)
        else:
            raise self._trouble(
                f"an operator is expected here, such as ==, >, in, contains or is missing, "
                f"not {self._seen()}"
            )
        # as with other operators, what is missing does not match
        return (lambda get: get(name) is not None and not result(get)) if negated else result

    def _equal(self, name: str, sign: str, value: Any, begin: _Token | None = None) -> _Test:
        if value is None:
            return lambda get: (get(name) is None) == (sign == "==")
        time = time_of(value, datetime.now(UTC)) if isinstance(value, str) else None
        if name in _TIME_COLUMNS and time is None:
            raise ConditionError(
                self._source,
                (begin or self._next).position,
                f'{name} is a time; write one in quotes, such as "2026-05-04 10:00"',
            )
        return _compare(name, sign, value, time)

    def _presence(self, name: str) -> _Test:
        negated = self._take("not")
        word = self._next.text.lower()
        if word not in ("missing", "null", "none", "present"):
            raise self._trouble(f"'missing' or 'present' is expected after is, not {self._seen()}")
        self._at += 1
        present = (word == "present") != negated
        return lambda get: (get(name) is not None) == present

    def _column(self) -> str:
        token = self._next
        if token.kind not in ("name", "quoted"):
            hint = "; columns with such names go in backticks" if token.kind == "sign" else ""
            raise self._trouble(f"the name of a column is expected here, not {self._seen()}{hint}")
        self._at += 1
        name = token.text.strip("`") if token.kind == "quoted" else token.text
        self.columns.append(name)
        return name

    def _list(self) -> list[Any]:
        close = ")" if self._take("(") else "]" if self._take("[") else ""
        if not close:
            raise self._trouble(f"a list such as (1, 2) is expected after in, not {self._seen()}")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take(close):
            raise self._trouble(f"a {close} is missing before {self._seen()}")
        return values

    def _value(self) -> Any:
        token = self._next
        if token.kind == "sign" and token.text in _LITERALS:
            self._at += 1
            return _LITERALS[token.text]
        if token.kind == "text":
            self._at += 1
            return _ESCAPE.sub(r"\1", token.text[1:-1])
        if token.kind == "number":
            self._at += 1
            return float(token.text) if set(token.text) & set(".eE") else int(token.text)
        hint = f'; text needs quotes: "{token.text}"' if token.kind in ("name", "quoted") else ""
        raise self._trouble(
            f"a number, a text in quotes, true, false or null is expected here, "
            f"not {self._seen()}{hint}"
        )
