"""What the class of an event says of a payload, where this process knows it. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from varco_nats._varco_core import EVENT_CLASSES
from varco_nats_widgets.frames._payload import TYPE_KEY

_SERIALIZER = JsonEventSerializer()


def class_of(event: dict[str, Any]) -> type[Event] | None:
    """The class of an event with these fields; None where it is not known in this process."""
    name = event.get(TYPE_KEY)
    return EVENT_CLASSES.get(name) if isinstance(name, str) else None


def class_problems(event: dict[str, Any], data: bytes) -> list[str]:
    """What the class of an event has against its payload, a line for each field.

    Args:
        event: the fields of the payload.
        data: the payload as JSON.
    """
    if class_of(event) is None:
        return []
    try:
        _SERIALIZER.deserialize(data)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
    except Exception as error:  # a validator of the class may raise anything
        return [f"{type(error).__name__}: {error}"]
    return []
