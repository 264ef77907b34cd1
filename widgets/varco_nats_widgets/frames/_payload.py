"""Decoding an event's bytes: JSON objects, their fields, and CloudEvents envelopes. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from varco_nats._masks._events import TYPE_KEY as TYPE_KEY
from varco_nats._masks._events import VALUE as VALUE
from varco_nats._masks._events import is_envelope as is_envelope
from varco_nats._masks._events import may_be_envelope as may_be_envelope
from varco_nats.errors import CannotDecodeError
from varco_nats_widgets.decoders._json import MAX_DEPTH, Json
from varco_nats_widgets.frames._columns import clean

OWN = {TYPE_KEY: "event_type", "event_id": "event_id", "timestamp": "timestamp"}
"""The fields of an event that are no fields of its payload, and their columns."""

MORE = "data.more"
"""The column with the fields beyond the limit of columns, as a dict in each row."""

COLUMNS = ("stored_at", "channel", "event_type", "event_id", "timestamp")
"""The columns that every frame of events has, before those of the payload."""

TAKEN = frozenset({"seq", *COLUMNS, "decode_error", "raw", MORE})
"""The columns that are not fields of the payload."""

_AT_ONCE = 256
_FEW = 4

# It gives the same values as `json`, including integers of any size, in half the time. Payloads
# that it refuses are decoded by `json`, which takes NaN and the like.
_decoder = msgspec.json.Decoder()
_json = Json()


class Fields(NamedTuple):
    """An event taken apart; None if it has no such text. What UTF-8 cannot hold is escaped."""

    event_type: str | None
    event_id: str | None
    timestamp: str | None
    payload: dict[str, Any]


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an event whose JSON is `value`: of what is no object, one called `value`."""
    return value if type(value) is dict else {VALUE: value}


def decode(data: bytes) -> tuple[Any, str | None]:
    """The JSON in `data`, of any kind; or None and the reason why there is none.

    What UTF-8 cannot hold is escaped in the object's texts, and in the names of fields that do not
    become columns; `flatten` escapes the others.
    """
    try:
        return _json.decode(data, {}), None
    except CannotDecodeError as error:
        return None, str(error)


def decode_all(payloads: Sequence[bytes]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The fields of many payloads, {} for those that `decode` refuses; the problems by index."""
    events: list[dict[str, Any]] = []
    problems: dict[int, str] = {}
    for first in range(0, len(payloads), _AT_ONCE):
        _decode_block(payloads[first : first + _AT_ONCE], events, problems)
    return events, problems


def _decode_block(
    payloads: Sequence[bytes], events: list[dict[str, Any]], problems: dict[int, str]
) -> None:
    """Append the fields of some payloads; where a few are bad, the others are parsed together."""
    decoded = _decode_together(payloads)
    if decoded is not None:
        events += decoded
        return
    if len(payloads) > _FEW:
        half = len(payloads) // 2
        _decode_block(payloads[:half], events, problems)
        _decode_block(payloads[half:], events, problems)
        return
    for data in payloads:
        value, problem = decode(data)
        if problem is not None:
            problems[len(events)] = problem
        events.append({} if problem is not None else fields_of(value))


def _decode_together(payloads: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The fields of `payloads`, parsed as one array; None if one of them is not plain JSON.

    A random text, which no payload can contain, is put between them. If every second element of
    the array is that text, each payload was exactly one value: none has closed the array, run into
    the next payload, or held two values.
    """
    separator = secrets.token_hex(8)
    try:
        values = _decoder.decode(b"[%b]" % f',"{separator}",'.encode().join(payloads))
    except (ValueError, RecursionError):
        return None
    decoded: list[Any] = values[::2]
    between = values[1::2]
    if len(values) != 2 * len(payloads) - 1 or between.count(separator) != len(between):
        return None
    return decoded if set(map(type, decoded)) == {dict} else [*map(fields_of, decoded)]


def take_apart(event: dict[str, Any]) -> Fields:
    """The event's type, id and time, and its other fields as the payload.

    In a CloudEvents envelope these are the attributes `type`, `id` and `time`. The payload is then
    the fields of its `data` and its other attributes, as `ce.source` and so on.
    """
    if is_envelope(event):
        return _open_envelope(event)
    payload = dict(event)
    event_type = payload.pop(TYPE_KEY, None)
    if event_type is not None and type(event_type) is not str:
        payload[TYPE_KEY], event_type = event_type, None
    event_id, timestamp = (
        payload.pop(name) if type(payload.get(name)) is str else None
        for name in ("event_id", "timestamp")
    )
    return _fields(event_type, event_id, timestamp, payload)


def _fields(
    event_type: str | None, event_id: str | None, timestamp: str | None, payload: dict[str, Any]
) -> Fields:
    def escaped(text: str | None) -> str | None:
        return None if text is None else clean(text)

    return Fields(escaped(event_type), escaped(event_id), escaped(timestamp), payload)


def fields_in(data: bytes) -> Fields:
    """What JSON bytes say, taken apart; without anything where they are none."""
    value, problem = decode(data)
    return take_apart({} if problem is not None else fields_of(value))


def with_time_as_field(event: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """The payload of an event whose timestamp cannot be read, with the timestamp as a field."""
    name = "ce.time" if is_envelope(event) else "timestamp"
    while name in fields.payload:
        name = f"data.{name}"
    return {**fields.payload, name: fields.timestamp}


def _open_envelope(event: dict[str, Any]) -> Fields:
    has_time = type(event.get("time")) is str
    taken = {"type", "id", "data", "data_base64", *(["time"] if has_time else [])}
    payload = {f"ce.{name}": value for name, value in event.items() if name not in taken}
    data = event.get("data", {})
    if type(data) is not dict:
        data = {"data": data}
    if "data_base64" in event:
        data = {**data, "data_base64": event["data_base64"]}
    for name, value in data.items():
        while name in payload:
            name = f"data.{name}"
        payload[name] = value
    return _fields(event["type"], event["id"], event["time"] if has_time else None, payload)


def flatten(event: dict[str, Any], taken: Collection[str] = TAKEN) -> dict[str, Any]:
    """`event` without nested objects: their fields become `outer.inner`.

    A name that is taken becomes `data.<name>`. Empty objects, lists, and objects deeper than 16
    levels stay values. What UTF-8 cannot hold in a name is escaped.
    """
    flat: dict[str, Any] = {}

    def put(prefix: str, fields: dict[str, Any], depth: int) -> None:
        for key, value in fields.items():
            name = f"{prefix}{clean(key)}"
            if type(value) is dict and value and depth < MAX_DEPTH:
                put(f"{name}.", value, depth + 1)
                continue
            while name in taken or name in flat:
                name = f"data.{name}"
            flat[name] = value

    put("", event, 1)
    return flat


def layout(event: dict[str, Any], values: list[Any]) -> tuple[Any, ...]:
    """Append the values of `flatten(event)` to `values`; events of equal layout have equal names.

    The layout that is returned is cheaper to make and to compare than the names.
    """
    shape: list[Any] = []

    def walk(fields: dict[str, Any], depth: int) -> None:
        shape.append(tuple(fields))
        for value in fields.values():
            if type(value) is dict and value and depth < MAX_DEPTH:
                shape.append(len(values))
                walk(value, depth + 1)
            else:
                values.append(value)

    walk(event, 1)
    return tuple(shape)
