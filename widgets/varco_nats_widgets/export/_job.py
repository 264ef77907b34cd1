"""The work of one export in steps, between which the process may die and another continue.

These are plain functions on files, which run in a thread; `_export` passes them the messages.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa

from varco_nats.history import Batch, Selection
from varco_nats_widgets.export._csv import CsvSink
from varco_nats_widgets.export._ndjson import lines
from varco_nats_widgets.export._own_files import REPLACED, is_info
from varco_nats_widgets.export._parquet import ParquetSink, is_data_set
from varco_nats_widgets.export._partial import (
    Partial,
    State,
    info_path,
    sync,
    write_whole,
)
from varco_nats_widgets.export._schema import BLOCK_ROWS, Block, Types, fit
from varco_nats_widgets.frames import completeness
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import wanted_headers
from varco_nats_widgets.frames._payload import MORE
from varco_nats_widgets.frames._query import FrameQuery
from varco_nats_widgets.frames._times import TimesFound, add_found

_WITH_INFO = ("csv", "ndjson")


class ExportJob:
    """Takes messages, stores them in blocks, and writes the files of the export from those.

    It works in the folder `partial`, which the caller has locked, and keeps `state` up to date.
    """

    def __init__(
        self, partial: Partial, state: State, decoding: Decoding, query: FrameQuery
    ) -> None:
        self.state = state
        self._partial = partial
        self._decoding = decoding
        self._query = query
        self._kind = state.query["format"]
        self._headers = wanted_headers(state.query["headers"])
        self._selection = msgspec.convert(state.selection, Selection)
        self._types = Types.from_json(state.types, self._headers, query.times)
        self._times: dict[str, TimesFound | None] = dict.fromkeys(query.times)
        self._times |= {name: found and TimesFound(**found) for name, found in state.times.items()}
        self._block = self._new_block()
        self._file: IO[bytes] | None = None
        self._sink: ParquetSink | CsvSink | None = None
        self._tables: Iterator[Any] = iter(())
        self._written_before = state.written

    @property
    def steps(self) -> int:
        """How many steps there are; see `export_channels`."""
        limit = self._query.limit
        messages = self._selection.count
        if limit is not None:
            messages = min(messages, limit)
        return messages if self._kind == "ndjson" else 2 * messages

    @property
    def steps_done(self) -> int:
        state = self.state
        done = state.rows + state.filtered + self._block.taken
        return min(done + state.written, self.steps)

    @property
    def completeness(self) -> dict[str, int | str | None]:
        """Whether the rows are all that was asked for."""
        state = self.state
        cut = "limit" if self._is_enough else None
        return completeness(self._selection.count, state.rows, state.filtered, cut)

    @property
    def times(self) -> dict[str, dict[str, Any] | None]:
        """What was found in the fields that become times, as in a frame's `attrs["times"]`."""
        return {
            name: None if found is None else asdict(found) for name, found in self._times.items()
        }

    @property
    def more(self) -> str | None:
        """The column with the fields beyond the limit of columns, if there is one."""
        return MORE if self._types.has_more else None

    def close(self) -> None:
        """Close the files; what is not written yet is read again the next time."""
        with suppress(OSError):  # a full disk fails once more
            if self._file is not None:
                self._file.close()
            if isinstance(self._sink, ParquetSink):
                self._sink.abort()
            elif self._sink is not None:
                self._sink.close()

    # Reading

    def remaining(self) -> Selection | None:
        """What is still to be read; None if nothing is."""
        state, rest = self.state, self._selection
        if state.position is not None and self._query.newest_first:
            rest = replace(rest, last_seq=state.position - 1)
        elif state.position is not None:
            rest = replace(rest, first_seq=state.position + 1)
        done = state.read or self._is_enough or not rest.count or rest.first_seq > rest.last_seq
        return None if done else rest

    def take(self, messages: Batch) -> bool:
        """Add messages; returns whether more are needed."""
        start = 0
        while start < len(messages):
            start = self._block.take(messages, start)
            if self._block.is_full:
                self._keep_block()
                if self._is_enough:
                    return False
        return True

    def end_reading(self) -> None:
        if not self.state.read:
            self._keep_block()
            self.state.read = True
            self._partial.save(self.state)

    @property
    def _is_enough(self) -> bool:
        return self._query.limit is not None and self.state.rows >= self._query.limit

    def _new_block(self) -> Block:
        limit = self._query.limit
        return Block(
            self._decoding,
            self._query.event_types,
            known=self._types.fields,
            headers=self._headers,
            times=self._query.times,
            limit=BLOCK_ROWS if limit is None else min(limit - self.state.rows, BLOCK_ROWS),
        )

    def _keep_block(self) -> None:
        state, block = self.state, self._block
        if block.last is None:
            return
        if len(block):
            if self._kind == "ndjson":
                self._append(block)
            else:
                self._spill(block)
            seqs = block.build().index.tolist()
            first, last = state.first_seq, state.last_seq
            state.first_seq = min(seqs) if first is None else min(first, *seqs)
            state.last_seq = max(seqs) if last is None else max(last, *seqs)
            add_found(self._times, block.times)
            state.times = self.times
        state.rows += len(block)
        state.filtered += block.filtered
        state.position, state.position_ns = block.last.seq, block.last.time_ns
        self._partial.save(state)
        self._block = self._new_block()

    def _append(self, block: Block) -> None:
        if self._file is None:
            self._file = self._partial.open_data(self.state.bytes)
        self._file.writelines(lines(block))
        sync(self._file)
        self.state.bytes = self._file.tell()

    def _spill(self, block: Block) -> None:
        table = self._types.add(block)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with self._partial.spill(len(self.state.spills)).open("wb") as file:
            with pa.ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table)
            sync(file)
        self.state.spills.append(len(table))
        self.state.types = self._types.to_json()

    # Writing

    def write_some(self) -> bool:
        """Write the rows of one block; returns whether there may be more."""
        state = self.state
        if self._kind == "ndjson" or state.finished:
            return False
        if self._sink is None:
            self._open_sink()
        assert self._sink is not None
        table = next(self._tables, None)
        if table is None:
            return False
        self._sink.write(table)
        if isinstance(self._sink, CsvSink):
            state.bytes = self._sink.size
            state.written += len(table)
            self._partial.save(state)
        elif self._kind == "dataset":
            written = self._written_before + self._sink.closed_rows
            if written > state.written:
                state.written, state.files = written, self._sink.files
                self._partial.save(state)
        return True

    def _open_sink(self) -> None:
        state, data = self.state, self._partial.data
        columns = self._types.columns(state.rows, lists=self._kind != "csv")
        if self._kind == "csv":
            self._sink = CsvSink(data, columns, state.bytes)
        else:
            self._sink = ParquetSink(
                data,
                columns,
                self._facts(),
                rows_per_file=state.query["rows_per_file"],
                partition_by=state.query["partition_by"],
                files=state.files,
            )
        self._tables = (fit(table, columns) for table in self._unwritten())

    def _unwritten(self) -> Iterator[Any]:
        skip = self.state.written
        for number, rows in enumerate(self.state.spills):
            if skip < rows:
                with pa.ipc.open_file(self._partial.spill(number)) as source:
                    yield source.read_all().slice(skip)
            skip = max(skip - rows, 0)

    def _facts(self) -> dict[str, Any]:
        query = self.state.query
        facts = {
            "version": 1,
            "format": self._kind,
            "stream": self._selection.stream,
            "channels": query["channels"],
            "rows": self.state.rows,
            "headers": query["headers"],
            "newest_first": self._query.newest_first,
            "completeness": self.completeness,
        }
        return facts | {"times": self.times} if self._times else facts

    # The end

    def finish(self, overwrite: bool) -> tuple[int, int]:
        """Complete the export and move it to its path.

        Returns:
            How many files it has, and their bytes.
        """
        partial, state = self._partial, self.state
        if not state.finished:
            self._complete()
            state.finished = True
            partial.save(state)
        check_target(partial, self._kind, overwrite)
        files = [path for path in _files(partial.data) if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        if self._kind in _WITH_INFO:
            facts = {**self._facts(), "bytes": size}
            if self._kind == "csv":
                columns = self._types.columns(state.rows, lists=False)
                facts["columns"] = [list(asdict(column).values()) for column in columns]
            write_whole(info_path(partial.target), json.dumps(facts, indent=1).encode())
        if partial.is_folder and partial.target.exists():
            partial.target.rename(partial.folder / REPLACED)
        partial.data.replace(partial.target)
        partial.clear()
        return len(files), size

    def _complete(self) -> None:
        if self._kind == "ndjson":
            if self._file is None:
                self._file = self._partial.open_data(self.state.bytes)
            self._file.close()
        elif isinstance(self._sink, ParquetSink):
            self._sink.finish()
        elif self._sink is not None:
            self._sink.close()
            with self._partial.data.open("rb") as file:
                os.fsync(file.fileno())


def check_target(partial: Partial, kind: str, overwrite: bool) -> None:
    """Check that the finished export and the file that describes it may be put at their paths.

    Raises:
        FileExistsError: something is there that must not be replaced.
    """
    target, info = partial.target, info_path(partial.target)
    if kind in _WITH_INFO and info.exists() and not is_info(info):
        reason = f"there is a file {info.name!r} that no export wrote; move it away"
        raise FileExistsError(errno.EEXIST, reason, str(target))
    if not target.exists():
        return
    if partial.is_folder != target.is_dir():
        kind_there = "folder" if target.is_dir() else "file"
        reason = f"there is a {kind_there} of this name; remove it or choose another path"
    elif partial.is_folder and target.is_symlink():
        reason = "it is a link; give the folder that it leads to, or choose another path"
    elif partial.is_folder and not is_data_set(target):
        reason = "the folder holds files that no export wrote; choose another path"
    elif overwrite or (partial.is_folder and not any(target.iterdir())):
        return
    else:
        reason = "it exists already; give overwrite=True to replace it, or another path"
    raise FileExistsError(errno.EEXIST, reason, str(target))


def _files(path: Path) -> Iterator[Path]:
    return path.rglob("*") if path.is_dir() else iter((path,))
