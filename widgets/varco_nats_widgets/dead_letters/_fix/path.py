"""Fields of an event: where the one is that a name means, and which name a place has. Pure.

A field is named as in a condition: `total`, `customer.name`, `items[0].price`, `items[].price` for
that of every element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from varco_nats_widgets.frames._condition_fields import Step
from varco_nats_widgets.frames._condition_parser import ConditionError, Parser, quoted_name

type Event = dict[str, Any]

_DATA = "data."  # before the name of a field in a frame of dead letters


@dataclass(frozen=True, slots=True)
class FieldPath:
    """The way to a field."""

    text: str
    """The name, as it was given."""
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: object) -> Self:
        """The way to the field of this name.

        Raises:
            ValueError: it names none.
        """
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{text!r} names no field; write one such as 'customer.name'")
        try:
            field = Parser(text).parse_field()
        except ConditionError as error:
            if any(sign in text for sign in ".[`"):
                raise ValueError(f"{text!r} names no field: {error.reason}") from None
            return cls(text, (text,))
        return cls(text, (field.name, *field.steps))

    def _steps_in(self, event: Event) -> tuple[Step, ...]:
        """The way in this event; `data.total` is what a frame calls the field `total`."""
        first = self.steps[0]
        if isinstance(first, str) and first.startswith(_DATA) and "data" not in event:
            return (first.removeprefix(_DATA), *self.steps[1:])
        return self.steps

    def places(self, event: Event, *, make: bool = False) -> list[tuple[Any, Any]]:
        """Where the field is: objects or lists, each with the key or position in it.

        Args:
            make: whether it is made where it is not there, as null, with the objects on the way.
        """
        return [*_places(event, self._steps_in(event), make)]

    def names(self, event: Event | None = None) -> list[Step]:
        """The way, in this event, with each name a step of its own: `a.b` is two."""
        steps = self.steps if event is None else self._steps_in(event)
        return [
            name
            for step in steps
            for name in (step.split(".") if isinstance(step, str) else [step])
        ]


def _places(value: Any, steps: Sequence[Step], make: bool) -> Iterator[tuple[Any, Any]]:
    step, rest = steps[0], steps[1:]
    keys: Sequence[Any] = ()
    if isinstance(step, str) and isinstance(value, dict):
        outer, dot, inner = step.partition(".")
        if step not in value and dot:
            step, rest = outer, (inner, *rest)
        if step in value:
            keys = [step]
        elif make and all(isinstance(each, str) for each in rest):
            keys = [step]
            value[step] = {} if rest else None
    elif isinstance(value, list) and not isinstance(step, str):
        if step is None:
            keys = range(len(value))
        elif -len(value) <= step < len(value):
            keys = [step]
    for key in keys:
        if rest:
            yield from _places(value[key], rest, make)
        else:
            yield value, key


def within(where: str, key: str | int) -> str:
    """The name of what has this key or position in the field `where`; "" is the event itself."""
    if isinstance(key, int):
        return f"{where}[{key}]"
    name = quoted_name(key) or key
    return f"{where}.{name}" if where else name


def fields_in(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Each field and what it has; of objects and lists themselves, and then what is in them."""
    if where:
        yield where, value
    if isinstance(value, dict):
        for name, inner in value.items():
            if quoted_name(name):
                yield from fields_in(inner, within(where, name))
    elif isinstance(value, list):
        for inner in value:
            yield from fields_in(inner, f"{where}[]")
