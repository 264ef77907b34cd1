"""The columns of some dead letters, compressed, of which a condition names a few. Pure."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from varco_nats_widgets.dead_letters._index.frame import PAYLOAD
from varco_nats_widgets.frames._columns import POOL, microseconds, objects, strings, to_pandas
from varco_nats_widgets.frames._condition_fields import ColumnTable, Table
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._headers import HEADERS, HeaderColumns
from varco_nats_widgets.frames._payload import MORE

CODEC = "zstd"
ENTRY_ID, AGE, FAILED = "entry_id", "age", "last_failed_at"


class Columns:
    """Columns with any values, and the ids of the entries as `entry_id`.

    Args:
        arrays: columns as Arrow arrays.
        any_values: columns with any Python objects.
    """

    def __init__(self, arrays: Mapping[str, Any], any_values: Mapping[str, list[Any]]) -> None:
        self._marshalled: set[str] = set()
        self._objects: dict[str, list[Any]] = {}  # of a user's decoder, which cannot be marshalled
        all_arrays = dict(arrays)
        for name, values in any_values.items():
            try:
                packed = [None if value is None else marshal.dumps(value) for value in values]
            except ValueError:
                self._objects[name] = values
            else:
                self._marshalled.add(name)
                all_arrays[name] = pa.array(packed, type=pa.large_binary(), memory_pool=POOL)
        self._set(pa.record_batch(all_arrays))

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Columns:
        """The columns of a frame of dead letters."""
        arrays = {ENTRY_ID: arrow_of(frame.index.array)}
        any_values: dict[str, list[Any]] = {}
        for name, column in frame.drop(columns=AGE).items():
            if column.dtype == object:
                any_values[str(name)] = column.tolist()
            else:
                arrays[str(name)] = arrow_of(column.array)
        return cls(arrays, any_values)

    def _set(self, batch: Any) -> None:
        self.rows = len(batch)
        self._places = {name: place for place, name in enumerate(batch.schema.names)}
        sink = pa.BufferOutputStream(POOL)
        options = pa.ipc.IpcWriteOptions(compression=CODEC)
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        self._data = sink.getvalue()

    def _batch(self, names: Iterable[str] | None = None) -> Any:
        """These columns, or all of them."""
        places = None if names is None else [self._places[name] for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=places)
        with pa.ipc.open_stream(self._data, options=options, memory_pool=POOL) as reader:
            return reader.read_next_batch()

    @property
    def nbytes(self) -> int:
        return int(self._data.size)

    @property
    def own(self) -> set[str]:
        """The columns that a condition may name."""
        return {*self._places, *self._objects, AGE} - {ENTRY_ID, HEADERS}

    @property
    def names(self) -> set[str]:
        """The same, the payload's fields by their own names, too."""
        return names_of(self.own)

    def named_by(self, condition: Condition) -> Table:
        """What `condition` names, as a frame of all columns would have it."""
        return table_named_by(condition, self.own, self.load, self.rows)

    def load(self, name: str) -> Any:
        """The array of a column; of nothing where there is no such column."""
        if name not in self._places:
            return objects(self._objects.get(name, [None] * self.rows))
        array = self._batch([name]).column(name)
        if name in self._marshalled:
            packed = array.to_pylist()
            # these bytes are from above and were never out of this process
            return objects([None if data is None else marshal.loads(data) for data in packed])  # noqa: S302
        if pa.types.is_fixed_size_binary(array.type):  # ids, which take half as much as their text
            return strings([str(UUID(bytes=each)) for each in array.to_pylist()])
        if pa.types.is_timestamp(array.type):
            return array.to_pandas().array
        return to_pandas(pa.chunked_array([array]))

    def at(self, rows: npt.NDArray[np.int32]) -> Columns:
        """These rows of it."""
        columns: Columns = object.__new__(Columns)
        columns._marshalled = self._marshalled
        columns._objects = {
            name: [values[row] for row in rows.tolist()] for name, values in self._objects.items()
        }
        columns._set(self._batch().take(pa.array(rows)))
        return columns


def names_of(own: Collection[str]) -> set[str]:
    """The names of columns, and those of the payload's fields without what is before them."""
    return {*own} | {name.removeprefix(PAYLOAD) for name in own}


def table_named_by(
    condition: Condition,
    own: Collection[str],
    load: Callable[[str], Any],
    rows: int,
) -> Table:
    """What `condition` names.

    Args:
        own: the columns that there are.
        load: gives the array of one of them, of the headers or of the entries' ids; or a list,
            which is tested value by value.
    """
    found = {MORE: MORE} if MORE in own else {}
    for name in condition.columns:
        for outer in outer_names(name):
            # a field of the payload is found by its own name, too
            source = outer if outer in own else f"{PAYLOAD}{outer}"
            if source in own:
                found[outer] = source
    headers = HeaderColumns(condition.headers)
    if headers:
        headers.add(0, list(load(HEADERS)))
    columns = headers.finish(rows)
    for name, source in found.items():
        if source == AGE:
            now = pd.Timestamp(microseconds(datetime.now(UTC)), unit="us", tz="UTC")
            columns[name] = (now - pd.Series(load(FAILED))).array
        elif name not in columns:
            columns[name] = load(source)
    if ENTRY_ID in condition.columns:
        columns[ENTRY_ID] = load(ENTRY_ID)
    index = pd.RangeIndex(rows)
    series = {
        name: values if type(values) is list else pd.Series(values, index, copy=False)
        for name, values in columns.items()
    }
    return ColumnTable(series, rows, MORE)


def outer_names(name: str) -> list[str]:
    """A column that has this name, or those that have it in their objects."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def arrow_of(array: Any) -> Any:
    """The same values as an Arrow array."""
    found = pa.array(array, memory_pool=POOL)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def text_array(texts: Sequence[str | None]) -> Any:
    """Texts as an Arrow array; half a surrogate pair is escaped."""
    try:
        return pa.array(texts, type=pa.large_string(), memory_pool=POOL)
    except UnicodeEncodeError:
        return arrow_of(strings(texts))
