"""What a value looks like in a table: one line of text, whatever it is."""

from __future__ import annotations

import html
import json
import math
import re
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

MAX_LENGTH = 200
"""Characters of a cell at most."""

_EXACT_INTEGER = 2**53  # a browser's numbers are exact up to here
_TEX = re.compile(r"[$\\]")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


def format_cell(value: object, max_length: int | None = MAX_LENGTH) -> str:
    """`value` as text. It never raises, and its cost is bounded by `max_length`.

    None, NaN and NaT become ""; times are ISO 8601 with milliseconds, UTC as `Z`; bytes are text
    if they are UTF-8, else hex; lists and dicts are compact JSON. A text that is longer than
    `max_length` characters is cut and ends in "…".
    """
    try:
        text = _text(value, max_length)
    except (Exception, RecursionError):  # the __str__ of somebody else's class may do anything
        text = f"<{type(value).__name__}>"
    return clean(text, max_length)


def format_figure(value: object, max_length: int | None = MAX_LENGTH) -> str:
    """`format_cell`, with the thousands of an integer grouped by `,`."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{int(value):,}"
    return format_cell(value, max_length)


def clean(text: str, max_length: int | None = MAX_LENGTH) -> str:
    """`text`, cut to `max_length`; half a surrogate pair, which UTF-8 cannot hold, is escaped."""
    if max_length is not None and len(text) > max_length:
        text = f"{text[: max_length - 1]}…"
    return text.encode(errors="backslashreplace").decode()


def row_id(value: object) -> int | str:
    """The id in the browser of the row with this index value: an integer as it is, else text."""
    if isinstance(value, (int, np.integer)) and abs(int(value)) <= _EXACT_INTEGER:
        return int(value)
    return format_cell(value)


def escape(text: str) -> str:
    """`text` as HTML that shows every character as it is, so that MathJax finds no formula."""
    return _TEX.sub(lambda found: f"<span>{found[0]}</span>", html.escape(text))


def counted(number: int, noun: str) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _text(value: object, max_length: int | None) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value), max_length)
    if isinstance(value, (dict, list, tuple)):
        return _json(value, max_length)
    if isinstance(value, (set, frozenset)):
        return _json(sorted(value, key=repr), max_length)
    if isinstance(value, (date, timedelta)):
        return str(value)
    if isinstance(value, np.ndarray):
        return _json(value[:MAX_LENGTH].tolist(), max_length)
    return str(value)


def _time(value: datetime) -> str:
    text = value.isoformat(timespec="milliseconds")
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _bytes(value: bytes, max_length: int | None) -> str:
    head = value if max_length is None else value[: 4 * max_length]
    for cut in range(1 if len(head) == len(value) else 4):  # a character may be cut in two
        try:
            text = head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    return head.hex()


def _json(value: Any, max_length: int | None) -> str:
    parts: list[str] = []
    length = 0
    for part in _JSON.iterencode(value):  # piece by piece: a big value is not encoded to its end
        parts.append(part)
        length += len(part)
        if max_length is not None and length > max_length:
            break
    return "".join(parts)
