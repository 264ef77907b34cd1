"""Stored messages as rows of a table, as JSON lines and as CSV. Pure but for the writing.

A JSON line is that of an export as NDJSON, which `varco_nats_widgets.export.load` reads: `seq`,
`stored_at`, `channel`, `event_type`, `headers` if there are any, and the payload as `data`. It is
`text` if it is no JSON object or not valid for every parser, and `base64` if it is not UTF-8.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterable
from typing import IO, Any

from varco_nats._commands.printing import Table, stored_at
from varco_nats._formulas import neutral
from varco_nats.history import StoredMessage
from varco_nats.replay._edit import json_object, written
from varco_nats.replay._entry_filter import TYPE_KEY, event_of

ChannelOf = Callable[[str], str]
"""The channel of a subject."""

_JSON = json.JSONEncoder(separators=(",", ":"))
_OWN = ("seq", "stored_at", "channel", "event_type")


def event_type(message: StoredMessage) -> str | None:
    """The type that the event in a message says it has."""
    return event_of(message.data)[1]


class TableRows:
    """Writes messages to `file` as aligned lines; the payload is last, as it is stored."""

    def __init__(self, file: IO[str], channel_of: ChannelOf) -> None:
        self._channel_of = channel_of
        self._table = Table(file, [*_OWN, "payload"])

    def write(self, messages: Iterable[StoredMessage]) -> None:
        self._table.write(
            [
                (
                    message.seq,
                    f"{stored_at(message.time_ns)[:23]}Z",
                    self._channel_of(message.subject),
                    event_type(message),
                    message.data.decode(errors="backslashreplace"),
                )
                for message in messages
            ]
        )


class JsonRows:
    """Writes messages to `file` as JSON lines."""

    def __init__(self, file: IO[str], channel_of: ChannelOf) -> None:
        self._file = file
        self._channel_of = channel_of

    def write(self, messages: Iterable[StoredMessage]) -> None:
        for message in messages:
            head: dict[str, Any] = {
                "seq": message.seq,
                "stored_at": stored_at(message.time_ns),
                "channel": self._channel_of(message.subject),
                "event_type": event_type(message),
            }
            if message.headers:
                head["headers"] = dict(message.headers)
            # the payload's own text, in which no digit of a number is lost
            self._file.write(f"{_JSON.encode(head)[:-1]},{_payload(message.data)}}}\n")


class CsvRows:
    """Writes messages to `file` as CSV, with a column for each field of the events.

    A value that is an object or a list is JSON. What a spreadsheet would run as a formula gets an
    apostrophe, as in an export.

    Args:
        fields: the events' fields, as `fields_of` finds them.
    """

    def __init__(self, file: IO[str], channel_of: ChannelOf, fields: Iterable[str]) -> None:
        self._channel_of = channel_of
        self._fields = list(fields)
        self._writer = csv.writer(file, lineterminator="\n")
        names = [f"data.{name}" if name in (*_OWN, "payload") else name for name in self._fields]
        self._writer.writerow(map(_cell, [*_OWN, *names, "payload"]))

    def write(self, messages: Iterable[StoredMessage]) -> None:
        for message in messages:
            event = json_object(message.data)
            channel = self._channel_of(message.subject)
            own = [message.seq, stored_at(message.time_ns), channel, event_type(message)]
            values = [(event or {}).get(name) for name in self._fields]
            # what is no event has no fields, and stands in the last column
            rest = None if event is not None else message.data.decode(errors="backslashreplace")
            self._writer.writerow(map(_cell, [*own, *values, rest]))


def fields_of(messages: Iterable[StoredMessage]) -> dict[str, None]:
    """The names of the fields of events, in the order in which they appear."""
    found: dict[str, None] = {}
    for message in messages:
        found |= dict.fromkeys(json_object(message.data) or ())
    found.pop(TYPE_KEY, None)
    return found


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = neutral(value) if isinstance(value, str) else written(value)
    return text.encode(errors="backslashreplace").decode()  # half a surrogate pair


def _payload(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f'"base64":"{base64.b64encode(data).decode()}"'
    if _is_strict_object(text):
        # in valid JSON a line ends only between tokens, where a space means the same
        return '"data":' + text.replace("\n", " ").replace("\r", " ")
    return '"text":' + json.dumps(text)


def _is_strict_object(text: str) -> bool:
    """Whether a payload is a JSON object for every parser: without NaN and half surrogate pairs."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
