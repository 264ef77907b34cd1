"""A payload edited by hand: what it becomes, what differs, and whether it is an event. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._payload import TYPE_KEY, decode

__all__ = ["InvalidPayloadError", "PayloadEdit", "edited", "pretty"]

_SERIALIZER = JsonEventSerializer()


class InvalidPayloadError(VarcoNatsError, ValueError):
    """An edited payload that is no JSON object, or that its event class refuses.

    Attributes:
        entry_id: of the entry that was to be edited.
        problems: one line for each thing that is wrong, naming the field.
    """

    def __init__(self, entry_id: UUID, problems: list[str]) -> None:
        self.entry_id = entry_id
        self.problems = tuple(problems)
        super().__init__(
            f"the new payload of dead letter {entry_id} is not valid: {'; '.join(problems)}"
        )


@dataclass(frozen=True)
class PayloadEdit:
    """What a replay of one entry sends instead of the event as it came."""

    entry_id: UUID
    data: bytes = field(repr=False)
    """The payload to send."""
    diff: str = field(repr=False)
    """The changed lines of the JSON, in unified format; "" if nothing changed."""
    checked_by: str | None
    """The event class that accepts it; None where the class is not known in this process."""

    def __repr__(self) -> str:
        return f"PayloadEdit({self.entry_id})"


def edited(entry_id: UUID, before: bytes, after: str | bytes | dict[str, Any]) -> PayloadEdit:
    """The edit that replaces `before`.

    Args:
        after: the new payload, as JSON or as a dict.

    Raises:
        InvalidPayloadError: it is no JSON object, or the class of its event refuses it.
    """
    data = _bytes(entry_id, after)
    found, problem = decode(data)
    if problem is not None:
        raise InvalidPayloadError(entry_id, [problem])
    checked_by = _check(entry_id, found, data)
    lines = (pretty(before).splitlines(), pretty(data).splitlines())
    diff = "\n".join(unified_diff(*lines, "as it came", "edited", lineterm="", n=2))
    return PayloadEdit(entry_id, data, diff, checked_by)


def pretty(data: bytes) -> str:
    """JSON with one field on a line; what is no JSON as text."""
    try:
        return json.dumps(json.loads(data.decode()), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return data.decode(errors="backslashreplace")


def _bytes(entry_id: UUID, after: str | bytes | dict[str, Any]) -> bytes:
    try:
        if isinstance(after, bytes):
            return after
        if isinstance(after, str):
            value = json.loads(after)
            return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return json.dumps(after, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidPayloadError(entry_id, [f"not JSON: {error.msg} at {where}"]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayloadError(entry_id, [f"not JSON: {error}"]) from None


def _check(entry_id: UUID, found: dict[str, Any], data: bytes) -> str | None:
    """The name of the event's class, None if there is none of this type in this process."""
    name = found.get(TYPE_KEY)
    known = Event._registry.get(name) if isinstance(name, str) else None
    if known is None:
        return None
    try:
        _SERIALIZER.deserialize(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidPayloadError(entry_id, problems) from None
    except Exception as error:  # a validator of the class may raise anything
        raise InvalidPayloadError(entry_id, [f"{type(error).__name__}: {error}"]) from None
    return known.__name__
