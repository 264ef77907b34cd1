"""Stored messages as a DataFrame. Pure: no server, no event classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from varco_nats.history import StoredMessage

COLUMNS = ("stored_at", "channel", "event_type", "event_id", "timestamp")
"""The columns that every frame of events has, before those of the payload."""

MAX_FIELDS = 1000
"""Columns of the payload at most; what has no room is a dict in `data.more`."""

_MAX_DEPTH = 16  # nested deeper, an object stays one value
_TYPE_KEY = "__event_type__"
_RESERVED = frozenset({*COLUMNS, "seq", "decode_error", "raw"})
_STRING: Any = "str" if int(pd.__version__.split(".")[0]) >= 3 else object
_INT64 = np.iinfo(np.int64)
_EXACT_FLOAT = 2**53


class FrameBuilder:
    """Collects messages and makes one DataFrame of them.

    Args:
        channel_of: the channel of a subject.
        event_types: keep these only; None keeps all.
    """

    def __init__(
        self,
        channel_of: Callable[[str], str],
        event_types: Collection[str] | None = None,
    ) -> None:
        self._channel_of = channel_of
        self._event_types = frozenset(event_types) if event_types is not None else None
        self._channels: dict[str, str] = {}
        self._seqs: list[int] = []
        self._times: list[int] = []
        self._fixed: dict[str, list[Any]] = {name: [] for name in COLUMNS[1:]}
        self._fields: dict[str, list[Any]] = {}
        self._more: dict[int, dict[str, Any]] = {}
        self._broken: dict[int, tuple[str, bytes]] = {}
        self.filtered = 0
        """Messages that `event_types` left out."""

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, messages: Iterable[StoredMessage], limit: int | None = None) -> None:
        """Append one row for each message; stop when there are `limit` rows."""
        for message in messages:
            if len(self._seqs) == limit:
                return
            self._add(message)

    def _add(self, message: StoredMessage) -> None:
        event, problem = decode(message.data)
        event_type = event.pop(_TYPE_KEY, None)
        if event_type is not None and type(event_type) is not str:
            event[_TYPE_KEY], event_type = event_type, None
        if self._event_types is not None and event_type not in self._event_types:
            self.filtered += 1
            return
        row = len(self._seqs)
        subject = message.subject
        channel = self._channels.get(subject)
        if channel is None:
            channel = self._channels[subject] = self._channel_of(subject)
        self._seqs.append(message.seq)
        self._times.append(message.time_ns)
        fixed = self._fixed
        fixed["channel"].append(channel)
        fixed["event_type"].append(event_type)
        for name in ("event_id", "timestamp"):
            value = event.get(name)
            if type(value) is str:
                del event[name]
                fixed[name].append(value)
            else:
                fixed[name].append(None)
        if problem is not None:
            self._broken[row] = (problem, message.data)
        self._add_fields(row, event)

    def _add_fields(self, row: int, event: dict[str, Any]) -> None:
        if not _RESERVED.isdisjoint(event) or dict in map(type, event.values()):
            event = flatten(event)
        fields = self._fields
        for name, value in event.items():
            column = fields.get(name)
            if column is None:
                if len(fields) >= MAX_FIELDS:
                    self._more.setdefault(row, {})[name] = value
                    continue
                column = fields[name] = []
            missing = row - len(column)
            if missing:
                column.extend([None] * missing)
            column.append(value)

    def build(self) -> pd.DataFrame:
        """The frame, its index `seq` in the order in which the messages were added."""
        rows = len(self._seqs)
        times = np.array(self._times, dtype=np.int64)
        timestamps, odd_timestamps = _timestamps(self._fixed["timestamp"])
        columns: dict[str, Any] = {
            "stored_at": pd.DatetimeIndex(times.view("datetime64[ns]"), tz="UTC"),
            "channel": _strings(self._fixed["channel"]),
            "event_type": _strings(self._fixed["event_type"]),
            "event_id": _strings(self._fixed["event_id"]),
            "timestamp": timestamps,
        }
        for name, values in self._fields.items():
            values.extend([None] * (rows - len(values)))
            columns[_clean(name)] = column_of(values)
        if odd_timestamps:
            columns["data.timestamp"] = _merged(columns.get("data.timestamp"), odd_timestamps, rows)
        if self._more:
            columns["data.more"] = _objects([self._more.get(row) for row in range(rows)])
        if self._broken:
            none = (None, None)
            columns["decode_error"] = _strings([self._broken.get(r, none)[0] for r in range(rows)])
            columns["raw"] = _objects([self._broken.get(r, none)[1] for r in range(rows)])
        index = pd.Index(np.array(self._seqs, dtype=np.int64), name="seq")
        return pd.DataFrame(columns, index=index, copy=False)


def decode(data: bytes) -> tuple[dict[str, Any], str | None]:
    """The JSON object in `data`; or an empty one and what is wrong, in words."""
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        return {}, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}"
    except json.JSONDecodeError as error:
        return {}, f"not JSON: {error.msg} at {error.pos}" if data else "empty payload"
    except RecursionError:
        return {}, "not readable: nested too deep"
    except ValueError as error:  # an integer with thousands of digits
        return {}, f"not readable: {error}"
    if type(value) is dict:
        return value, None
    kind = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return {}, f"a JSON {kind.get(type(value), 'number')}, not an object"


def flatten(event: dict[str, Any]) -> dict[str, Any]:
    """`event` with nested objects as `outer.inner`, and names that are taken as `data.<name>`.

    An empty object stays a value, as do lists and what is nested deeper than 16 levels.
    """
    flat: dict[str, Any] = {}

    def put(prefix: str, fields: dict[str, Any], depth: int) -> None:
        for key, value in fields.items():
            name = f"{prefix}{key}"
            if type(value) is dict and value and depth < _MAX_DEPTH:
                put(f"{name}.", value, depth + 1)
                continue
            while name in _RESERVED or name in flat:
                name = f"data.{name}"
            flat[name] = value

    put("", event, 1)
    return flat


def column_of(values: list[Any]) -> Any:
    """`values` as the narrowest array that holds them exactly, None where there is nothing.

    int64, float64, bool or str; Int64 and boolean where some are missing; object for lists,
    objects, integers beyond 64 bits and mixed types.
    """
    types = set(map(type, values))
    missing = type(None) in types
    types.discard(type(None))
    if types == {str}:
        return _strings(values)
    if types == {bool}:
        return pd.array(values, dtype="boolean") if missing else np.array(values, dtype=bool)
    if types == {int}:
        numbers = [value for value in values if value is not None] if missing else values
        if _INT64.min <= min(numbers) and max(numbers) <= _INT64.max:
            return pd.array(values, dtype="Int64") if missing else np.array(values, dtype=np.int64)
    elif types in ({float}, {int, float}) and _exact_as_floats(values, types):
        return np.array(values, dtype=np.float64)  # None becomes NaN
    return _objects(values)


def _exact_as_floats(values: list[Any], types: set[type]) -> bool:
    return int not in types or all(
        -_EXACT_FLOAT <= value <= _EXACT_FLOAT for value in values if type(value) is int
    )


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = value
    return array


def _strings(values: list[Any]) -> Any:
    try:
        return pd.array(values, dtype=_STRING)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can name but UTF-8 cannot
        return pd.array([v if v is None else _clean(v) for v in values], dtype=_STRING)


def _clean(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _timestamps(values: list[Any]) -> tuple[Any, dict[int, str]]:
    """Times in UTC, and by row those texts that are none."""
    texts = _strings(values)
    times = pd.to_datetime(pd.Series(texts), utc=True, format="ISO8601", errors="coerce")
    odd = np.flatnonzero(times.isna().to_numpy() & ~pd.isna(texts))
    return times.dt.as_unit("us").array, {int(row): values[row] for row in odd}


def _merged(column: Any, texts: dict[int, str], rows: int) -> Any:
    values: list[Any] = [None] * rows if column is None else list(column)
    for row, text in texts.items():
        values[row] = text
    return column_of([None if value is pd.NA else value for value in values])
