"""What a stranger may store: payloads, headers and dead letters that nobody of ours would write."""

from __future__ import annotations

import base64
import json
from uuid import uuid4

from nats.aio.client import Client

HALF = '"\\ud800"'  # half a surrogate pair, as JSON can name it


def _event(**fields: object) -> bytes:
    made = {
        "__event_type__": "stranger.said",
        "event_id": "3fa85f64-5717-4562-b3fc-000000000001",
        "timestamp": "2026-01-01T10:00:00Z",
    }
    return json.dumps(made | fields).encode()


PAYLOADS: dict[str, bytes] = {
    "half in a value": _event(note="\ud800"),
    "other half in a value": _event(note="x\udfffy"),
    "half in a key": _event(**{"\ud800": 1}),
    "half in a key, and that key spelled out": _event(**{"\ud800": 1, "\\ud800": 2}),
    "half in a nested key and value": _event(a={"\ud800": {"\udc00": ["\ud800", {"\ud800": 1}]}}),
    "half in the type": _event(__event_type__="\ud800"),
    "half in the id": _event(event_id="\ud800"),
    "half in the time": _event(timestamp="\ud800"),
    "half in an envelope": _event(
        specversion="1.0", type="\ud800", id="\ud800", time="\ud800", data={"\ud800": "\ud800"}
    ).replace(b"__event_type__", b"x"),
    "NUL in keys and values": _event(**{"a\x00b": "c\x00d", "\x00": "\x00"}),
    "control characters": _event(**{"\x01\x1b[31m": "\x7f\x85\u2028\u2029\r\n\t"}),
    "NUL bytes": b"\x00\x00",
    "NUL inside": b'{"a": "\x00"}',
    "no numbers": b'{"a": NaN, "b": Infinity, "c": -Infinity, "d": [NaN], "e": {"f": Infinity}}',
    "beyond floats": b'{"a": 1e999, "b": -1e999, "c": [1e999]}',
    "integer of 400 digits": b'{"a": ' + b"9" * 400 + b', "list": [' + b"9" * 400 + b"]}",
    "negative integer of 400 digits": b'{"a": -' + b"9" * 400 + b"}",
    "integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "float of 5000 digits": b'{"a": 0.' + b"9" * 5000 + b"}",
    "nested 2000 deep": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "list nested 2000 deep": b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "nested 100,000 deep": b"[" * 100_000,
    "nested 900 deep": b'{"a":' * 900 + b"1" + b"}" * 900,
    "list nested 900 deep": b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
    "empty key": b'{"": 1, " ": 2, "a": {"": {"": 3}}}',
    "keys twice": b'{"a": 1, "a": "x", "b": {"c": 1, "c": 2}}',
    "keys of prototypes": b'{"__proto__": {"x": 1}, "constructor": {"prototype": 2}, "toString": 3}',
    "dotted keys": b'{"a.b": 1, "a": {"b": 2, ".": 3}, ".": 4, "..": {".": 5}}',
    "our columns": json.dumps(
        {name: {"x": name} for name in (
            "seq", "stored_at", "channel", "event_type", "event_id", "timestamp", "decode_error",
            "raw", "headers", "index", "entry_id", "handler", "error_type", "age", "source",
        )}
    ).encode(),  # fmt: skip
    "our columns as text": json.dumps(
        dict.fromkeys(("seq", "stored_at", "channel", "decode_error", "raw", "headers"), "x")
    ).encode(),
    "columns of data": b'{"data": {"more": 1, "raw": 2, "data": {"more": 3}}, "data.more": 4}',
    "own fields of other kinds": b'{"__event_type__": {"a": 1}, "event_id": [1], "timestamp": {}}',
    "own fields null": b'{"__event_type__": null, "event_id": null, "timestamp": null}',
    "own fields empty": b'{"__event_type__": "", "event_id": "", "timestamp": ""}',
    "own fields of 1 MB": _event(__event_type__="t" * 300_000, event_id="i" * 300_000, x="y" * 300_000),
    "key of 100,000 characters": json.dumps({"k" * 100_000: 1}).encode(),
    "text of 900,000 characters": json.dumps({"a": "\u00e9\U0001f6b2" * 150_000}, ensure_ascii=False).encode(),
    "list of 100,000": json.dumps({"a": list(range(100_000))}).encode(),
    "object of 5000 keys": json.dumps({"a": {"l": [{str(n): n for n in range(5000)}]}}).encode(),
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "cut in a character": '{"a": "é'.encode()[:-1],
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"a": 1}',
    "half in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "nothing": b"",
    "text": b"hello",
    "half as text": HALF.encode(),
    "list with half": b'["\\ud800"]',
    "dates out of range": b"".join(
        [b'{"timestamp": "9999-12-31T23:59:59.999999-14:00", "a": "0000-00-00", "b": ',
         b'"0001-01-01T00:00:00+14:00", "c": "275760-09-13T00:00:00Z"}']
    ),  # fmt: skip
    "date before all": b'{"timestamp": "0001-01-01T00:00:00+14:00"}',
    "date of year 0": b'{"timestamp": "0000-01-01T00:00:00Z"}',
    "date with too much": b'{"timestamp": "2026-01-01T00:00:00.1234567890123456789Z"}',
    "date with an odd zone": b'{"timestamp": "2026-01-01T00:00:00+99:99"}',
    "date of 100,000 digits": b'{"timestamp": "' + b"9" * 100_000 + b'"}',
    "markup": _event(**{"<script>x()</script>": "<img src=x onerror=y()> $x$ =cmd()"}),
    "right to left": _event(**{"\u202e\u200f": "\u202eabc\u2066"}),
    "not of Unicode": _event(a="\uffff\ufdd0\U0010ffff"),
}

HEADERS: dict[str, bytes] = {
    "not UTF-8": b"A: \xff\xfe\r\n",
    "name not UTF-8": b"\xff: a\r\n",
    "no value": b"A:\r\n",
    "twice": b"A: 1\r\nA: 2\r\n",
    "half as UTF-8": b"A: \xed\xa0\x80\r\n",
    "NUL": b"A: \x00\r\n",
    "long": b"A: " + b"x" * 60_000 + b"\r\n",
    "of a replay": b"Varco-Replay-Of: \xff\r\nVarco-Replay-Count: " + b"9" * 400 + b"\r\n",
    "counts": b"Varco-Replay-Of: x\r\nVarco-Replay-Count: 10000000000\r\nVarco-Delivery-Count: -1\r\n",
    "markup": b"<img src=x>: $x$ <script>\r\n",
    "of the server": b"Nats-Time-Stamp: no\r\nNats-Sequence: x\r\nNats-Subject: \r\nNats-Stream: \r\n",
}
"""Lines of a header as they are sent."""


def entries() -> dict[str, bytes]:
    """Dead letters as they are stored, one spoiled in each place, and what is none."""
    half, huge = "\ud800", 10**400
    changes: dict[str, dict[str, object]] = {
        f"half in {name}": {name: half}
        for name in (
            "channel", "handler_name", "error_type", "error_message", "source_ref", "tenant_id",
            "event_payload", "source", "entry_id", "payload", "first_failed_at",
        )
    }  # fmt: skip
    changes |= {
        "half between quotes": {"error_message": "'\ud800' 12 \udfff"},
        "key half": {half: half},
        "attempts of 400 digits": {"attempts": huge},
        "attempts negative": {"attempts": -huge},
        "attempts no number": {"attempts": "many"},
        "attempts endless": {"attempts": float("inf")},
        "attempts none": {"attempts": None},
        "deliveries of 400 digits": {"num_delivered": huge},
        "first before all": {"first_failed_at": "0001-01-01T00:00:00+14:00"},
        "last before all": {"last_failed_at": "0001-01-01T00:00:00+14:00"},
        "last after all": {"last_failed_at": "9999-12-31T23:59:59.999999-14:00"},
        "last 9999": {"last_failed_at": "9999-12-31T23:59:59.999999+00:00"},
        "no time": {"last_failed_at": "yesterday"},
        "no time zone": {"last_failed_at": "2026-01-01T00:00:00"},
        "headers odd": {"headers": {half: half, "": "", "A": 1, "B": ["\ud800"], "C\r\n": "x"}},
        "headers of a replay": {
            "headers": {"Varco-Replay-Of": half, "Varco-Replay-Count": "9" * 400}
        },
        "headers no object": {"headers": [half]},
        "message of 500,000": {"error_message": "x" * 500_000},
        "message of lines": {"error_message": "a\r\nb\x00c\x1b[31m\u2028\u202e"},
        "names empty": dict.fromkeys(("channel", "handler_name", "error_type", "error_message"), ""),
        "names of other kinds": dict.fromkeys(("channel", "handler_name", "error_type"), 7),
        "references odd": {"source_ref": {"a": half}, "tenant_id": [half]},
        "reference to itself": {"source_ref": "x:99999999999999999999999"},
        "payload no base64": {"payload": "!!"},
        "payload no text": {"payload": 7},
        "nested": {"extra": json.loads("[" * 500 + "]" * 500)},
    }
    stored = {name: json.dumps(_entry(b"{}") | change).encode() for name, change in changes.items()}
    stored |= {f"event: {name}": json.dumps(_entry(data)).encode() for name, data in PAYLOADS.items() if len(data) < 700_000}
    stored |= {f"no entry: {name}": data for name, data in PAYLOADS.items()}
    return stored


def _entry(payload: bytes) -> dict[str, object]:
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
        "payload": base64.b64encode(payload).decode(),
    }


async def send(nc: Client, subject: str, data: bytes, headers: bytes = b"") -> None:
    """Publish as any client may; `headers` are not looked at."""
    if not headers:
        await nc.publish(subject, data)
        return
    head = b"NATS/1.0\r\n" + headers + b"\r\n"
    line = f"HPUB {subject} {len(head)} {len(head) + len(data)}\r\n".encode()
    await nc._send_command(line + head + data + b"\r\n")
    await nc._flush_pending()
