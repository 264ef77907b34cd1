"""Which dead letters a plan takes, by their fields, their error and their payload. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from varco_nats.dlq._codec import StoredEntry, as_utc
from varco_nats.replay._edit import json_object

TYPE_KEY = "__event_type__"
ID_KEY = "event_id"


class _Known(msgspec.Struct, gc=False):
    """What an event says of itself; all else in it is passed over, which takes a tenth of the time
    of reading it."""

    event_type: Any = msgspec.field(name=TYPE_KEY, default=msgspec.UNSET)
    event_id: Any = None
    specversion: Any = None
    type: Any = None
    id: Any = None


_known = msgspec.json.Decoder(_Known)
_KEYS = {each.encode_name: each.name for each in msgspec.structs.fields(_Known)}


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which dead letters a plan takes; None takes all."""

    channel: str | None = None
    handler: str | None = None
    error_type: str | None = None
    event_type: str | None = None
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    @property
    def takes_all(self) -> bool:
        return self == EntryFilter()

    def matches(self, stored: StoredEntry) -> bool:
        fields = stored.fields
        return (
            (self.channel is None or fields.channel == self.channel)
            and (self.handler is None or fields.handler_name == self.handler)
            and (self.error_type is None or fields.error_type == self.error_type)
            and (self.tenant_id is None or fields.tenant_id == self.tenant_id)
            and (self.since is None or as_utc(fields.last_failed_at) >= as_utc(self.since))
            and (self.until is None or as_utc(fields.last_failed_at) < as_utc(self.until))
            and (self.event_type is None or _type_of(stored) == self.event_type)
            and (self.text is None or self._has_text(stored, self.text.casefold()))
        )

    def _has_text(self, stored: StoredEntry, text: str) -> bool:
        of, payload = stored.fields, original_payload(stored).decode(errors="replace")
        texts = (of.error_message, of.error_type, of.handler_name, of.channel, payload)
        return any(text in value.casefold() for value in texts)


def original_payload(stored: StoredEntry) -> bytes:
    """The bytes of the event that failed."""
    if stored.event_bytes is not None:
        return stored.event_bytes
    return stored.fields.payload or b""


def _type_of(stored: StoredEntry) -> str | None:
    return event_of(original_payload(stored))[1]


def event_of(payload: bytes) -> tuple[str | None, str | None]:
    """The event's id and type, None where the payload does not say.

    In a CloudEvents envelope these are the attributes `id` and `type`.
    """
    try:
        event = _known.decode(payload)
    except (ValueError, RecursionError):  # no object, or one that only Python's own reader takes
        found = json_object(payload) or {}
        event = _Known(**{_KEYS[key]: found[key] for key in found.keys() & _KEYS.keys()})
    envelope = event.id, event.type, event.specversion
    if event.event_type is msgspec.UNSET and all(isinstance(value, str) for value in envelope):
        return event.id, event.type
    return _text(event.event_id), _text(event.event_type)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
