"""The parser of conditions, which makes a test of a row of each. Pure.

Nothing that stands in a condition is executed: only the operators below are applied to values.
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

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.frames._query import time_of

_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_MAX_LENGTH = 2000
_MAX_DEPTH = 30
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

type Get = Callable[[str], Any]
"""Gives the value of a column in the row that is tested; None if it is missing."""

type Test = Callable[[Get], bool]


class ConditionError(VarcoNatsError, ValueError):
    """A condition that cannot be read.

    Attributes:
        condition: the whole text.
        position: the index of the character that cannot be read.
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


def is_missing(value: object) -> bool:
    """Whether it is None, NaN, NaT or NA."""
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _compare(name: str, sign: str, operand: Any, time: datetime | None) -> Test:
    compare = _ORDER[sign]

    def test(get: Get) -> bool:
        value = get(name)
        if isinstance(value, datetime):
            return time is not None and compare(value, time)
        return _are_comparable(value, operand) and compare(value, operand)

    return test


def _are_comparable(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return isinstance(value, bool) and isinstance(operand, bool)
    if isinstance(operand, str):
        return isinstance(value, str)
    return isinstance(value, (int, float))


def _text_test(name: str, word: str, operand: str) -> Test:
    compare, needle = _WORDS[word], operand.casefold()

    def test(get: Get) -> bool:
        value = get(name)
        return value is not None and compare(as_text(value).casefold(), needle)

    return test


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, quoted, sign, name, end
    text: str
    position: int


class Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, source: str) -> None:
        self._source = source
        if len(source) > _MAX_LENGTH:
            raise ConditionError(source, _MAX_LENGTH, f"longer than {_MAX_LENGTH:,} characters")
        self._tokens = list(self._split())
        self._index = 0  # of the next token
        self._depth = 0
        self.columns: list[str] = []

    def parse(self) -> Test:
        """The test that the whole condition stands for; `columns` has the columns in it then.

        Raises:
            ConditionError: it cannot be read.
        """
        test = self._disjunction()
        if self._next.kind != "end":
            raise self._error(f"{self._found()} is not expected here; join conditions by and, or")
        return test

    def _split(self) -> Iterator[_Token]:
        position, end = 0, len(self._source.rstrip())
        while position < end:
            found = _TOKEN.match(self._source, position)
            if found is None or found.lastgroup is None:
                position += len(self._source[position:]) - len(self._source[position:].lstrip())
                raise ConditionError(self._source, position, self._unreadable(position))
            kind, text = found.lastgroup, found[found.lastgroup]
            start, position = found.start(found.lastgroup), found.end()
            word = text.lower()
            if kind == "name" and word in _KEYWORDS:
                kind, text = "sign", word
            yield _Token(kind, _SIGNS.get(text, text), start)
        yield _Token("end", "", end)

    def _unreadable(self, position: int) -> str:
        char = self._source[position]
        if char in "\"'`":
            return f"the quotation that begins with {char} has no end"
        return f"{char!r} is not understood"

    @property
    def _next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self, *texts: str) -> bool:
        if self._next.kind == "sign" and self._next.text in texts:
            self._index += 1
            return True
        return False

    def _error(self, reason: str) -> ConditionError:
        return ConditionError(self._source, self._next.position, reason)

    def _found(self) -> str:
        return "the end" if self._next.kind == "end" else repr(self._next.text)

    def _disjunction(self) -> Test:
        tests = [self._conjunction()]
        while self._take("or"):
            tests.append(self._conjunction())
        return tests[0] if len(tests) == 1 else lambda get: any(test(get) for test in tests)

    def _conjunction(self) -> Test:
        tests = [self._term()]
        while self._take("and"):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else lambda get: all(test(get) for test in tests)

    def _term(self) -> Test:
        if self._depth >= _MAX_DEPTH:
            raise self._error("nested too deep")
        self._depth += 1
        try:
            if self._take("not"):
                inner = self._term()
                return lambda get: not inner(get)
            if self._take("("):
                group = self._disjunction()
                if not self._take(")"):
                    raise self._error(f"a ) is missing before {self._found()}")
                return group
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        name = self._column()
        if self._take("is"):
            return self._presence(name)
        negated = self._take("not")
        operator_token = self._next
        if self._take("in"):
            tests = [self._equal(name, "==", value) for value in self._list()]
            result: Test = lambda get: any(test(get) for test in tests)  # noqa: E731
        elif self._take(*_WORDS):
            operand = self._value()
            text = "" if operand is None else as_text(operand)
            result = _text_test(name, operator_token.text, text)
        elif not negated and self._take(*_ORDER):
            sign, begin = operator_token.text, self._next
            value = self._value()
            if value is None and sign not in ("==", "!="):
                self._index -= 1
                raise self._error("null has no order; write 'is missing' or 'is present'")
            result = self._equal(name, sign, value, begin)
        else:
            raise self._error(
                f"an operator is expected here, such as ==, >, in, contains or is missing, "
                f"not {self._found()}"
            )
        # as with the other operators, a missing value does not match
        return (lambda get: get(name) is not None and not result(get)) if negated else result

    def _equal(self, name: str, sign: str, value: Any, begin: _Token | None = None) -> Test:
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

    def _presence(self, name: str) -> Test:
        negated = self._take("not")
        word = self._next.text.lower()
        if word not in ("missing", "null", "none", "present"):
            raise self._error(f"'missing' or 'present' is expected after is, not {self._found()}")
        self._index += 1
        present = (word == "present") != negated
        return lambda get: (get(name) is not None) == present

    def _column(self) -> str:
        token = self._next
        if token.kind not in ("name", "quoted"):
            hint = "; columns with such names go in backticks" if token.kind == "sign" else ""
            raise self._error(f"the name of a column is expected here, not {self._found()}{hint}")
        self._index += 1
        name = token.text.strip("`") if token.kind == "quoted" else token.text
        self.columns.append(name)
        return name

    def _list(self) -> list[Any]:
        close = ")" if self._take("(") else "]" if self._take("[") else ""
        if not close:
            raise self._error(f"a list such as (1, 2) is expected after in, not {self._found()}")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take(close):
            raise self._error(f"a {close} is missing before {self._found()}")
        return values

    def _value(self) -> Any:
        token = self._next
        if token.kind == "sign" and token.text in _LITERALS:
            self._index += 1
            return _LITERALS[token.text]
        if token.kind == "text":
            self._index += 1
            return _ESCAPE.sub(r"\1", token.text[1:-1])
        if token.kind == "number":
            self._index += 1
            return float(token.text) if set(token.text) & set(".eE") else int(token.text)
        hint = f'; text needs quotes: "{token.text}"' if token.kind in ("name", "quoted") else ""
        raise self._error(
            f"a number, a text in quotes, true, false or null is expected here, "
            f"not {self._found()}{hint}"
        )
