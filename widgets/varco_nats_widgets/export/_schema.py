"""The types of an export's columns: how they are found, and how values are stored.

A column's type is known only after the last message. So messages are written to the disk in
blocks, each with types of its own, and `Types` gathers what fits all of them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from varco_nats.history import Batch, StoredMessage
from varco_nats_widgets.frames import COLUMNS, FrameBuilder
from varco_nats_widgets.frames._columns import clean, column_of, objects, to_pandas
from varco_nats_widgets.frames._decoding import ChannelOf, Decoding
from varco_nats_widgets.frames._headers import Headers, header_columns
from varco_nats_widgets.frames._payload import MORE
from varco_nats_widgets.frames._times import TimesFound, with_times

BLOCK_ROWS = 20_000
BLOCK_BYTES = 8 * 1024**2

_LAST = (MORE, "decode_error", "raw")
_NONE = type(None)
_INT64 = np.iinfo(np.int64)

STORES: dict[str, Any] = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "json": pa.string(),
    "bytes": pa.binary(),
    "time_ns": pa.timestamp("ns", "UTC"),
    "time_us": pa.timestamp("us", "UTC"),
    "list_text": pa.list_(pa.string()),
    "list_int": pa.list_(pa.int64()),
    "list_float": pa.list_(pa.float64()),
    "list_bool": pa.list_(pa.bool_()),
}
"""The ways to store a column. `json` holds each value as JSON text: objects, lists of objects,
integers beyond 64 bits, mixed types."""

_FIXED = {
    "stored_at": "time_ns",
    "timestamp": "time_us",
    "raw": "bytes",
    **dict.fromkeys(("channel", "event_type", "event_id", "decode_error"), "text"),
}
_NULLABLE = ("text", "bytes", "time_ns", "time_us")  # in these, NaN, NaT and None are the same
_ONE_KIND = {"str": "text", "int": "int", "float": "float", "nan": "float", "bool": "bool"}


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """One column of a finished export."""

    name: str
    store: str
    dtype: str
    """The type of the column in the frame."""


class Block(FrameBuilder):
    """Some thousand messages and their rows, at most `limit`.

    The fields of earlier blocks are `known`, as they count towards the limit of fields. Those of
    `times` become times.
    """

    def __init__(
        self,
        decoding: ChannelOf | Decoding,
        event_types: Collection[str] | None = None,
        *,
        known: Iterable[str] = (),
        headers: Headers = False,
        times: Sequence[str] = (),
        limit: int = BLOCK_ROWS,
    ) -> None:
        super().__init__(decoding, event_types, headers=headers, known=known)
        self._wanted_headers = headers
        self.decoding = Decoding.of(decoding)
        self._limit = limit
        self._bytes = 0
        self._added: list[StoredMessage] = []
        self.times: dict[str, TimesFound | None] = dict.fromkeys(times)
        """What was found in the fields that become times, once it was built."""

    def build(self, *, last: bool = False) -> pd.DataFrame:
        frame, self.times = with_times(super().build(last=last), self.times)
        return frame

    @property
    def taken(self) -> int:
        """How many messages were added, including those that were filtered out."""
        return len(self._added)

    @property
    def last(self) -> StoredMessage | None:
        return self._added[-1] if self._added else None

    @property
    def is_full(self) -> bool:
        return len(self) >= self._limit or self._bytes >= BLOCK_BYTES

    def take(self, messages: Batch, start: int = 0) -> int:
        """Add `messages[start:]` until the block is full; returns the index to go on at."""
        sizes = [*accumulate(map(len, messages.payloads[start:]), initial=self._bytes)]
        end = start + bisect_left(sizes, BLOCK_BYTES)
        before = len(self) + self.filtered
        self.add(messages[start:end], self._limit)
        end = start + len(self) + self.filtered - before
        self._added += messages[start:end]
        self._bytes = sizes[end - start]
        return end

    @property
    def header_texts(self) -> list[str]:
        """The columns of single headers."""
        wanted = self._wanted_headers
        return [] if isinstance(wanted, bool) else header_columns(wanted)

    def messages(self) -> list[StoredMessage]:
        """The messages that are rows."""
        if not self.filtered:
            return self._added
        rows = frozenset(self.build().index)
        return [message for message in self._added if message.seq in rows]

    def columns(self) -> dict[str, Any]:
        """The values of each column; those of the payload as they were decoded."""
        frame = self.build()
        payload = self.fields()
        fixed = {*_FIXED, *self.header_texts, *self.times}
        return {
            name: frame[name]
            if name in fixed
            else list(payload[name])
            if name in payload
            else frame[name].tolist()
            for name in frame.columns
        }


@dataclass(slots=True)
class _ColumnFacts:
    """What is known of the values of one column."""

    present: int = 0
    kinds: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    """The kinds of the items in its lists."""
    low: int | None = None
    high: int | None = None

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        types = set(map(type, values))
        missing = sum(value is None for value in values) if _NONE in types else 0
        found = cls(len(values) - missing, _names(types))
        if float in types and all(value != value for value in values if type(value) is float):
            found.kinds = sorted({*found.kinds, "nan"} - {"float"})
        integers = [value for value in values if type(value) is int] if int in types else []
        if list in types:
            items = [item for value in values if type(value) is list for item in value]
            found.items = _names(set(map(type, items)))
            integers += [item for item in items if type(item) is int]
        if integers:
            found.low, found.high = min(integers), max(integers)
        return found

    def merge(self, other: _ColumnFacts) -> None:
        self.present += other.present
        kinds = {*self.kinds, *other.kinds}
        self.kinds = sorted(kinds - {"nan"} if "float" in kinds else kinds)
        self.items = sorted({*self.items, *other.items})
        for name, choose in (("low", min), ("high", max)):
            both = [n for n in (getattr(self, name), getattr(other, name)) if n is not None]
            setattr(self, name, choose(both) if both else None)

    def dtype(self, rows: int) -> str:
        """The type of these values in a frame, found by a few samples that stand for them."""
        samples: dict[str, list[Any]] = {
            "str": [""],
            "bool": [True],
            "int": [self.low, self.high],
            "float": [0.5],
            "nan": [float("nan")],
            "list": [[]],
            "dict": [{}],
        }
        values = [value for kind in self.kinds for value in samples[kind]]
        return str(column_of(values + [None] * (self.present < rows)).dtype)

    def store(self, *, exact: bool) -> str:
        """How to store the values; `exact` keeps 1 apart from 1.0, and NaN from None."""
        small = self.low is None or (
            _INT64.min <= self.low and self.high is not None and self.high <= _INT64.max
        )
        if len(self.kinds) == 1 and small:
            if self.kinds == ["list"] and len(self.items) <= 1:
                item = _ONE_KIND.get("".join(self.items) or "str")
                return f"list_{item}" if item else "json"
            return _ONE_KIND.get(self.kinds[0], "json")
        if exact or not self.kinds:
            return "json"
        return {"float64": "float", "str": "text"}.get(self.dtype(self.present), "json")


class Types:
    """What is known of all columns.

    Args:
        headers: which there are.
        times: the fields that become times.
    """

    def __init__(self, headers: Headers = False, times: Iterable[str] = ()) -> None:
        self.fields: list[str] = []
        """The fields of the payload, in order of appearance."""
        self._headers = header_columns(headers)
        texts = [] if isinstance(headers, bool) else self._headers
        self._fixed = dict.fromkeys(times, "time_us") | _FIXED | dict.fromkeys(texts, "text")
        self._columns = {name: _ColumnFacts() for name in COLUMNS}

    def add(self, block: Block) -> Any:
        """Take in a block's types; returns the block as a table with types of its own."""
        columns = block.columns()
        arrays: dict[str, Any] = {"seq": pa.array(columns["stored_at"].index, pa.int64())}
        stores: dict[str, str] = {}
        for name, values in columns.items():
            store = self._fixed.get(name)
            if store is None:
                found = _ColumnFacts.of(values)
                store = found.store(exact=True)
                self._columns.setdefault(name, _ColumnFacts()).merge(found)
            else:
                # in other blocks, decode_error and raw may be missing
                self._columns.setdefault(name, _ColumnFacts())
            stores[name] = store
            arrays[name] = encode(values, store)
        self.fields = list(block.fields())
        return pa.table(arrays).replace_schema_metadata({"stores": json.dumps(stores)})

    @property
    def has_more(self) -> bool:
        """Whether there are fields beyond the limit of columns."""
        return MORE in self._columns

    def columns(self, rows: int, *, lists: bool = True) -> list[ExportColumn]:
        """The columns of the finished export, in the order of a frame.

        Args:
            rows: how many rows there are.
            lists: whether lists of one kind are stored as lists; otherwise as JSON.
        """
        order = dict.fromkeys([*COLUMNS, *self._headers, *self.fields, *_LAST])
        columns = []
        for name in (name for name in order if name in self._columns):
            known = self._columns[name]
            fixed = self._fixed.get(name)
            store = fixed or known.store(exact=False)
            dtype = _fixed_dtype(fixed) if fixed else known.dtype(rows)
            plain = "json" if store.startswith("list_") and not lists else store
            columns.append(ExportColumn(name, plain, dtype))
        return columns

    def to_json(self) -> dict[str, Any]:
        columns = {name: asdict(known) for name, known in self._columns.items()}
        return {"fields": self.fields, "columns": columns}

    @classmethod
    def from_json(cls, saved: dict[str, Any], headers: Headers, times: Iterable[str]) -> Self:
        types = cls(headers, times)
        types.fields = list(saved.get("fields", ()))
        columns = saved.get("columns", {})
        types._columns |= {name: _ColumnFacts(**facts) for name, facts in columns.items()}
        return types


def fit(table: Any, columns: Sequence[ExportColumn]) -> Any:
    """A table that `Types.add` returned, with the types of the finished export."""
    stores = json.loads(table.schema.metadata[b"stores"])
    arrays = {"seq": table["seq"]}
    for column in columns:
        store, array = stores.get(column.name), None
        if store is None or table[column.name].null_count == len(table):
            array = pa.nulls(len(table), STORES[column.store])
        elif store == column.store:
            array = table[column.name]
        else:
            array = encode(decode(table[column.name], store), column.store)
        arrays[column.name] = array
    return pa.table(arrays)


def encode(values: Any, store: str) -> Any:
    """Values of a frame as an Arrow array."""
    if store == "json":
        values = [None if value is None else _json(value) for value in values]
    try:
        return pa.array(values, STORES[store], from_pandas=store in _NULLABLE)
    except UnicodeEncodeError:  # half a surrogate pair, which a frame escapes too
        texts = [clean(value) if type(value) is str else value for value in values]
        return pa.array(texts, STORES[store], from_pandas=True)


def decode(array: Any, store: str) -> list[Any]:
    """The values that `encode` made this array of."""
    values: list[Any] = array.to_pylist()
    if store == "json":
        return [None if value is None else json.loads(value) for value in values]
    return values


def to_frame(table: Any, columns: Sequence[ExportColumn]) -> pd.DataFrame:
    """The frame whose rows are in `table`."""
    index = pd.Index(table["seq"].to_numpy(), name="seq")
    arrays = {column.name: _to_pandas(table[column.name], column) for column in columns}
    return pd.DataFrame(arrays, index=index, copy=False)


def _to_pandas(array: Any, column: ExportColumn) -> Any:
    if column.store.startswith("time_"):
        numbers = array.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
        return pd.DatetimeIndex(numbers.view(f"M8[{column.store[5:]}]"), tz="UTC")
    if column.store == "text":
        return pd.array(array, dtype="str")
    if column.dtype in ("int64", "float64", "bool"):
        return np.require(array.to_numpy(), requirements="W")
    if column.dtype in ("Int64", "boolean"):
        return to_pandas(array)
    return objects(decode(array, column.store))


def _fixed_dtype(store: str) -> str:
    if store.startswith("time_"):
        return f"datetime64[{store[5:]}, UTC]"
    return "str" if store == "text" else "object"


def _names(types: set[type]) -> list[str]:
    return sorted(each.__name__ for each in types if each is not _NONE)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if clean(text) == text else json.dumps(value, separators=(",", ":"))
