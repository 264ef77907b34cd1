"""What an event looks like, as varco and as CloudEvents have it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

TYPE_KEY = "__event_type__"
VALUE = "value"
"""The field that a payload has which is no object."""

_ENVELOPE = ("specversion", "type", "id")


def may_be_envelope(names: Collection[str]) -> bool:
    """Whether an event with fields of these names can be a CloudEvents envelope."""
    return "specversion" in names and TYPE_KEY not in names and "type" in names and "id" in names


def is_envelope(event: dict[str, Any]) -> bool:
    """Whether `event` is a CloudEvents envelope."""
    return may_be_envelope(event) and all(type(event[name]) is str for name in _ENVELOPE)
