"""How dead letters are stored: the subject of an entry, and its JSON. Pure, no I/O.

The JSON has the field names of the released package, whose entries are read, too.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self
from uuid import UUID, uuid5

import msgspec
from varco_core.event.base import CHANNEL_ALL, Event
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource
from varco_core.serialization import Serializer

from varco_nats._nats import provenance
from varco_nats._nats.context import tenant_of
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage, moment
from varco_nats._varco_core import new_entry
from varco_nats.config import StreamSettings
from varco_nats.subjects import dead_letter_name, decode_channel, encode_channel

UNREADABLE = "UnreadableEntry"
"""The `error_type` of an entry whose message cannot be read as a dead letter."""

_HEX = "[0-9a-f]"
# a group that is repeated would take twice as long
_ID = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_ID_AND_CHANNEL = re.compile(rf"\.({_ID})\.(.+)", re.DOTALL)
_channel_in = lru_cache(maxsize=1024)(decode_channel)
_NAMESPACE = UUID("5d0b4f3e-93f0-5b7c-9a7e-3f0b7c1d2e64")
_ZLIB = b"x"  # first byte of a zlib stream, which no JSON object starts with
_MADE_UP_VERSION = 8
_SEQ_MASK = (1 << 62) - 1
_HEADER = re.compile(r"[^\s:\x00-\x1f\ud800-\udfff]+")
_HEADER_VALUE = re.compile(r"[^\r\n\ud800-\udfff]*")
_SHORT_MESSAGE = 10_000
_MAX_INFLATED = 64 * 1024 * 1024
_MAX_REASON = 300  # an error's text may contain the whole field


@dataclass(frozen=True, slots=True)
class DlqNames:
    """The names of one dead letter queue on the server."""

    stream: str
    root: str
    """Entries are stored under `{root}.{entry_id}.{channel}`."""
    channel_prefix: str = ""

    @classmethod
    def of(cls, settings: StreamSettings) -> Self:
        """The names of the queue that belongs to the stream of `settings`."""
        return cls(
            dead_letter_name(settings.stream_name),
            dead_letter_name(settings.subject_prefix),
            settings.channel_prefix,
        )

    @property
    def is_foreign(self) -> bool:
        """Whether others write the queue, so that no subject names an entry or its channel; the id
        of each is made of its sequence."""
        return False

    def subject(self, entry_id: UUID | str, channel: str) -> str:
        return f"{self.root}.{entry_id}.{encode_channel(self.channel_prefix + channel)}"

    def all_entries(self) -> str:
        return f"{self.root}.>"

    def of_entry(self, entry_id: UUID | str) -> str:
        return f"{self.root}.{entry_id}.>"

    def of_channel(self, channel: str) -> str:
        return f"{self.root}.*.{encode_channel(self.channel_prefix + channel)}"

    def parse(self, subject: str) -> tuple[UUID, str] | None:
        """Entry id and channel in an entry's subject; None if it is another subject."""
        found = self._parts(subject)
        if found is None:
            return None
        entry_id, tokens = found.groups()
        return UUID(entry_id), _channel_in(tokens).removeprefix(self.channel_prefix)

    def id_in(self, subject: str) -> str | None:
        """Only the entry's id, as text."""
        found = self._parts(subject)
        return None if found is None else found[1]

    def _parts(self, subject: str) -> re.Match[str] | None:
        found = _ID_AND_CHANNEL.fullmatch(subject, len(self.root))
        return found if subject.startswith(self.root) else None

    def decode(self, message: StoredMessage) -> StoredEntry:
        """The dead letter in a message of this queue; never fails, see `decode`."""
        return decode(message, self)


class Fields(msgspec.Struct, gc=False):
    """The JSON of an entry that has the types which `encode` and the released package write.

    What has the name of a field of `DeadLetterEntry` means the same, but a time may be without its
    time zone.
    """

    entry_id: str
    first_failed_at: datetime
    last_failed_at: datetime
    channel: str = ""
    handler_name: str = ""
    error_type: str = ""
    error_message: str = ""
    attempts: int = 0
    source: DeadLetterSource = DeadLetterSource.CONSUMER
    source_ref: str | None = None
    tenant_id: str | None = None
    payload: bytes | None = None
    event_payload: str | None = None
    event_payload_base64: bytes | None = None
    headers: Any = None
    num_delivered: Any = None

    def entry(self) -> DeadLetterEntry:
        """The entry, with `event=None`."""
        return new_entry(
            entry_id=uuid_of(self.entry_id),
            event=None,
            channel=self.channel,
            handler_name=self.handler_name,
            error_type=self.error_type,
            error_message=self.error_message,
            attempts=self.attempts,
            first_failed_at=as_utc(self.first_failed_at),
            last_failed_at=as_utc(self.last_failed_at),
            source=self.source,
            source_ref=self.source_ref,
            tenant_id=self.tenant_id,
            payload=self.payload,
        )


class StoredEntry(msgspec.Struct, eq=False, gc=False):  # made by the ten thousand
    """A dead letter as it is stored, its event not yet deserialized; not to be changed."""

    fields: DeadLetterEntry | Fields
    """The entry; or what it is made of, until somebody asks for it, as that takes a while."""
    event_bytes: bytes | None
    """The event as its serializer wrote it; None for a payload-only entry."""
    message: StoredMessage
    headers: Mapping[str, str] | None
    """Headers of the message that failed, where known."""
    num_delivered: int | None
    """Deliveries of the message that failed, where known."""

    @property
    def entry(self) -> DeadLetterEntry:
        """The entry, with `event=None`."""
        fields = self.fields
        if not isinstance(fields, DeadLetterEntry):
            self.fields = fields = fields.entry()
        return fields

    @property
    def entry_id(self) -> UUID:
        """The entry's id, which is known without the entry."""
        return uuid_of(self.fields.entry_id)

    @property
    def at_most(self) -> int | None:
        """Bytes that its payload and the headers of its message have at most, quickly found out.

        None if it is not known so quickly.
        """
        data = self.message.data
        # JSON has both in it, and no text is longer there than by itself
        is_plain = isinstance(self.fields, Fields) and not data.startswith(_ZLIB)
        return len(data) if is_plain else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredEntry):
            return NotImplemented
        return self.entry == other.entry and all(
            getattr(self, name) == getattr(other, name)
            for name in ("event_bytes", "message", "headers", "num_delivered")
        )

    __hash__ = None  # type: ignore[assignment]

    def replay_headers(self) -> dict[str, str]:
        """The headers of its replay, without `Varco-Replay-Id`."""
        return provenance.replay_headers(self.fields.entry_id, self.headers, self.num_delivered)

    def with_event(self, serializer: Serializer[Event]) -> DeadLetterEntry:
        """The entry with its event; with the bytes as `payload` if they cannot be deserialized."""
        if self.event_bytes is None:
            return self.entry
        try:
            event = serializer.deserialize(self.event_bytes)
        except Exception:  # a serializer may raise anything, and no entry may be lost
            payload = self.entry.payload
            return replace(self.entry, payload=self.event_bytes if payload is None else payload)
        provenance.mark(event, self.replay_headers())
        # dataclasses.replace() takes three times as long
        return new_entry(**{**vars(self.entry), "event": event})


def with_delivery(entry: DeadLetterEntry, delivery: MessageDelivery | None) -> DeadLetterEntry:
    """`entry`, with its missing fields taken from the message that is being handled."""
    if delivery is None or entry.source is not DeadLetterSource.CONSUMER:
        return entry
    return replace(
        entry,
        channel=delivery.channel if entry.channel in ("", CHANNEL_ALL) else entry.channel,
        source_ref=entry.source_ref or delivery.source_ref,
        tenant_id=entry.tenant_id or tenant_of(delivery.headers),
    )


def with_short_message(entry: DeadLetterEntry) -> DeadLetterEntry:
    """`entry`, its error message cut to a length that somebody may read."""
    text = entry.error_message
    if len(text) <= _SHORT_MESSAGE:
        return entry
    cut = f"{text[:_SHORT_MESSAGE]} [{len(text) - _SHORT_MESSAGE:,} more characters]"
    return replace(entry, error_message=cut)


def without_payload(entry: DeadLetterEntry, why: str) -> DeadLetterEntry:
    """`entry` without its event and payload; its error message says so, with the reason `why`."""
    note = f"stored without its payload: {why}"
    if entry.source_ref:
        note += f"; see source_ref {entry.source_ref}"
    message = f"{entry.error_message} [{note}]".lstrip()
    return replace(entry, event=None, payload=None, error_message=message)


def encode(
    entry: DeadLetterEntry,
    serializer: Serializer[Event],
    delivery: MessageDelivery | None = None,
    *,
    max_size: int | None = None,
) -> bytes:
    """The bytes to store for `entry`: JSON, compressed if it is larger than `max_size` bytes.

    It is not compressed if it is larger than what `decode` accepts.
    """
    payload, event_bytes = entry.payload, None
    if entry.event is not None:
        if delivery is not None and _is_delivered(entry, delivery):
            # the event as it was delivered, with fields that its class may not know, and only once
            event_bytes = delivery.payload
            payload = None if payload == event_bytes else payload
        else:
            event_bytes = serializer.serialize(entry.event)
    fields: dict[str, Any] = {
        "entry_id": str(entry.entry_id),
        "channel": entry.channel,
        "handler_name": entry.handler_name,
        "error_type": entry.error_type,
        "error_message": entry.error_message,
        "attempts": entry.attempts,
        "first_failed_at": as_utc(entry.first_failed_at).isoformat(),
        "last_failed_at": as_utc(entry.last_failed_at).isoformat(),
        "event_payload": None,
        "source": str(entry.source),
        "source_ref": entry.source_ref,
        "tenant_id": entry.tenant_id,
        "payload": None if payload is None else base64.b64encode(payload).decode(),
    }
    if event_bytes is not None:
        try:
            fields["event_payload"] = event_bytes.decode()
        except UnicodeDecodeError:
            fields["event_payload_base64"] = base64.b64encode(event_bytes).decode()
    if delivery is not None and entry.source is DeadLetterSource.CONSUMER:
        fields["headers"] = None if delivery.headers is None else dict(delivery.headers)
        fields["num_delivered"] = delivery.num_delivered
    data = json_bytes(fields)
    if max_size is None or len(data) <= max_size or len(data) > _MAX_INFLATED:
        return data
    return zlib.compress(data)


def decode(message: StoredMessage, names: DlqNames) -> StoredEntry:
    """The dead letter in `message`. Never fails: what cannot be read becomes an entry that says so.

    Its id comes from the subject, else from the JSON, else it is made of the sequence.
    """
    return decode_named(message, names, names.id_in(message.subject))


def decode_named(message: StoredMessage, names: DlqNames, named: str | None) -> StoredEntry:
    """The same, with what `names.id_in` gives for its subject."""
    try:
        return _decode(message, names, named)
    except Exception as error:  # anybody may store anything there, and nothing may be lost
        entry_id, channel = names.parse(message.subject) or (
            made_up_id(message.seq, names.stream),
            "",
        )
        return unreadable(message, names.stream, entry_id, channel, error)


def unreadable(
    message: StoredMessage, stream: str, entry_id: UUID, channel: str, error: Exception
) -> StoredEntry:
    """The entry that stands for a message which cannot be read as a dead letter."""
    stored_at = moment(message.time_ns)
    entry = DeadLetterEntry(
        entry_id=entry_id,
        channel=channel,
        error_type=UNREADABLE,
        error_message=(
            f"sequence {message.seq} of {stream} is not a dead letter: {str(error)[:_MAX_REASON]}"
        ),
        first_failed_at=stored_at,
        last_failed_at=stored_at,
        payload=message.data,
    )
    return StoredEntry(entry, None, message, message.headers, None)


def released_can_read(message: StoredMessage) -> bool:
    """Whether the released package can read the entry; it removes unread what it cannot."""
    try:
        fields = json.loads(message.data)
    except ValueError:  # it is compressed, or no dead letter
        return False
    return isinstance(fields, dict) and isinstance(fields.get("event_payload"), str)


def inflated(data: bytes) -> bytes:
    """The decompressed data, up to 64 MiB, so that no message can exhaust the memory.

    Raises:
        ValueError: it is not data of zlib, or it is cut off or too large.
    """
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, _MAX_INFLATED)
    except zlib.error as error:
        raise ValueError(f"its compressed data is damaged: {error}") from None
    if not inflater.eof and inflater.unconsumed_tail:
        raise ValueError(f"it is too large to unpack, more than {_MAX_INFLATED:,} bytes")
    if not inflater.eof:
        raise ValueError("its compressed data is cut off")
    return plain


def as_utc(moment: datetime) -> datetime:
    """`moment`, taken as UTC if it has no time zone."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def first_failure(entry: DeadLetterEntry) -> datetime | None:
    """When it first failed; None where only the last of several failures is known."""
    known = entry.attempts <= 1 or entry.first_failed_at != entry.last_failed_at
    return entry.first_failed_at if known else None


_read_uuid = msgspec.json.Decoder(UUID).decode


def uuid_of(entry_id: UUID | str) -> UUID:
    """The id that has this text."""
    # takes a third of the time of UUID()
    return entry_id if isinstance(entry_id, UUID) else _read_uuid(f'"{entry_id}"')


def made_up_id(seq: int, stream: str) -> UUID:
    """An id that contains the sequence, by which the message is found (RFC 9562, version 8)."""
    return UUID(int=_id_of_stream(stream) | seq & _SEQ_MASK)


@lru_cache(maxsize=128)
def _id_of_stream(stream: str) -> int:
    name = uuid5(_NAMESPACE, stream).int & ~(_SEQ_MASK | 0xF << 76)
    return name | _MADE_UP_VERSION << 76 | 0b10 << 62


def made_of(entry_id: UUID) -> int | None:
    """The sequence of the message that an id was made of; None for any other id."""
    return entry_id.int & _SEQ_MASK if entry_id.version == _MADE_UP_VERSION else None


def _is_delivered(entry: DeadLetterEntry, delivery: MessageDelivery) -> bool:
    """Whether the entry's event is that of the message that is being handled."""
    if entry.payload is not None and entry.payload == delivery.payload:
        return True
    event = delivery.event
    return event is not None and entry.event is not None and event.event_id == entry.event.event_id


_usual = msgspec.json.Decoder(Fields)


def _decode(message: StoredMessage, names: DlqNames, named: str | None) -> StoredEntry:
    data = message.data
    if data.startswith(_ZLIB):
        data = inflated(data)
    try:
        fields = _usual.decode(data)  # takes a third of the time of `_decode_any`
    except ValueError:
        return _decode_any(data, message, names, named)
    fields.entry_id = named or str(_unnamed_id(message, names, fields.entry_id))
    event_bytes, headers = fields.event_payload_base64, fields.headers
    if event_bytes is None and fields.event_payload is not None:
        event_bytes = fields.event_payload.encode()
    deliveries = fields.num_delivered if type(fields.num_delivered) is int else None
    return StoredEntry(
        fields, event_bytes, message, None if headers is None else _headers(headers), deliveries
    )


def _unnamed_id(message: StoredMessage, names: DlqNames, in_json: str) -> UUID:
    """The id of an entry whose subject does not name it."""
    under_root = message.subject.startswith(f"{names.root}.")
    return made_up_id(message.seq, names.stream) if under_root else UUID(in_json)


def _decode_any(
    data: bytes, message: StoredMessage, names: DlqNames, named: str | None
) -> StoredEntry:
    """Decode what has other types, as far as they can be understood."""
    fields = _fields(data)
    if not isinstance(fields, dict) or "entry_id" not in fields:
        raise ValueError("not a JSON object with an entry_id")
    entry_id = UUID(named) if named else _unnamed_id(message, names, fields["entry_id"])
    event_bytes: bytes | None = None
    if (encoded := fields.get("event_payload_base64")) is not None:
        event_bytes = base64.b64decode(encoded, validate=True)
    elif (text := fields.get("event_payload")) is not None:
        event_bytes = text.encode()
    payload = fields.get("payload")
    entry = DeadLetterEntry(
        entry_id=entry_id,
        channel=_text(fields, "channel"),
        handler_name=_text(fields, "handler_name"),
        error_type=_text(fields, "error_type"),
        error_message=_text(fields, "error_message"),
        attempts=int(fields.get("attempts", 0)),
        first_failed_at=as_utc(datetime.fromisoformat(fields["first_failed_at"])),
        last_failed_at=as_utc(datetime.fromisoformat(fields["last_failed_at"])),
        source=DeadLetterSource(fields.get("source", DeadLetterSource.CONSUMER)),
        source_ref=_as_text(fields.get("source_ref")),
        tenant_id=_as_text(fields.get("tenant_id")),
        payload=None if payload is None else base64.b64decode(payload, validate=True),
    )
    deliveries = fields.get("num_delivered")
    return StoredEntry(
        entry,
        event_bytes,
        message,
        _headers(fields.get("headers")),
        deliveries if type(deliveries) is int else None,
    )


def _headers(found: object) -> dict[str, str] | None:
    """The valid headers in what the JSON of an entry has there."""
    if not isinstance(found, dict):
        return None
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and _HEADER.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
    }


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}, not a string")
    return value


def _fields(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)  # takes a fifth of the time of json.loads
    except ValueError:  # half a surrogate pair, or no JSON
        return json.loads(data)


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """The fields as JSON."""
    try:
        return msgspec.json.encode(fields)
    except (UnicodeEncodeError, TypeError):  # half a surrogate pair; or not a type that is ours
        return json.dumps(fields).encode()
