"""Dead letters as they are shown where values are masked: events, headers and error texts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from varco_nats._masks._mask import Mask
from varco_nats._masks._shown import WITHHELD_TEXT
from varco_nats._masks._unmask import hidden, without
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import UNREADABLE, StoredEntry
from varco_nats.replay._edit import json_object, written
from varco_nats_widgets.dead_letters._index.filter import event_message, event_of
from varco_nats_widgets.frames._decoding import JSON, WITHHELD, Decoded, Decoding, as_json


class OfShownEntries(Decoding):
    """Reads the events of entries that `shown_entry` made: JSON, with no value to hide in it."""

    def decode_all(
        self, messages: Sequence[StoredMessage], used: dict[str, set[str]] | None = None
    ) -> tuple[list[dict[str, Any]], dict[int, str]]:
        return self._decode_each(messages, {})

    @property
    def is_plain(self) -> bool:
        return False

    def true(self, message: StoredMessage) -> Decoded:
        if message.data == WITHHELD:
            return Decoded(None, "cannot be decoded", JSON)
        return super().true(message)


def shown_entry(stored: StoredEntry, decoding: Decoding) -> StoredEntry:
    """The entry as it is shown; only its `message` is as it is stored.

    A masked value of the event or of its headers is masked in the error message too. Where the
    event cannot be read, so that nobody knows its values, its bytes and that text are withheld.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """
    mask, entry = decoding.mask, stored.entry
    if mask is None:
        return stored
    mask.note_read(entry.channel)
    headers = None if stored.headers is None else mask.headers(stored.headers)
    masks = [*hidden(headers or {}, dict(stored.headers or {}))]
    event, is_known = event_of(stored), False
    if event is not None:
        decoded = decoding.true(event_message(stored))
        # what is no dead letter may have an event anywhere in it
        is_known = decoded.problem is None and entry.error_type != UNREADABLE
        if is_known:
            masks += hidden(mask.payload(decoded.value), decoded.value)
            event = shown_event(event, decoded, mask)
        else:
            event = WITHHELD
    text = without(entry.error_message, masks) if is_known else WITHHELD_TEXT
    entry = replace(
        entry,
        error_message=text,
        tenant_id=None if entry.tenant_id is None else without(entry.tenant_id, masks),
        payload=None if entry.payload is None else event,
    )
    event_bytes = None if stored.event_bytes is None else event
    return structs.replace(stored, fields=entry, event_bytes=event_bytes, headers=headers)


def shown_event(data: bytes, decoded: Decoded, mask: Mask) -> bytes:
    """The event as JSON, with its values masked and its numbers as they were written."""
    true = json_object(data)
    if true is None:
        return as_json(mask.payload(decoded.value))
    return written(mask.payload(true)).encode(errors="backslashreplace")


def stored_bytes(stored: StoredEntry, decoding: Decoding) -> bytes:
    """The whole entry as it is stored, as far as that is shown."""
    return WITHHELD if isinstance(decoding, OfShownEntries) else stored.message.data
