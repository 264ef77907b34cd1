"""Steps that change fields of an event: set, rename, convert, remove, map and so on. Pure.

A field is named as in a condition: `total`, `customer.name`, `items[0].price`, `items[].price` for
that of every element.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from textwrap import dedent
from types import CodeType
from typing import Any, Protocol, TypedDict
from uuid import UUID

from varco_nats.replay._edit import Literal, written
from varco_nats_widgets.dead_letters._index.filter import FilterOptions
from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.frames._condition_fields import Step
from varco_nats_widgets.frames._condition_parser import ConditionError, Parser
from varco_nats_widgets.frames._times import UNITS, YEAR_2000, YEAR_2100

type Event = dict[str, Any]
type Kind = str | type
"""What a value is converted to: `int`, `float`, `str`, `bool`, `datetime`, `list`, or its name."""

_SHORT = 60  # characters of a value in a sentence
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_FILE = "<fix>"  # what tracebacks call the lines of Python
_DATA = "data."  # before the name of a field in a frame of dead letters


class StepOptions(TypedDict, total=False):
    """The keyword arguments that change events."""

    set: Mapping[str, Any]
    rename: Mapping[str, str]
    convert: Mapping[str, Kind]
    remove: str | Iterable[str]
    map: Mapping[str, Mapping[Any, Any]]
    absolute: str | Iterable[str]
    python: str


class FixOptions(FilterOptions, StepOptions, total=False):
    """These, and which dead letters are changed."""

    steps: Iterable[StepOptions]


class CannotFixError(Exception):
    """A step cannot be done for this event.

    Attributes:
        field: the field; "" where it is not one alone.
        value: its value.
    """

    def __init__(self, reason: str, field: str = "", value: Any = None) -> None:
        self.field = field
        self.value = value
        super().__init__(reason)


class FixStep(Protocol):
    """One change of an event."""

    @property
    def words(self) -> str:
        """What it does, in a line."""

    @property
    def field(self) -> str:
        """The field that must be there; "" if none must."""

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        """Change the event in place; whether the field is there.

        Raises:
            CannotFixError: it cannot be done; says why.
        """


# Fields


@dataclass(frozen=True, slots=True)
class _Path:
    """The way to a field."""

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: object) -> _Path:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{text!r} names no field; write one such as 'customer.name'")
        try:
            field = Parser(text).parse_field()
        except ConditionError as error:
            if any(sign in text for sign in ".[`"):
                raise ValueError(f"{text!r} names no field: {error.reason}") from None
            return cls(text, (text,))
        return cls(text, (field.name, *field.steps))

    def steps_in(self, event: Event) -> tuple[Step, ...]:
        """The way in this event; `data.total` is what a frame calls the field `total`."""
        first = self.steps[0]
        if isinstance(first, str) and first.startswith(_DATA) and "data" not in event:
            return (first.removeprefix(_DATA), *self.steps[1:])
        return self.steps

    def places(self, event: Event) -> list[tuple[Any, Any]]:
        """Where the field is: objects or lists, each with the key or position in it."""
        return [*_places(event, self.steps_in(event))]


def _places(value: Any, steps: Sequence[Step]) -> Iterator[tuple[Any, Any]]:
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if not isinstance(value, dict):
            return
        outer, dot, inner = step.partition(".")
        if step not in value and dot:
            step, rest = outer, (inner, *rest)
        keys: Iterable[Any] = [step] if step in value else []
    elif isinstance(value, list):
        keys = _positions(value, step)
    else:
        return
    for key in keys:
        if rest:
            yield from _places(value[key], rest)
        else:
            yield value, key


def _positions(value: list[Any], step: int | None) -> Sequence[int]:
    if step is None:
        return range(len(value))
    return [step] if -len(value) <= step < len(value) else []


def _put(value: Any, steps: Sequence[Step], new: Any) -> bool:
    """Set what is at the end of `steps`, with objects on the way to it; whether there is a way."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if not isinstance(value, dict):
            return False
        outer, dot, inner = step.partition(".")
        if step not in value and dot:
            step, rest = outer, (inner, *rest)
        if not rest:
            value[step] = copied(new)
            return True
        if step in value:
            return _put(value[step], rest, new)
        made: Event = {}
        if _put(made, rest, new):
            value[step] = made
        return bool(made)
    done = False
    for position in _positions(value, step) if isinstance(value, list) else ():
        if rest:
            done |= _put(value[position], rest, new)
        else:
            value[position], done = copied(new), True
    return done


# Steps


@dataclass(frozen=True, slots=True)
class SetField:
    """Gives a field a value; makes the field where it is not there."""

    path: _Path
    value: Any

    @property
    def words(self) -> str:
        return f"set {self.path.text} to {json_text(self.value)}"

    @property
    def field(self) -> str:
        return self.path.text

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        return _put(event, self.path.steps_in(event), self.value)


@dataclass(frozen=True, slots=True)
class RenameField:
    """Gives a field another name, or has it in another object."""

    path: _Path
    to: _Path

    @property
    def words(self) -> str:
        return f"rename {self.path.text} to {self.to.text}"

    @property
    def field(self) -> str:
        return self.path.text

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        parent, name = _parent(self.path.steps_in(event))
        new_parent, new = _parent(self.to.steps_in(event))
        if parent == new_parent:
            return self._rename(event, name, new)
        if None in (*parent, *new_parent):
            raise CannotFixError(
                f"{self.path.text} cannot become {self.to.text}: elements of lists are renamed "
                "only where they are",
                self.path.text,
            )
        places = self.path.places(event)
        if not places:
            return False
        [(holder, key)] = places
        value = holder[key]
        if self.to.places(event):
            raise self._taken(value)
        if not _put(event, self.to.steps_in(event), value):
            raise CannotFixError(f"there is no object for {self.to.text}", self.path.text, value)
        del holder[key]
        return True

    def _rename(self, event: Event, name: str, new: str) -> bool:
        places = self.path.places(event)
        for holder, key in places:
            other = key.removesuffix(name) + new  # a key may be `a.b` as it is
            if other in holder and other != key:
                raise self._taken(holder[key])
            renamed = {other if each == key else each: value for each, value in holder.items()}
            holder.clear()
            holder.update(renamed)
        return bool(places)

    def _taken(self, value: Any) -> CannotFixError:
        return CannotFixError(f"there is a field {self.to.text} already", self.path.text, value)


def _parent(steps: Sequence[Step]) -> tuple[tuple[Step, ...], str]:
    """The way to the object that a field is in, with each name a step, and its name there."""
    flat: list[Step] = []
    for step in steps:
        flat += step.split(".") if isinstance(step, str) else [step]
    last = flat.pop()
    return tuple(flat), "" if last is None else str(last)


@dataclass(frozen=True, slots=True)
class RemoveField:
    """Removes a field, or an element of a list."""

    path: _Path

    @property
    def words(self) -> str:
        return f"remove {self.path.text}"

    @property
    def field(self) -> str:
        return self.path.text

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        places = self.path.places(event)
        for holder, key in reversed(places):  # so that positions in lists stay what they are
            del holder[key]
        return bool(places)


@dataclass(frozen=True, slots=True)
class ChangeValues:
    """Makes another value of each that the field has; null stays null unless it is mapped."""

    path: _Path
    words: str
    change: Callable[[Any], Any]
    """Raises ValueError where it cannot; says why."""
    of_null: bool = False

    @property
    def field(self) -> str:
        return self.path.text

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        places = self.path.places(event)
        for holder, key in places:
            value = holder[key]
            if value is None and not self.of_null:
                continue
            try:
                holder[key] = self.change(value)
            except (ValueError, ArithmeticError) as error:  # of numbers beyond all measure
                raise CannotFixError(str(error), self.path.text, value) from None
        return bool(places)


@dataclass(frozen=True, slots=True)
class PythonLines:
    """Runs lines of the user's own code, with the user's own rights; there is no sandbox."""

    source: str
    code: CodeType

    @classmethod
    def compile(cls, source: object) -> PythonLines:
        if not isinstance(source, str) or not source.strip():
            raise ValueError("python: write one or more lines, such as event['total'] = 0")
        source = dedent(source)
        try:
            return cls(source, compile(source, _FILE, "exec"))
        except (SyntaxError, ValueError) as error:  # of null bytes it is a ValueError
            if not isinstance(error, SyntaxError) or error.lineno is None:
                raise ValueError(f"python: {error}") from None
            raise ValueError(f"python: {_line_words(source, error.lineno, error.msg)}") from None

    @property
    def words(self) -> str:
        first, *more = self.source.strip().splitlines()
        return f"Python: {clean(first, _SHORT)}" + " …" * bool(more)

    @property
    def field(self) -> str:
        return ""

    def apply(self, event: Event, headers: Mapping[str, str]) -> bool:
        names = {
            "event": event,
            "headers": headers,
            "datetime": datetime,
            "Decimal": Decimal,
            "re": re,
        }
        try:
            exec(self.code, names)  # noqa: S102 - what the user wrote, as in a cell
        except (Exception, SystemExit) as error:
            raise CannotFixError(self._problem(error)) from None
        result = names["event"]
        if not isinstance(result, dict):
            kind = type(result).__name__
            raise CannotFixError(f"event is of type {kind} after the lines of Python, not a dict")
        plain = as_json(result)
        event.clear()
        event.update(plain)
        return True

    def _problem(self, error: BaseException) -> str:
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILE:
                line = trace.tb_lineno
            trace = trace.tb_next
        kind, said = type(error).__name__, str(error)
        return _line_words(self.source, line, f"{kind}: {said}" if said else kind)


def _line_words(source: str, number: int, problem: str) -> str:
    """What went wrong in a line, and the line itself."""
    lines = source.splitlines()
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return clean(f"line {number}: {problem}", 300) + (f"  ({clean(text, _SHORT)})" if text else "")


# Reading what was asked for


def steps_of(given: Mapping[str, Any]) -> list[FixStep]:
    """The steps that keyword arguments stand for, in the order in which they are written.

    Raises:
        TypeError, ValueError: one cannot be read; says which, and what to write.
    """
    steps: list[FixStep] = []
    for keyword, value in given.items():
        if keyword == "steps":
            for each in value:
                if not isinstance(each, Mapping):
                    raise TypeError(f"steps: {each!r} is no dict such as {{'remove': 'note'}}")
                steps += steps_of(each)
        elif keyword in _READERS:
            steps += _READERS[keyword](value)
        else:
            raise TypeError(f"steps: there is no {keyword!r}; there are {', '.join(_READERS)}")
    return steps


def step_names() -> list[str]:
    """The keyword arguments that change events."""
    return [*_READERS, "steps"]


def _set(given: Any) -> Iterator[FixStep]:
    for name, value in _pairs("set", given, "{'country': 'FR'}"):
        try:
            yield SetField(_Path.parse(name), as_json(value))
        except CannotFixError as error:
            raise ValueError(f"set {name}: {error}") from None


def _rename(given: Any) -> Iterator[FixStep]:
    for name, new in _pairs("rename", given, "{'country': 'country_code'}"):
        path, to = _Path.parse(name), _Path.parse(new)
        if not isinstance(to.steps[-1], str) or not isinstance(path.steps[-1], str):
            raise ValueError(f"rename {name}: an element of a list has no name")
        parent, last = _parent(path.steps)
        if _parent(to.steps)[0][: len(parent) + 1] == (*parent, last):
            raise ValueError(f"rename {name}: {new} would be inside it")
        yield RenameField(path, to)


def _convert(given: Any) -> Iterator[FixStep]:
    for name, kind in _pairs("convert", given, "{'total': 'float'}"):
        wanted = kind.__name__ if isinstance(kind, type) else str(kind)
        if wanted not in _CONVERSIONS:
            raise ValueError(f"convert {name}: {wanted!r} is none of {', '.join(_CONVERSIONS)}")
        path = _Path.parse(name)
        yield ChangeValues(path, f"convert {path.text} to {wanted}", _CONVERSIONS[wanted])


def _remove(given: Any) -> Iterator[FixStep]:
    for name in _names("remove", given):
        yield RemoveField(_Path.parse(name))


def _map(given: Any) -> Iterator[FixStep]:
    for name, values in _pairs("map", given, "{'country': {'france': 'FR'}}"):
        pairs = _pairs(f"map {name}", values, "{'france': 'FR'}")
        try:
            table = {_key(old): as_json(new) for old, new in pairs}
        except CannotFixError as error:
            raise ValueError(f"map {name}: {error}") from None
        shown = [f"{json_text(old)} to {json_text(table[_key(old)])}" for old, _ in pairs]
        path = _Path.parse(name)
        words = clean(f"map {path.text}: {', '.join(shown)}")
        yield ChangeValues(path, words, _mapping(table), of_null=True)


def _mapping(table: Mapping[Any, Any]) -> Callable[[Any], Any]:
    """A change of the values in the table; the others are kept."""

    def change(value: Any) -> Any:
        key = _key(value)
        return copied(table[key]) if key in table else value

    return change


def _absolute(given: Any) -> Iterator[FixStep]:
    for name in _names("absolute", given):
        path = _Path.parse(name)
        yield ChangeValues(path, f"absolute value of {path.text}", absolute)


def _python(given: Any) -> Iterator[FixStep]:
    yield PythonLines.compile(given)


_READERS: dict[str, Callable[[Any], Iterator[FixStep]]] = {
    "set": _set,
    "rename": _rename,
    "convert": _convert,
    "remove": _remove,
    "map": _map,
    "absolute": _absolute,
    "python": _python,
}


def _pairs(keyword: str, given: Any, example: str) -> list[tuple[Any, Any]]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{keyword}: give a dict such as {example}, not {given!r}")
    return [*given.items()]


def _names(keyword: str, given: Any) -> list[Any]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{keyword}: give the name of a field, or several, not {given!r}")
    return [*given]


def _key(value: Any) -> Any:
    """The same for values that are equal in JSON: 1 and 1.0, but not True; None where unusual."""
    if isinstance(value, bool) or value is None:
        return type(value), value
    if isinstance(value, (int, float)):
        return float, value
    return (str, value) if isinstance(value, str) else json_text(value, None)


# Values


def absolute(value: Any) -> Any:
    """The absolute value of a number, with its digits as they were written."""
    if isinstance(value, Literal):
        return Literal(value.text.removeprefix("-"))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return abs(value)
    raise ValueError(f"{json_text(value, _SHORT)} is no number")


def to_int(value: Any) -> int:
    """A whole number, also one that is written as a text."""
    if isinstance(value, int):
        return int(value)
    found = to_float(value)
    exact = Decimal(found.text if isinstance(found, Literal) else found)
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise ValueError(f"{json_text(value, _SHORT)} is no whole number")
    return int(exact)


def to_float(value: Any) -> float:
    """A number, also one that is written as a text, with its digits as they are there."""
    if isinstance(value, float):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if isinstance(value, int):
        text = str(int(value))
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{json_text(value, _SHORT)} is no number")
    return Literal(text if any(sign in text for sign in ".eE") else f"{text}.0")


def to_str(value: Any) -> str:
    """A text: numbers and booleans as JSON writes them."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        raise ValueError(f"{_kind(value)} does not become a text")
    return json_text(value, None)


def to_bool(value: Any) -> bool:
    """True or false, of yes and no, on and off, 1 and 0 as well."""
    word = value.strip().lower() if isinstance(value, str) else None
    if isinstance(value, (int, float)):
        word = {0.0: "0", 1.0: "1"}.get(float(value))
    if word not in _BOOLS:
        raise ValueError(f"{json_text(value, _SHORT)} is neither true nor false, yes or no, 1 or 0")
    return _BOOLS[word]


def to_datetime(value: Any) -> str:
    """A time in ISO 8601 and in UTC, of one in ISO 8601 or of a number since 1970."""
    try:
        if isinstance(value, str) and value[4:5] == "-":
            moment = datetime.fromisoformat(value.strip())
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
            return moment.isoformat().replace("+00:00", "Z")
        number = float(to_float(value))
        unit = next(u for u in UNITS.values() if YEAR_2000 * u <= abs(number) < YEAR_2100 * u)
        return datetime.fromtimestamp(number / unit, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, StopIteration, OverflowError):
        raise ValueError(
            f"{json_text(value, _SHORT)} is no time: neither ISO 8601, such as 2026-05-04T10:00, "
            "nor a number since 1970"
        ) from None


def to_list(value: Any) -> list[Any]:
    """A list: of a text, what is between its commas; of another value, that one."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value]


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int": to_int,
    "float": to_float,
    "str": to_str,
    "bool": to_bool,
    "datetime": to_datetime,
    "list": to_list,
}
KINDS = tuple(_CONVERSIONS)
"""What `convert` knows."""


def as_json(value: Any) -> Any:
    """A value of Python as JSON has it: times as text, decimals with their digits.

    Raises:
        CannotFixError: JSON has nothing for it; says what it is.
    """
    if value is None or isinstance(value, (bool, str, Literal)):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise CannotFixError(f"JSON has no number {value}")
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise CannotFixError(f"names of fields are texts, and {wrong[0]!r} is none")
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return Literal(str(value))
    if isinstance(value, Enum):
        return as_json(value.value)
    if isinstance(value, UUID):
        return str(value)
    if callable(item := getattr(value, "item", None)):  # of numpy
        return as_json(item())
    raise CannotFixError(f"JSON has nothing for a value of type {type(value).__name__}")


def copied(value: Any) -> Any:
    """A copy of a JSON value that shares nothing which can change."""
    if type(value) is dict:
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if type(value) is list else value


def json_text(value: Any, longest: int | None = 200) -> str:
    """A JSON value as text, cut where it is long."""
    try:
        text = written(value)
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    return clean(text, longest)


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "a list"
