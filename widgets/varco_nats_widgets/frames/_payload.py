"""What an event's bytes say: JSON objects, their fields, CloudEvents envelopes. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from varco_nats_widgets.frames._columns import clean

TYPE_KEY = "__event_type__"
MORE = "data.more"
"""The column of what has no room as a column of its own: a dict in each row."""

TAKEN = frozenset(
    {
        "seq",
        "stored_at",
        "channel",
        "event_type",
        "event_id",
        "timestamp",
        "decode_error",
        "raw",
        MORE,
    }
)
"""The columns that are not the payload's."""

_MAX_DEPTH = 16  # nested deeper, an object stays one value
_AT_ONCE = 256
_ENVELOPE = ("specversion", "type", "id")

# The same values as `json`, integers of any size among them, in half the time; what it refuses
# and `json` takes, like NaN, is decoded one by one.
_decoder = msgspec.json.Decoder()


class Fields(NamedTuple):
    """An event taken apart; None where it has no such text. What UTF-8 cannot write is written
    out in the texts, as in a frame."""

    event_type: str | None
    event_id: str | None
    timestamp: str | None
    payload: dict[str, Any]


def decode(data: bytes) -> tuple[dict[str, Any], str | None]:
    """The JSON object in `data`; or an empty one and what is wrong, in words.

    What UTF-8 cannot write in its texts is written out, and in those names that are no column's.
    """
    try:
        value = json.loads(data.decode())
        if b"\\ud" in data or b"\\uD" in data:  # the escape of half a surrogate pair, or of both
            value = _writable(value, 1)
    except UnicodeDecodeError as error:
        return {}, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}"
    except json.JSONDecodeError as error:
        return (
            {},
            f"not JSON: {error.msg.removesuffix(' at')} at {error.pos}"
            if data
            else "empty payload",
        )
    except RecursionError:
        return {}, "not readable: nested too deep"
    except ValueError as error:  # an integer with thousands of digits
        return {}, f"not readable: {error}"
    if type(value) is dict:
        return value, None
    kind = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return {}, f"a JSON {kind.get(type(value), 'number')}, not an object"


def _writable(value: Any, depth: int) -> Any:
    if type(value) is str:
        return clean(value)
    if type(value) is list:
        return [_writable(inner, _MAX_DEPTH + 1) for inner in value]
    if type(value) is dict:
        column = depth <= _MAX_DEPTH  # `flatten` writes out its name, apart from equal ones
        return {
            name if column else clean(name): _writable(inner, depth + 1)
            for name, inner in value.items()
        }
    return value


def decode_all(payloads: Sequence[bytes]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """`decode` for many: the objects, and by position what is wrong with those that are none."""
    events: list[dict[str, Any]] = []
    problems: dict[int, str] = {}
    for first in range(0, len(payloads), _AT_ONCE):
        some = payloads[first : first + _AT_ONCE]
        found = _decode_together(some)
        if found is not None:
            events += found
            continue
        for data in some:
            event, problem = decode(data)
            if problem is not None:
                problems[len(events)] = problem
            events.append(event)
    return events, problems


def _decode_together(payloads: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The objects in `payloads`, parsed as one array; None if they are not one in each.

    A random text stands between them. Where it is found in each second place, no payload can have
    closed the array, spilled into the next or held two values: none can contain that text.
    """
    mark = secrets.token_hex(8)
    try:
        values = _decoder.decode(b"[%b]" % f',"{mark}",'.encode().join(payloads))
    except (ValueError, RecursionError):
        return None
    events: list[dict[str, Any]] = values[::2]
    if len(values) != 2 * len(payloads) - 1 or set(map(type, events)) != {dict}:
        return None
    return events if values[1::2].count(mark) == len(payloads) - 1 else None


def may_be_envelope(names: Collection[str]) -> bool:
    """Whether an event with fields of these names can be a CloudEvents envelope."""
    return "specversion" in names and TYPE_KEY not in names and "type" in names and "id" in names


def is_envelope(event: dict[str, Any]) -> bool:
    """Whether `event` is a CloudEvents envelope."""
    return may_be_envelope(event) and all(type(event[name]) is str for name in _ENVELOPE)


def take_apart(event: dict[str, Any]) -> Fields:
    """The event's type, id and time, and what is left of it.

    In a CloudEvents envelope these are `type`, `id` and `time`; the fields in its `data` are the
    payload, its other attributes `ce.source` and so on.
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
    def written(text: str | None) -> str | None:
        return None if text is None else clean(text)

    return Fields(written(event_type), written(event_id), written(timestamp), payload)


def with_time_as_field(event: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """The payload of an event whose timestamp is no time, with it as a field."""
    name = "ce.time" if is_envelope(event) else "timestamp"
    while name in fields.payload:
        name = f"data.{name}"
    return {**fields.payload, name: fields.timestamp}


def _open_envelope(event: dict[str, Any]) -> Fields:
    timed = type(event.get("time")) is str
    own = {"type", "id", "data", "data_base64", *(["time"] if timed else [])}
    payload = {f"ce.{name}": value for name, value in event.items() if name not in own}
    data = event.get("data", {})
    if type(data) is not dict:
        data = {"data": data}
    if "data_base64" in event:
        data = {**data, "data_base64": event["data_base64"]}
    for name, value in data.items():
        free = name
        while free in payload:
            free = f"data.{free}"
        payload[free] = value
    return _fields(event["type"], event["id"], event["time"] if timed else None, payload)


def flatten(event: dict[str, Any], taken: Collection[str] = TAKEN) -> dict[str, Any]:
    """`event` with nested objects as `outer.inner`, and names that are taken as `data.<name>`.

    An empty object stays a value, as do lists and what is nested deeper than 16 levels. What
    UTF-8 cannot write in a name is written out.
    """
    flat: dict[str, Any] = {}

    def put(prefix: str, fields: dict[str, Any], depth: int) -> None:
        for key, value in fields.items():
            name = f"{prefix}{clean(key)}"
            if type(value) is dict and value and depth < _MAX_DEPTH:
                put(f"{name}.", value, depth + 1)
                continue
            while name in taken or name in flat:
                name = f"data.{name}"
            flat[name] = value

    put("", event, 1)
    return flat


def layout(event: dict[str, Any], values: list[Any]) -> tuple[Any, ...]:
    """Append the values of `flatten(event)` to `values`; returns what their names follow from."""
    shape: list[Any] = []

    def walk(fields: dict[str, Any], depth: int) -> None:
        shape.append(tuple(fields))
        for value in fields.values():
            if type(value) is dict and value and depth < _MAX_DEPTH:
                shape.append(len(values))
                walk(value, depth + 1)
            else:
                values.append(value)

    walk(event, 1)
    return tuple(shape)
