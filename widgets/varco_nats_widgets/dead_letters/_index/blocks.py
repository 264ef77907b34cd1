"""What filters look for in dead letters besides codes: their texts and columns, compressed. Pure.

To decompress those of 100,000 entries takes less than it takes to ask a server for one of them.
"""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets.dead_letters._index.filter import event_of, readable
from varco_nats_widgets.dead_letters._index.frame import PAYLOAD
from varco_nats_widgets.frames._columns import POOL, microseconds, objects, to_pandas
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._headers import HEADERS, HeaderColumns
from varco_nats_widgets.frames._payload import MORE

type Mask = npt.NDArray[np.bool_]

_CODEC = "zstd"
_FEWEST = 0.5  # of the rows of a block, below which those that are gone are thrown out
_ID, _AGE, _FAILED = "entry_id", "age", "last_failed_at"


class Block:
    """Some entries, of which nothing is kept but what filters look for.

    Args:
        frame: that of the entries, with all headers.
    """

    def __init__(self, entries: Sequence[StoredEntry], frame: pd.DataFrame) -> None:
        self._messages = _Texts([stored.entry.error_message for stored in entries])
        self._events = _Texts([readable(event_of(stored) or b"") for stored in entries])
        self._columns = _Columns(frame)
        self._rows = np.arange(len(entries), dtype=np.int32)  # those that are not gone

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        parts = (self._messages, self._events, self._columns)
        return self._rows.nbytes + sum(part.nbytes for part in parts)

    @property
    def names(self) -> set[str]:
        """The columns that a condition may name, the payload's fields by their own names, too."""
        return self._columns.names

    def with_error(self, text: str) -> Mask:
        """Whether the error message of each entry has `text`, whatever the case."""
        return self._messages.having(text)[self._rows]

    def with_text(self, text: str) -> Mask:
        """The same for its error message or its payload."""
        found = self._messages.having(text)
        if not found.all():
            found |= self._events.having(text)
        return found[self._rows]

    def meeting(self, condition: Condition) -> Mask:
        """Whether each entry meets `condition`."""
        found: Mask = condition.mask(self._columns.named_by(condition))[self._rows]
        return found

    def kept(self, kept: Mask) -> Block:
        """The block of those entries."""
        block: Block = object.__new__(Block)
        rows = self._rows[kept]
        if len(rows) >= _FEWEST * self._columns.rows:
            block._messages, block._events, block._columns = (
                self._messages,
                self._events,
                self._columns,
            )
            block._rows = rows
        else:
            block._messages = self._messages.at(rows)
            block._events = self._events.at(rows)
            block._columns = self._columns.at(rows)
            block._rows = np.arange(len(rows), dtype=np.int32)
        return block


class _Texts:
    """Texts that are searched whatever the case."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._set([_folded(text) for text in texts])

    def _set(self, texts: Sequence[bytes]) -> None:
        self._ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._data = pa.compress(b"".join(texts), codec=_CODEC, asbytes=True)

    def _all(self) -> bytes:
        size = int(self._ends[-1])
        data: bytes = pa.decompress(self._data, size, codec=_CODEC, asbytes=True) if size else b""
        return data

    @property
    def nbytes(self) -> int:
        return len(self._data) + self._ends.nbytes

    def having(self, text: str) -> Mask:
        """Whether each of them contains `text`, which is not empty."""
        data, ends, needle = self._all(), self._ends.tolist(), _folded(text)
        found = np.zeros(len(ends) - 1, dtype=bool)
        place = data.find(needle)
        while place >= 0:
            row = bisect_right(ends, place) - 1
            if place + len(needle) <= ends[row + 1]:
                found[row] = True
                place = data.find(needle, ends[row + 1])
            else:  # it runs into the next text, so that it is in neither
                place = data.find(needle, place + 1)
        return found

    def at(self, rows: npt.NDArray[np.int32]) -> _Texts:
        """Those in these rows."""
        data, ends = self._all(), self._ends.tolist()
        texts = _Texts(())
        texts._set([data[ends[row] : ends[row + 1]] for row in rows.tolist()])
        return texts


def _folded(text: str) -> bytes:
    return text.casefold().encode(errors="surrogatepass")


class _Columns:
    """The columns of a frame of dead letters, of which a condition names some."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._marshalled: set[str] = set()
        self._objects: dict[str, list[Any]] = {}  # columns of a user's decoder, with any objects
        arrays = {_ID: _arrow_of(frame.index.array)}
        for name, column in frame.drop(columns=_AGE).items():
            if column.dtype != object:
                arrays[str(name)] = _arrow_of(column.array)
                continue
            values = column.tolist()
            try:
                packed = [None if value is None else marshal.dumps(value) for value in values]
            except ValueError:
                self._objects[str(name)] = values
            else:
                self._marshalled.add(str(name))
                arrays[str(name)] = pa.array(packed, type=pa.large_binary(), memory_pool=POOL)
        self._set(pa.record_batch(arrays))

    def _set(self, batch: Any) -> None:
        self.rows = len(batch)
        self._places = {name: place for place, name in enumerate(batch.schema.names)}
        sink = pa.BufferOutputStream(POOL)
        options = pa.ipc.IpcWriteOptions(compression=_CODEC)
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
    def _own(self) -> set[str]:
        return {*self._places, *self._objects, _AGE} - {_ID, HEADERS}

    @property
    def names(self) -> set[str]:
        own = self._own
        return own | {name.removeprefix(PAYLOAD) for name in own}

    def named_by(self, condition: Condition) -> pd.DataFrame:
        """A frame that has what `condition` names, as a frame of all columns would have it."""
        own = self._own
        found = {MORE: MORE} if MORE in own else {}
        for name in condition.columns:
            for outer in _outer_names(name):
                # a field of the payload is found by its own name, too
                source = outer if outer in own else f"{PAYLOAD}{outer}"
                if source in own:
                    found[outer] = source
        wanted = {*found.values()} - {_AGE} - self._objects.keys()
        if _AGE in found.values():
            wanted.add(_FAILED)
        if condition.headers and HEADERS in self._places:
            wanted.add(HEADERS)
        if _ID in condition.columns:
            wanted.add(_ID)
        batch = self._batch(sorted(wanted))
        loaded = {name: self._loaded(name, batch.column(name)) for name in batch.schema.names}
        loaded |= {name: objects(values) for name, values in self._objects.items()}
        if _AGE in found.values():
            now = pd.Timestamp(microseconds(datetime.now(UTC)), unit="us", tz="UTC")
            loaded[_AGE] = (now - pd.Series(loaded[_FAILED])).array
        headers = HeaderColumns(condition.headers)
        if headers:
            headers.add(0, list(loaded.get(HEADERS, [None] * self.rows)))
        columns = headers.finish(self.rows)
        columns |= {name: loaded[found[name]] for name in found if name not in columns}
        ids = loaded.get(_ID)
        index = pd.RangeIndex(self.rows) if ids is None else pd.Index(ids, name=_ID)
        return pd.DataFrame(columns, index=index, copy=False)

    def _loaded(self, name: str, array: Any) -> Any:
        if name in self._marshalled:
            packed = array.to_pylist()
            # these bytes are from above and were never out of this process
            return objects([None if data is None else marshal.loads(data) for data in packed])  # noqa: S302
        if pa.types.is_timestamp(array.type):
            return array.to_pandas().array
        return to_pandas(pa.chunked_array([array]))

    def at(self, rows: npt.NDArray[np.int32]) -> _Columns:
        """These rows of it."""
        columns: _Columns = object.__new__(_Columns)
        columns._marshalled = self._marshalled
        columns._objects = {
            name: [values[row] for row in rows.tolist()] for name, values in self._objects.items()
        }
        columns._set(self._batch().take(pa.array(rows)))
        return columns


def _arrow_of(array: Any) -> Any:
    """The same values as an Arrow array."""
    found = pa.array(array, memory_pool=POOL)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _outer_names(name: str) -> list[str]:
    """A column that has this name, or those that have it in their objects."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
