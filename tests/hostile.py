"""What a stranger may store: payloads, headers and dead letters that nobody of ours would write."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any
from uuid import uuid4

import ipywidgets
from ipywidgets.widgets.widget import _remove_buffers
from jupyter_client.session import json_packer
from nats.aio.client import Client

HALF = "\ud800"  # half a surrogate pair, which JSON can name and UTF-8 cannot write


def _event(**fields: object) -> bytes:
    made = {
        "__event_type__": "stranger.said",
        "event_id": "3fa85f64-5717-4562-b3fc-000000000001",
        "timestamp": "2026-01-01T10:00:00Z",
    }
    return json.dumps(made | fields).encode()


_OURS = (
    *("seq", "stored_at", "channel", "event_type", "event_id", "timestamp", "decode_error", "raw"),
    *("headers", "index", "entry_id", "handler", "error_type", "age", "source", "data.more"),
)
_ENVELOPE = {"specversion": "1.0", "type": HALF, "id": HALF, "time": HALF, "data": {HALF: HALF}}
_DATES = {
    "timestamp": "9999-12-31T23:59:59.999999-14:00",
    "a": "0000-00-00",
    "b": "0001-01-01T00:00:00+14:00",
    "c": "275760-09-13T00:00:00Z",
}

PAYLOADS: dict[str, bytes] = {
    "half in a value": _event(note=HALF),
    "other half in a value": _event(note="x\udfffy"),
    "half in a key": _event(**{HALF: 1}),
    "half in a key, and that key spelled out": _event(**{HALF: 1, "\\ud800": 2}),
    "half in nested keys and values": _event(a={HALF: {"\udc00": [HALF, {HALF: 1}]}}),
    "half in the type": _event(__event_type__=HALF),
    "half in the id": _event(event_id=HALF),
    "half in the time": _event(timestamp=HALF),
    "half in an envelope": json.dumps(_ENVELOPE).encode(),
    "NUL in keys and values": _event(**{"a\x00b": "c\x00d", "\x00": "\x00"}),
    "control characters": _event(**{"\x01\x1b[31m": "\x7f\x85\u2028\u2029\r\n\t"}),
    "NUL bytes": b"\x00\x00",
    "NUL inside": b'{"a": "\x00"}',
    "no numbers": b'{"a": NaN, "b": Infinity, "c": -Infinity, "d": [NaN], "e": {"f": Infinity}}',
    "beyond floats": b'{"a": 1e999, "b": -1e999, "c": [1e999]}',
    "integer of 400 digits": b'{"a": ' + b"9" * 400 + b', "list": [-' + b"9" * 400 + b"]}",
    "integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "number of 5000 digits": b'{"a": 0.' + b"9" * 5000 + b"}",
    "objects 900 deep": b'{"a":' * 900 + b"1" + b"}" * 900,
    "lists 900 deep": b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
    "objects 2000 deep": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "lists 2000 deep": b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "lists 100,000 deep": b"[" * 100_000,
    "empty keys": b'{"": 1, " ": 2, "a": {"": {"": 3}}}',
    "keys twice": b'{"a": 1, "a": "x", "b": {"c": 1, "c": 2}}',
    "keys of prototypes": b'{"__proto__": {"x": 1}, "constructor": {"prototype": 2}, "valueOf": 3}',
    "keys with dots": b'{"a.b": 1, "a": {"b": 2, ".": 3}, ".": 4, "..": {".": 5}}',
    "our columns": json.dumps({name: {"x": name} for name in _OURS}).encode(),
    "our columns as text": json.dumps(dict.fromkeys(_OURS, "x")).encode(),
    "columns of data": b'{"data": {"more": 1, "raw": 2, "data": {"more": 3}}, "data.more": 4}',
    "own fields of other kinds": b'{"__event_type__": {"a": 1}, "event_id": [1], "timestamp": {}}',
    "own fields null": b'{"__event_type__": null, "event_id": null, "timestamp": null}',
    "own fields empty": b'{"__event_type__": "", "event_id": "", "timestamp": ""}',
    "own fields large": _event(__event_type__="t" * 300_000, event_id="i" * 300_000),
    "large key": json.dumps({"k" * 100_000: 1}).encode(),
    "large text": json.dumps({"a": "é\U0001f6b2" * 150_000}, ensure_ascii=False).encode(),
    "large list": json.dumps({"a": list(range(100_000))}).encode(),
    "large object": json.dumps({"a": {"l": [{str(n): n for n in range(5000)}]}}).encode(),
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "cut in a character": '{"a": "é'.encode()[:-1],
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"a": 1}',
    "half as if UTF-8 could": b'{"a": "\xed\xa0\x80"}',
    "nothing": b"",
    "text": b"hello",
    "half a text": json.dumps(HALF).encode(),
    "half in a list": json.dumps([HALF]).encode(),
    "dates out of range": json.dumps(_DATES).encode(),
    "date before all": b'{"timestamp": "0001-01-01T00:00:00+14:00"}',
    "date of year 0": b'{"timestamp": "0000-01-01T00:00:00Z"}',
    "date too exact": b'{"timestamp": "2026-01-01T00:00:00.1234567890123456789Z"}',
    "date of an odd zone": b'{"timestamp": "2026-01-01T00:00:00+99:99"}',
    "large date": b'{"timestamp": "' + b"9" * 100_000 + b'"}',
    "markup": _event(**{"<script>x()</script>": "<img src=x onerror=y()> $x$ =cmd()"}),
    "right to left": _event(**{"\u202e\u200f": "\u202eabc\u2066"}),
    "no characters": _event(a="\uffff\ufdd0\U0010ffff"),
}

_FORGED = b"Nats-Time-Stamp: no\r\nNats-Sequence: x\r\nNats-Subject: \r\nNats-Stream: \r\n"

HEADERS: dict[str, bytes] = {
    "not UTF-8": b"\r\nA: \xff\xfe\r\n",
    "name not UTF-8": b"\r\n\xff: a\r\n",
    "no value": b"\r\nA:\r\n",
    "twice": b"\r\nA: 1\r\nA: 2\r\n",
    "half as if UTF-8 could": b"\r\nA: \xed\xa0\x80\r\n",
    "NUL": b"\r\nA: \x00\r\n",
    "large": b"\r\nA: " + b"x" * 60_000 + b"\r\n",
    "of a replay": b"\r\nVarco-Replay-Of: \xff\r\nVarco-Replay-Count: " + b"9" * 400 + b"\r\n",
    "counts": b"\r\nVarco-Replay-Of: x\r\nVarco-Replay-Count: -1\r\nVarco-Delivery-Count: x\r\n",
    "markup": b"\r\n<img src=x>: $x$ <script>\r\n",
    "of the server": b"\r\n" + _FORGED + b"Nats-Num-Pending: 0\r\nNats-Last-Sequence: 1\r\n",
    "status 404": b" 404 No Messages\r\nA: b\r\n",
    "status 204": b" 204 EOB\r\nNats-Num-Pending: 0\r\n",
    "status 100": b" 100 Idle Heartbeat\r\nA: b\r\n",
    "status 503": b" 503\r\nA: b\r\n",
}
"""What follows `NATS/1.0` in a header, as it is sent."""


def dead_letters() -> dict[str, bytes]:
    """Dead letters as they are stored, one spoiled in each place, and what is none."""
    huge = 10**400
    changes: dict[str, dict[str, object]] = {f"half in {name}": {name: HALF} for name in _entry()}
    changes |= {
        "half between quotes": {"error_message": "'\ud800' 12 \udfff"},
        "half in a key": {HALF: HALF},
        "attempts of 400 digits": {"attempts": huge},
        "attempts below 0": {"attempts": -huge},
        "attempts endless": {"attempts": float("inf")},
        "attempts null": {"attempts": None},
        "deliveries of 400 digits": {"num_delivered": huge},
        "first before all": {"first_failed_at": "0001-01-01T00:00:00+14:00"},
        "last before all": {"last_failed_at": "0001-01-01T00:00:00+14:00"},
        "last after all": {"last_failed_at": "9999-12-31T23:59:59.999999-14:00"},
        "last without a zone": {"last_failed_at": "2026-01-01T00:00:00"},
        "headers odd": {"headers": {HALF: HALF, "": "", "A": 1, "B": [HALF], "C\r\n": "x"}},
        "headers of a replay": {
            "headers": {"Varco-Replay-Of": HALF, "Varco-Replay-Count": "9" * 400}
        },
        "headers a list": {"headers": [HALF]},
        "large message": {"error_message": "x" * 500_000},
        "message of lines": {"error_message": "a\r\nb\x00c\x1b[31m\u2028\u202e"},
        "names empty": dict.fromkeys(("channel", "handler_name", "error_type"), ""),
        "names of other kinds": dict.fromkeys(("channel", "handler_name", "error_type"), 7),
        "references of other kinds": {"source_ref": {"a": HALF}, "tenant_id": [HALF]},
        "reference too far": {"source_ref": "x:99999999999999999999999"},
        "payload a number": {"payload": 7},
        "nested": {"extra": json.loads("[" * 500 + "]" * 500)},
    }
    stored = {name: json.dumps(_entry() | change).encode() for name, change in changes.items()}
    for name, data in PAYLOADS.items():
        stored[f"no entry: {name}"] = data
        if len(data) < 700_000:
            stored[f"its event: {name}"] = json.dumps(_entry(data)).encode()
    return stored


def _entry(payload: bytes = b"{}") -> dict[str, object]:
    return {
        "entry_id": str(uuid4()),
        "channel": "orders",
        "handler_name": "Shop.on_order",
        "error_type": "TimeoutError",
        "error_message": "no answer",
        "attempts": 3,
        "first_failed_at": "2026-01-01T00:00:00+00:00",
        "last_failed_at": "2026-01-01T00:00:00+00:00",
        "event_payload": None,
        "source": "consumer",
        "source_ref": None,
        "tenant_id": None,
        "payload": base64.b64encode(payload).decode(),
    }


async def send(nc: Client, subject: str, data: bytes, headers: bytes = b"") -> None:
    """Publish as any client may; nobody looks at `headers`, which are as in `HEADERS`."""
    if not headers:
        await nc.publish(subject, data)
        return
    head = b"NATS/1.0" + headers + b"\r\n"
    line = f"HPUB {subject} {len(head)} {len(head) + len(data)}\r\n".encode()
    await nc._send_command(line + head + data + b"\r\n")
    await nc._flush_pending()


def assert_sendable(widget: ipywidgets.Widget, seen: set[int] | None = None) -> None:
    """Whether the state of a widget and of all within it can be sent to a browser as it is."""
    seen = set() if seen is None else seen
    if id(widget) in seen:
        return
    seen.add(id(widget))
    state, _, _ = _remove_buffers(widget.get_state())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it says so where it has to mend what it is given
        try:
            json_packer(state)
        except Exception as error:
            raise AssertionError(f"{type(widget).__name__}: {error}") from error
    for value in widget.trait_values().values():
        inner: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        for child in inner:
            if isinstance(child, ipywidgets.Widget):
                assert_sendable(child, seen)
