"""Steps that change fields of an event: set, rename, convert, remove, map and so on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from varco_nats_widgets.dead_letters._fix.path import Event, FieldPath
from varco_nats_widgets.dead_letters._fix.python import Headers, python_lines
from varco_nats_widgets.dead_letters._fix.values import (
    CONVERSIONS,
    absolute,
    as_json,
    copied,
    json_text,
    lookup_key,
)
from varco_nats_widgets.dead_letters._index.filter import FilterOptions
from varco_nats_widgets.frames._cells import clean

type Kind = str | type
"""What a value is converted to: `int`, `float`, `str`, `bool`, `datetime`, `list`, or its name."""
type Change = Callable[[Event, Headers], bool]


class StepOptions(TypedDict, total=False):
    """The keyword arguments that change events."""

    set: Mapping[str, Any] | None
    rename: Mapping[str, str] | None
    convert: Mapping[str, Kind] | None
    remove: str | Iterable[str] | None
    map: Mapping[str, Mapping[Any, Any]] | None
    absolute: str | Iterable[str] | None
    python: str | None
    steps: Iterable[StepOptions] | None


class FixOptions(StepOptions, FilterOptions, total=False):
    """These, and which dead letters are changed."""


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


@dataclass(frozen=True, slots=True)
class FixStep:
    """One change of an event."""

    words: str
    """What it does, in a line."""
    field: str
    """The field that must be there; "" if none must."""
    apply: Change
    """Changes an event, which has these headers, in place; returns whether the field is there.

    It raises CannotFixError where that cannot be done, which says why.
    """


# Reading what was asked for


def steps_of(given: Mapping[str, Any]) -> list[FixStep]:
    """The steps that keyword arguments stand for, in the order in which they are written.

    Raises:
        TypeError, ValueError: one cannot be read; says which, and what to write.
    """
    steps: list[FixStep] = []
    for keyword, value in given.items():
        if value is None:
            continue
        if keyword == "steps":
            for each in value:
                if not isinstance(each, Mapping):
                    raise TypeError(f"steps: {each!r} is no dict such as {{'remove': 'note'}}")
                steps += steps_of(each)
        elif keyword == "python":
            steps.append(_python(value))
        elif keyword in _READERS:
            steps += _field_steps(keyword, value)
        else:
            raise TypeError(f"steps: there is no {keyword!r}; there are {', '.join(_KEYWORDS)}")
    return steps


def step_names() -> list[str]:
    """The keyword arguments that change events."""
    return [*_KEYWORDS, "steps"]


def _field_steps(keyword: str, given: Any) -> Iterator[FixStep]:
    read, example = _READERS[keyword]
    if example:
        wanted = [*_pairs(keyword, given, example).items()]
    else:
        wanted = [(name, None) for name in _names(keyword, given)]
    for name, value in wanted:
        path = FieldPath.parse(name)
        try:
            words, change = read(path, value)
        except ValueError as error:
            raise ValueError(f"{keyword} {name}: {error}") from None
        yield FixStep(words, path.text, change)


def _pairs(keyword: str, given: Any, example: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{keyword}: give a dict such as {example}, not {given!r}")
    return given


def _names(keyword: str, given: Any) -> Iterable[Any]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{keyword}: give the name of a field, or several, not {given!r}")
    return given


def _python(source: Any) -> FixStep:
    try:
        words, run = python_lines(source)
    except ValueError as error:
        raise ValueError(f"python: {error}") from None

    def apply(event: Event, headers: Headers) -> bool:
        try:
            run(event, headers)
        except ValueError as error:
            raise CannotFixError(str(error)) from None
        return True

    return FixStep(words, "", apply)


# Steps that change a field: each reader gives the words of the step, and the change


def _set(path: FieldPath, given: Any) -> tuple[str, Change]:
    value = as_json(given)
    change = _changed(path, lambda _: copied(value), of_null=True, make=True)
    return f"set {path.text} to {json_text(value)}", change


def _convert(path: FieldPath, given: Any) -> tuple[str, Change]:
    kind = given.__name__ if isinstance(given, type) else str(given)
    if kind not in CONVERSIONS:
        raise ValueError(f"{kind!r} is none of {', '.join(CONVERSIONS)}")
    return f"convert {path.text} to {kind}", _changed(path, CONVERSIONS[kind])


def _map(path: FieldPath, given: Any) -> tuple[str, Change]:
    values = _pairs(f"map {path.text}", given, "{'france': 'FR'}")
    wanted = {old: as_json(new) for old, new in values.items()}
    table = {lookup_key(old): new for old, new in wanted.items()}
    shown = ", ".join(f"{json_text(old)} to {json_text(new)}" for old, new in wanted.items())

    def mapped(value: Any) -> Any:
        key = lookup_key(value)
        return copied(table[key]) if key in table else value

    return clean(f"map {path.text}: {shown}"), _changed(path, mapped, of_null=True)


def _absolute(path: FieldPath, _: Any) -> tuple[str, Change]:
    return f"absolute value of {path.text}", _changed(path, absolute)


def _changed(
    path: FieldPath, change: Callable[[Any], Any], *, of_null: bool = False, make: bool = False
) -> Change:
    """Makes another value of each that the field has.

    Args:
        change: raises ValueError where it cannot; says why.
        of_null: whether null is changed, too.
        make: whether the field is made where it is not there, as null.
    """

    def apply(event: Event, _: Headers) -> bool:
        places = path.places(event, make=make)
        for holder, key in places:
            value = holder[key]
            if value is None and not of_null:
                continue
            try:
                holder[key] = change(value)
            except (ValueError, ArithmeticError) as error:  # of numbers beyond all measure
                raise CannotFixError(str(error), path.text, value) from None
        return bool(places)

    return apply


def _remove(path: FieldPath, _: Any) -> tuple[str, Change]:
    def apply(event: Event, _: Headers) -> bool:
        places = path.places(event)
        for holder, key in reversed(places):  # so that positions in lists stay what they are
            del holder[key]
        return bool(places)

    return f"remove {path.text}", apply


def _rename(path: FieldPath, given: Any) -> tuple[str, Change]:
    """Gives a field another name, or has it in another object."""
    to = FieldPath.parse(given)
    if not isinstance(to.steps[-1], str) or not isinstance(path.steps[-1], str):
        raise ValueError("an element of a list has no name")
    inside = f"{to.text} would be inside it"
    if _is_inside(to.names(), path.names()):
        raise ValueError(inside)
    taken = f"there is a field {to.text} already"

    def refused(reason: str, value: Any = None) -> CannotFixError:
        return CannotFixError(reason, path.text, value)

    def apply(event: Event, _: Headers) -> bool:
        places = path.places(event)
        way, new_way = path.names(event), to.names(event)
        if way[:-1] == new_way[:-1]:
            for holder, key in places:
                new = f"{key.removesuffix(str(way[-1]))}{new_way[-1]}"  # a key may have dots
                if new in holder and new != key:
                    raise refused(taken, holder[key])
                renamed = {new if each == key else each: value for each, value in holder.items()}
                holder.clear()
                holder.update(renamed)
            return bool(places)
        if None in (*way, *new_way):
            raise refused(
                f"{path.text} cannot become {to.text}: elements of lists are renamed only where "
                "they are"
            )
        for holder, key in places:  # no more than one
            value = holder[key]
            if _is_inside(new_way, way):  # where one of them is named as in a frame
                raise refused(inside, value)
            if to.places(event):
                raise refused(taken, value)
            made = to.places(event, make=True)
            if not made:
                raise refused(f"there is no object for {to.text}", value)
            [(new_holder, new)] = made
            new_holder[new] = value
            del holder[key]
        return bool(places)

    return f"rename {path.text} to {to.text}", apply


def _is_inside(way: list[Any], other: list[Any]) -> bool:
    return len(way) > len(other) and way[: len(other)] == other


_READERS: dict[str, tuple[Callable[[FieldPath, Any], tuple[str, Change]], str]] = {
    "set": (_set, "{'country': 'FR'}"),
    "rename": (_rename, "{'country': 'country_code'}"),
    "convert": (_convert, "{'total': 'float'}"),
    "remove": (_remove, ""),
    "map": (_map, "{'country': {'france': 'FR'}}"),
    "absolute": (_absolute, ""),
}
"""Each with an example of the dict that it takes; "" where it takes names of fields alone."""
_KEYWORDS = (*_READERS, "python")
