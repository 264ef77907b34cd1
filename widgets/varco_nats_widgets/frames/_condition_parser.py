"""The parser of conditions, which makes tests of rows of each. Pure.

Nothing that stands in a condition is executed: only the operators below are applied to values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._condition_fields import Field, Step
from varco_nats_widgets.frames._condition_tests import (
    ORDER,
    WORDS,
    AllOf,
    AnyOf,
    Compare,
    HasText,
    Matches,
    Node,
    Not,
    Present,
    Test,
    TestOfTwo,
    problem_of_pattern,
)
from varco_nats_widgets.frames._query import time_of

_MAX_LENGTH = 2000
_MAX_DEPTH = 30
_TIME_COLUMNS = frozenset({"stored_at", "timestamp"})
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<sign>==|!=|<>|<=|>=|=|<|>|\(|\)|\[|\]|,|&&?|\|\|?|!)
    | (?P<name>(?:[^\W\d][\w:@/-]*|`[^`]+`)(?:\.(?:[\w:@/-]+|`[^`]+`))*\.?)
    )""",
    re.VERBOSE | re.DOTALL,
)
# what may follow a name at once: [0], [], [*], ["a key"], and names behind them
_STEP = re.compile(
    r"""\[\s*(?:(?P<position>-?\d{1,9})|(?P<each>\*?)|(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))\s*\]
    | \.(?P<name>[\w:@/-]+|`[^`]+`)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[^\W\d][\w:@/-]*(?:\.[\w:@/-]+)*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIGNS = {"=": "==", "<>": "!=", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not"}
_LITERALS = {"true": True, "false": False, "null": None, "none": None}
_VALUE = "a number, a text in quotes, true, false or null"
KEYWORDS = frozenset({"and", "or", "not", "in", "is", *WORDS, *_LITERALS})
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_INSTEAD = {
    "like": 'contains "text" or matches "pattern"',
    "ilike": 'contains "text"',
    "has": 'contains "text"',
    "includes": 'contains "text"',
    "regex": 'matches "pattern"',
    "match": 'matches "pattern"',
    "rlike": 'matches "pattern"',
    "~": 'matches "pattern"',
    "between": "COLUMN >= 1 and COLUMN <= 5",
    "exists": "is present",
    "isnull": "is missing",
    "notnull": "is present",
    "equals": "==",
}
"""What other languages call it, and what to write here."""


class ConditionError(VarcoNatsError, ValueError):
    """A condition that cannot be read, or that a frame cannot answer.

    Attributes:
        condition: the whole text.
        position: the index of the character that cannot be read.
        reason: what is wrong there.
    """

    def __init__(self, condition: str, position: int, reason: str) -> None:
        self.condition = condition
        self.position = position
        self.reason = reason
        start = max(0, position - 30)
        excerpt = re.sub(r"\s", " ", condition[start : position + 60])
        super().__init__(
            f"condition not understood at character {position + 1}: {reason}\n"
            f"  {excerpt}\n  {' ' * (position - start)}^"
        )


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, sign, name, end
    text: str
    position: int
    name: str = ""
    steps: tuple[Step, ...] = ()


class Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, source: str) -> None:
        self._source = source
        if len(source) > _MAX_LENGTH:
            raise ConditionError(source, _MAX_LENGTH, f"longer than {_MAX_LENGTH:,} characters")
        self._tokens = list(self._split())
        self._index = 0  # of the next token
        self._depth = 0
        self.fields: list[Field] = []
        self.operands: list[Field] = []
        """Those of `fields` that another is compared with."""

    def parse(self) -> Node:
        """The test that the whole condition stands for; `fields` has those in it then.

        Raises:
            ConditionError: it cannot be read.
        """
        test = self._disjunction()
        if self._next.kind != "end":
            raise self._error(f"{self._found()} is not expected here; join conditions by and, or")
        return test

    def parse_field(self) -> Field:
        """The field that the whole text names, such as `customer.name` or `items[].sku`.

        Raises:
            ConditionError: it names none; says where.
        """
        field = self._field()
        if self._next.kind != "end":
            raise self._error(f"{self._found()} is not expected here")
        return field

    # Tokens

    def _split(self) -> Iterator[_Token]:
        source = self._source
        position, end = 0, len(source.rstrip())
        while position < end:
            found = _TOKEN.match(source, position)
            if found is None or found.lastgroup is None:
                position += len(source[position:]) - len(source[position:].lstrip())
                raise ConditionError(source, position, self._unreadable(position))
            kind, text = found.lastgroup, found[found.lastgroup]
            start, position = found.start(kind), found.end()
            word = text.lower()
            if kind == "name" and word in KEYWORDS:
                kind, text = "sign", word
            if kind == "name":
                token, position = self._name(text, start, position)
                yield token
            else:
                yield _Token(kind, _SIGNS.get(text, text), start)
        yield _Token("end", "", end)

    def _name(self, text: str, start: int, end: int) -> tuple[_Token, int]:
        """A name with the steps that follow it at once, and where they end."""
        name, steps = text.replace("`", ""), list[Step]()
        while found := _STEP.match(self._source, end):
            end = found.end()
            if found["position"] is not None:
                steps.append(int(found["position"]))
            elif found["each"] is not None:
                steps.append(None)
            else:
                key = found["name"] or _unquoted(found["key"])
                key = key.replace("`", "") if found["name"] else key
                if steps and isinstance(steps[-1], str):
                    steps[-1] += f".{key}"
                elif steps:
                    steps.append(key)
                else:
                    name += f".{key}"
        return _Token("name", self._source[start:end], start, name, tuple(steps)), end

    def _unreadable(self, position: int) -> str:
        rest = self._source[position:]
        if rest[0] in "\"'`":
            return f"the quotation that begins with {rest[0]} has no end"
        if rest[0] in _INSTEAD:
            return f"{rest[0]!r} is not understood; write {_INSTEAD[rest[0]]}"
        if rest[0] in "+-*/%":
            return f"{rest[0]!r} is not understood; there is no arithmetic"
        if (found := re.match(r"[+-]?\.?\d[\w.:+-]*", rest)) is not None:
            return f'{found[0]!r} is no number; text and times need quotes: "{found[0]}"'
        return f"{rest[0]!r} is not understood"

    @property
    def _next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self, *texts: str) -> bool:
        if self._next.kind == "sign" and self._next.text in texts:
            self._index += 1
            return True
        return False

    def _take_word(self, word: str) -> bool:
        """Take an operator that is a name everywhere else."""
        if self._next.kind == "name" and self._next.text.lower() == word:
            self._index += 1
            return True
        return False

    def _error(self, reason: str) -> ConditionError:
        return ConditionError(self._source, self._next.position, reason)

    def _found(self) -> str:
        return "the end" if self._next.kind == "end" else repr(self._next.text)

    # Conditions

    def _disjunction(self) -> Node:
        tests = [self._conjunction()]
        while self._take("or"):
            tests.append(self._conjunction())
        return tests[0] if len(tests) == 1 else AnyOf(tuple(tests))

    def _conjunction(self) -> Node:
        tests = [self._term()]
        while self._take("and"):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else AllOf(tuple(tests))

    def _term(self) -> Node:
        if self._depth >= _MAX_DEPTH:
            raise self._error("nested too deep")
        self._depth += 1
        try:
            if self._take("not"):
                return Not(self._term())
            if self._take("("):
                group = self._disjunction()
                if not self._take(")"):
                    raise self._error(f"a ) is missing before {self._found()}")
                return group
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Node:
        field = self._field()
        if self._take("is"):
            return self._presence(field)
        negated = self._take("not")
        sign = self._next.text
        if self._take("in"):
            result = self._among(field)
        elif self._take(*WORDS):
            operand = self._value()
            text = clean(operand) if isinstance(operand, str) else operand
            result = Test(field, HasText(sign, "" if text is None else text))
        elif self._take_word("matches"):
            result = Test(field, Matches(self._pattern()))
        elif not negated and self._take(*ORDER):
            result = self._order(field, sign)
        else:
            raise self._no_operator()
        # as with the other operators, a missing value does not match
        return AllOf((Present(field), Not(result))) if negated else result

    def _no_operator(self) -> ConditionError:
        instead = _INSTEAD.get(self._next.text.lower(), "")
        hint = f"; write {instead}" if instead else ""
        if self._next.text == "(":
            hint = "; there are no functions"
        return self._error(
            f"an operator is expected here, such as ==, >, in, contains, matches or is missing, "
            f"not {self._found()}{hint}"
        )

    def _order(self, field: Field, sign: str) -> Node:
        begin = self._next
        if begin.kind == "name":
            if field.name in _TIME_COLUMNS and _time_of(begin.text) is not None:
                raise self._error(f'a time needs quotes: "{begin.text}"')
            return TestOfTwo(field, sign, self._operand())
        if begin.kind == "sign" and begin.text in ("<", ">") and sign == "==":
            raise self._error(f"write {begin.text}=")
        value = self._value("a number, a text in quotes, true, false, null or a column")
        if value is None and sign not in ("==", "!="):
            self._index -= 1
            raise self._error("null has no order; write 'is missing' or 'is present'")
        return self._equal(field, sign, value, begin)

    def _equal(self, field: Field, sign: str, value: Any, begin: _Token) -> Node:
        if value is None:
            return Not(Present(field)) if sign == "==" else Present(field)
        time = _time_of(value) if isinstance(value, str) else None
        if field.name in _TIME_COLUMNS and time is None:
            raise ConditionError(
                self._source,
                begin.position,
                f'{field.name} is a time; write one in quotes, such as "2026-05-04 10:00"',
            )
        return Test(field, Compare(sign, clean(value) if isinstance(value, str) else value, time))

    def _among(self, field: Field) -> Node:
        if self._next.kind == "name":
            return TestOfTwo(field, "==", self._operand().elements)
        tests = [self._equal(field, "==", value, begin) for begin, value in self._list()]
        return AnyOf(tuple(tests))

    def _pattern(self) -> str:
        begin, pattern = self._next, self._value(raw=True)
        problem = "a text in quotes is expected after matches"
        if isinstance(pattern, str):
            pattern = clean(pattern)
            problem = problem_of_pattern(pattern) or ""
        if problem:
            raise ConditionError(
                self._source,
                begin.position,
                f'no regular expression: {problem}; write one such as "^ord-[0-9]+$"',
            )
        return str(pattern)

    def _presence(self, field: Field) -> Node:
        negated = self._take("not")
        word = self._next.text.lower()
        if word not in ("missing", "null", "none", "present"):
            raise self._error(f"'missing' or 'present' is expected after is, not {self._found()}")
        self._index += 1
        present = (word == "present") != negated
        return Present(field) if present else Not(Present(field))

    # Names and values

    def _operand(self) -> Field:
        field = self._field()
        self.operands.append(field)
        return field

    def _field(self) -> Field:
        token = self._next
        if token.kind != "name":
            raise self._error(
                f"the name of a column is expected here, not {self._found()}{self._turned()}"
            )
        self._index += 1
        field = Field(token.name, token.steps, token.position)
        self.fields.append(field)
        return field

    def _turned(self) -> str:
        """How to write a condition that begins with its value."""
        token, follows = self._next, self._tokens[self._index + 1 : self._index + 3]
        if token.kind == "sign":
            return "; columns with such names go in backticks"
        if token.kind == "end" or len(follows) < 2 or follows[1].kind != "name":
            return ""
        sign = "contains" if follows[0].text == "in" else _FLIPPED.get(follows[0].text)
        return f"; write {follows[1].text} {sign} {token.text}" if sign else ""

    def _list(self) -> list[tuple[_Token, Any]]:
        close = ")" if self._take("(") else "]" if self._take("[") else ""
        if not close:
            raise self._error(f"a list such as (1, 2) is expected after in, not {self._found()}")
        values = [(self._next, self._value())]
        while self._take(","):
            values.append((self._next, self._value()))
        if not self._take(close):
            raise self._error(f"a {close} is missing before {self._found()}")
        return values

    def _value(self, wanted: str = _VALUE, *, raw: bool = False) -> Any:
        """A number, text, true, false or None; `raw` keeps the backslashes of a pattern."""
        token = self._next
        if token.kind == "sign" and token.text in _LITERALS:
            self._index += 1
            return _LITERALS[token.text]
        if token.kind == "text":
            self._index += 1
            return _unquoted(token.text, raw=raw)
        if token.kind == "number":
            self._index += 1
            return float(token.text) if set(token.text) & set(".eE") else int(token.text)
        hint = f'; text needs quotes: "{token.text}"' if token.kind == "name" else ""
        raise self._error(f"{wanted} is expected here, not {self._found()}{hint}")


def quoted_name(name: str) -> str:
    """A field's name as a condition has it: in backticks where it must be; "" where it cannot."""
    if _PLAIN.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return "" if "`" in name or not name else f"`{name}`"


def _unquoted(text: str, *, raw: bool = False) -> str:
    """The text in quotes; only its own quotes are unescaped where `raw`."""
    inner = text[1:-1]
    if raw:
        return inner.replace(f"\\{text[0]}", text[0])
    return _ESCAPE.sub(r"\1", inner)


def _time_of(text: str) -> Any:
    return time_of(text, datetime.now(UTC))
