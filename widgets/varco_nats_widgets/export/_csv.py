"""Exports as CSV. A cell that a spreadsheet would run as a formula gets an apostrophe.

Every text is quoted, so that an empty text (`""`) differs from a missing one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from varco_nats._formulas import TRIGGER, neutral, original
from varco_nats_widgets.export._own_files import BOM
from varco_nats_widgets.export._partial import sync
from varco_nats_widgets.export._schema import STORES, ExportColumn, to_frame

_BLOCK_BYTES = 16 * 1024**2

# a quick test by Arrow, which also finds some texts that need no apostrophe
_MAYBE = rf"(^|[;\t\r\n])[^0-9A-Za-z]*[{TRIGGER}]|^[^0-9A-Za-z]*[\t\r\n]"


class CsvSink:
    """Writes tables to `path`, after the first `size` bytes that are there already."""

    def __init__(self, path: Path, columns: Sequence[ExportColumn], size: int = 0) -> None:
        self._columns = {column.name: column.store for column in columns}
        self._file = path.open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)
        if not size:
            self._file.write(BOM)  # without it Excel reads UTF-8 as the local 8-bit encoding
        stores = ["int", *self._columns.values()]
        names = [neutral(name) for name in ("seq", *self._columns)]
        self._schema = pa.schema(
            [(n, _cell_type(store)) for n, store in zip(names, stores, strict=True)]
        )
        options = pv.WriteOptions(include_header=not size)
        self._writer = pv.CSVWriter(self._file, self._schema, write_options=options)

    def write(self, table: Any) -> None:
        arrays = [table["seq"]]
        arrays += [_cells(table[name], store) for name, store in self._columns.items()]
        self._writer.write(pa.table(arrays, schema=self._schema))

    @property
    def size(self) -> int:
        """How many bytes are on the disk, after forcing all of them there."""
        sync(self._file)
        return self._file.tell()

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


def read_frame(path: Path, columns: Sequence[ExportColumn]) -> pd.DataFrame:
    """The frame in a file that `CsvSink` wrote.

    Raises:
        pyarrow.ArrowInvalid: the file is damaged.
    """
    types = {neutral(column.name): _cell_type(column.store) for column in columns}
    table = _read(path, {"seq": pa.int64(), **types})
    arrays = {"seq": table["seq"]}
    for column in columns:
        arrays[column.name] = _values(table[neutral(column.name)], column.store)
    return to_frame(pa.table(arrays), columns)


def _read(path: Path, types: dict[str, Any]) -> Any:
    size = path.stat().st_size
    block = _BLOCK_BYTES
    while True:
        try:
            return pv.read_csv(
                path,
                read_options=pv.ReadOptions(block_size=block),
                parse_options=pv.ParseOptions(newlines_in_values=True),
                convert_options=pv.ConvertOptions(
                    column_types=types,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error) or block > size:
                raise
            block *= 4  # one row is larger than a block


def _cell_type(store: str) -> Any:
    return pa.string() if store == "bytes" or store.startswith("list_") else STORES[store]


def _cells(array: Any, store: str) -> Any:
    if store == "bytes":
        array = _mapped(array, lambda value: base64.b64encode(value).decode())
    if store == "json":  # there `-5` is a number, not a formula
        return _guarded(array, lambda text: text if text.startswith("-") else neutral(text))
    if store in ("text", "bytes"):
        return _guarded(array, neutral)
    return array


def _values(array: Any, store: str) -> Any:
    if store not in ("text", "bytes", "json"):
        return array
    if pc.any(pc.match_substring(array, "'")).as_py():
        array = _mapped(array, original)
    return _mapped(array, base64.b64decode, pa.binary()) if store == "bytes" else array


def _guarded(array: Any, guard: Callable[[str], str]) -> Any:
    found = pc.match_substring_regex(array, _MAYBE)
    return _mapped(array, guard) if pc.any(found).as_py() else array


def _mapped(array: Any, change: Callable[[Any], Any], kind: Any = None) -> Any:
    values = [None if value is None else change(value) for value in array.to_pylist()]
    return pa.array(values, kind or pa.string())
