"""Exports as Parquet: one file, or a folder of files that is one data set.

All files have the same schema, and metadata from which `load` restores exactly the same frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from varco_nats_widgets.export._own_files import foreign_in_data_set, parts
from varco_nats_widgets.export._partial import sync
from varco_nats_widgets.export._schema import STORES, ExportColumn, to_frame

_KEY = b"varco_nats"
_ROW_GROUP_ROWS = 100_000
_ROW_GROUP_BYTES = 64 * 1024**2
_OPEN_FILES = 64  # at most; each partition that is being written has one
_SPANS = {
    "day": (timedelta(days=1), "%Y-%m-%d"),
    "hour": (timedelta(hours=1), "%Y-%m-%dT%H"),
}
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ParquetSink:
    """Writes tables to `path`, which is a file, or a folder if `rows_per_file` is given.

    Args:
        columns: the types of the tables.
        facts: what `read_frame` returns beside the frame.
        rows_per_file: the most rows in one file.
        partition_by: `day` or `hour`, to have a folder for each, by the time stored.
        files: how many files are there already.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[ExportColumn],
        facts: dict[str, Any],
        *,
        rows_per_file: int | None = None,
        partition_by: str | None = None,
        files: int = 0,
    ) -> None:
        self._path = path
        self._columns = columns
        self._rows_per_file = rows_per_file
        self._partition_by = partition_by
        # Spark cannot read nanoseconds: those beyond the microsecond are in a column of their own
        names = ("seq", *(column.name for column in columns), "stored_at_ns")
        *self._names, folder = _distinct([*names, f"stored_{partition_by}"])
        self._folder = folder
        saved = [[column.name, column.store, column.dtype] for column in columns]
        self._facts = {**facts, "columns": saved, "names": self._names}
        self._writers: dict[int | None, tuple[Any, IO[bytes]]] = {}
        self._waiting: list[Any] = []
        self._open_rows = 0
        self.files = files
        self.closed_rows = 0
        """The rows in files that are complete."""
        if rows_per_file is not None:
            path.mkdir(exist_ok=True)
            for part in parts(path):
                if _number(part) >= files:  # left by an export that was killed
                    part.unlink()

    def write(self, table: Any) -> None:
        while len(table):
            room = len(table)
            if self._rows_per_file is not None:
                room = min(room, self._rows_per_file - self._open_rows)
            self._waiting.append(table.slice(0, room))
            self._open_rows += room
            table = table.slice(room)
            rows, size = map(sum, zip(*((len(t), t.nbytes) for t in self._waiting), strict=True))
            if rows >= _ROW_GROUP_ROWS or size >= _ROW_GROUP_BYTES:
                self._flush()
            full = self._open_rows == self._rows_per_file or len(self._writers) >= _OPEN_FILES
            if full and self._rows_per_file is not None:
                self.end_files()

    def end_files(self) -> None:
        """Complete the files that are open."""
        self._flush()
        self._close_writers()
        self.closed_rows += self._open_rows
        self._open_rows = 0

    def finish(self) -> None:
        self.end_files()
        if not self.files:  # nothing was selected; a file without rows still has the columns
            self._write(None, pa.table({c.name: pa.nulls(0, STORES[c.store]) for c in self._all()}))
            self._close_writers()

    def abort(self) -> None:
        """Close the files without completing them."""
        for opened in self._writers.values():
            for closable in opened:
                with suppress(OSError):
                    closable.close()
        self._writers.clear()

    def _all(self) -> list[ExportColumn]:
        return [ExportColumn("seq", "int", "int64"), *self._columns]

    def _flush(self) -> None:
        if not self._waiting:
            return
        table, self._waiting = pa.concat_tables(self._waiting), []
        if self._partition_by is None:
            self._write(None, table)
            return
        span = _SPANS[self._partition_by][0] // _MICROSECOND * 1000
        keys = table["stored_at"].cast(pa.int64()).to_numpy() // span
        _, first = np.unique(keys, return_index=True)
        for key in keys[np.sort(first)]:
            self._write(int(key), table.filter(pa.array(keys == key)))

    def _write(self, key: int | None, table: Any) -> None:
        table = self._split_time(table)
        if key not in self._writers:
            path = self._file(key)
            path.parent.mkdir(exist_ok=True)
            metadata = {_KEY: json.dumps(self._facts)}
            file = path.open("wb")
            schema = table.schema.with_metadata(metadata)
            self._writers[key] = pq.ParquetWriter(file, schema, compression="zstd"), file
            self.files += 1
        self._writers[key][0].write_table(table)

    def _close_writers(self) -> None:
        for writer, file in self._writers.values():
            writer.close()
            sync(file)
            file.close()
        self._writers.clear()

    def _file(self, key: int | None) -> Path:
        if self._rows_per_file is None:
            return self._path
        name = f"part-{self.files:06d}.parquet"
        if key is None or self._partition_by is None:
            return self._path / name
        span, form = _SPANS[self._partition_by]
        return self._path / f"{self._folder}={_EPOCH + key * span:{form}}" / name

    def _split_time(self, table: Any) -> Any:
        times = table["stored_at"].cast(pa.int64()).to_numpy()
        index = table.schema.get_field_index("stored_at")
        micros = pa.array(times // 1000, pa.int64()).cast(STORES["time_us"])
        table = table.set_column(index, "stored_at", micros)
        table = table.append_column("", pa.array((times % 1000).astype(np.int32)))
        return table.rename_columns(self._names)


def read_frame(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame in a file or data set, and the `facts` that were written with it.

    Raises:
        ValueError: it was not exported by this package.
    """
    files = sorted(path.rglob("part-*.parquet"), key=_number) if path.is_dir() else [path]
    tables = []
    facts: dict[str, Any] = {}
    for file in files:
        with pq.ParquetFile(file) as source:  # read_table() would add columns for the partitions
            tables.append(source.read())
        saved = (tables[-1].schema.metadata or {}).get(_KEY)
        if saved is None:
            break
        facts = json.loads(saved)
    if not facts or saved is None:
        raise ValueError(
            f"{path} was not exported by this package, so its types are not known; "
            "read it with pandas.read_parquet"
        )
    columns = [ExportColumn(*column) for column in facts.pop("columns")]
    *names, rest = facts.pop("names")
    table = pa.concat_tables(tables).select([*names, rest])
    times = table["stored_at"].cast(pa.int64()).to_numpy() * 1000
    nanos = times + table[rest].to_numpy()
    table = table.select(names).rename_columns(["seq", *(column.name for column in columns)])
    index = table.schema.get_field_index("stored_at")
    table = table.set_column(index, "stored_at", pa.array(nanos).cast(STORES["time_ns"]))
    return to_frame(table, columns), facts


def is_data_set(path: Path) -> bool:
    """Whether everything in the folder was exported by this package."""
    return foreign_in_data_set(path) is None and all(map(_is_exported, parts(path)))


def _is_exported(part: Path) -> bool:
    try:
        return _KEY in (pq.read_schema(part).metadata or {})
    except pa.ArrowInvalid:
        return False


def _number(part: Path) -> int:
    return int("".join(filter(str.isdigit, part.stem)) or 0)


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """`names`, with `_` after a name that equals an earlier one, apart from the case.

    Spark and other programs do not distinguish column names by their case.
    """
    taken: set[str] = set()
    for name in names:
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        yield name
