"""Exports as NDJSON: a line for each message, with its payload as it was stored, or as
JSON without the values that a mask hides.

A line has `seq`, `stored_at`, `channel`, `event_type` and the payload as `data`; fields that become
times are in `times` as well, in ISO 8601, where they are times. A payload that is
not JSON, or not valid for every parser (NaN, half a surrogate pair), is `text` instead, or
`base64` if it is not UTF-8.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.export._schema import Block
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._headers import HEADERS, wanted_headers
from varco_nats_widgets.frames._times import with_times

_DATA = b',"data":'
_LINES = 10_000


def lines(block: Block) -> Iterator[bytes]:
    """The line of each row."""
    frame = block.build()
    times = np.datetime_as_string(frame["stored_at"].to_numpy("M8[ns]"))
    headers = _headers(frame)
    times_of_fields = _times(frame, block.times)
    problems = frame["decode_error"].tolist() if "decode_error" in frame else [None] * len(frame)
    channels, event_types = frame["channel"].tolist(), frame["event_type"].tolist()
    quoted: dict[Any, str] = {}  # there are few channels and event types, each in many rows
    rows = (block.messages(), times, channels, event_types, headers, times_of_fields, problems)
    for message, stored, channel, event_type, own, moments, problem in zip(*rows, strict=True):
        for text in (channel, event_type):
            if text not in quoted:
                quoted[text] = json.dumps(text if isinstance(text, str) else None)
        head = (
            f'{{"seq":{message.seq},"stored_at":"{stored}Z","channel":{quoted[channel]},'
            f'"event_type":{quoted[event_type]}'
        )
        if own:
            head += f',"headers":{json.dumps(own)}'
        if moments:
            head += f',"times":{json.dumps(moments)}'
        broken = isinstance(problem, str)
        yield head.encode() + _payload(block.decoding.json(message), broken=broken) + b"}\n"


def _headers(frame: pd.DataFrame) -> list[dict[str, str] | None]:
    """The headers in each row of a frame."""
    names = frame.attrs.get(HEADERS, [])
    if names == [HEADERS]:
        return frame[HEADERS].tolist()
    rows: list[dict[str, str] | None] = [{} for _ in range(len(frame))]
    for name in names:
        for row, value in zip(rows, frame[name].tolist(), strict=True):
            if row is not None and isinstance(value, str):
                row[name.removeprefix(f"{HEADERS}.")] = value
    return rows


def _times(frame: pd.DataFrame, names: Iterable[str]) -> list[dict[str, str]]:
    """The times in each row of a frame, in ISO 8601, by field."""
    rows: list[dict[str, str]] = [{} for _ in range(len(frame))]
    for name in names:
        if name in frame.columns:
            texts = np.datetime_as_string(frame[name].to_numpy("M8[us]"))
            for row in np.flatnonzero(frame[name].notna().to_numpy()).tolist():
                rows[row][name] = f"{texts[row]}Z"
    return rows


def read_frame(
    path: Path, *, headers: bool | list[str] | None, times: Iterable[str] | None
) -> pd.DataFrame:
    """The frame in a file of such lines.

    Args:
        headers: whether there is a column `headers`, or the names of those with a column each;
            None means: one column if any line has headers.
        times: the fields that become times; None means: those that are times in any line.

    Raises:
        ValueError: a line is not one that an export wrote.
    """
    if headers is None:
        with path.open("rb") as file:
            headers = any(b',"headers":{' in line and "headers" in _head(line)[0] for line in file)
    builder = FrameBuilder(str, headers=wanted_headers(headers))
    found: dict[str, None] = {}
    with path.open("rb") as file:
        for batch in batched(file, _LINES):
            builder.add(exported_messages(batch, found))
    return with_times(builder.build(), found if times is None else times)[0]


def _payload(data: bytes, *, broken: bool) -> bytes:
    if not broken and _is_strict(data):
        # in valid JSON a line ends only between tokens, where a space means the same
        return _DATA + data.replace(b"\n", b" ").replace(b"\r", b" ")
    try:
        return b',"text":' + json.dumps(data.decode(), ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return b',"base64":"' + base64.b64encode(data) + b'"'


def _is_strict(data: bytes) -> bool:
    """Whether a payload that Python reads as JSON is valid for every parser."""
    try:
        if b"\\u" in data:
            json.dumps(json.loads(data), ensure_ascii=False).encode()
        if b"NaN" in data or b"Infinity" in data:
            json.loads(data, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def is_exported(line: bytes) -> bool:
    """Whether it is a line of an export, by how it begins."""
    return line.startswith(b'{"seq":') and b'"stored_at":"' in line and b'"channel":' in line


def exported_messages(
    lines: Sequence[bytes], times_found: dict[str, None]
) -> Iterator[StoredMessage]:
    """The messages in lines of an export, with their channels as subjects.

    Args:
        times_found: gets the fields that are times in them.

    Raises:
        ValueError: a line is not one that an export wrote.
    """
    parsed = [_head(line) for line in lines if line.strip()]
    for head, _ in parsed:
        times_found.update(dict.fromkeys(head.get("times", ())))
    times = np.array([head["stored_at"].rstrip("Z") for head, _ in parsed], dtype="M8[ns]")
    for (head, data), time_ns in zip(parsed, times.astype(np.int64).tolist(), strict=True):
        yield StoredMessage(head["seq"], head["channel"], time_ns, data, head.get("headers"))


def _head(line: bytes) -> tuple[dict[str, Any], bytes]:
    """The fields of a line other than the payload, and the payload."""
    end = line.find(_DATA)
    while end >= 0:
        try:
            return json.loads(line[:end] + b"}"), line.rstrip()[end + len(_DATA) : -1]
        except ValueError:  # this was in a header, or in the payload
            end = line.find(_DATA, end + 1)
    try:
        head = json.loads(line)
        if "base64" in head:
            return head, base64.b64decode(head["base64"])
        if "text" in head:
            return head, head["text"].encode()
        return head, json.dumps(head["data"]).encode()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a line of an export: {line[:60]!r}") from error
