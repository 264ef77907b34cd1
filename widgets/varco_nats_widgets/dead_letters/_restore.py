"""Reads back what an export of dead letters wrote, and refuses a file that is not as it was."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from varco_nats._formulas import original
from varco_nats._masks._shown import WITHHELD
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import UNREADABLE, DlqNames, decode
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import ExportedEntry

_NEEDED = ("entry_id", "subject", "entry")
_DIGEST = "sha256"
_EXPORT_AGAIN = "nothing was restored; take another copy of the export"


def read_export(path: str | Path, names: DlqNames) -> list[ExportedEntry]:
    """The entries in a file that an export of this queue wrote, in its order.

    Raises:
        ReplayRefusedError: there is no such file; a row of it is not as it was written, or was
            written with a mask.
        ValueError: the suffix is none of `.parquet`, `.ndjson` and `.csv`.
    """
    place = Path(path).expanduser()
    reader = _READERS.get(place.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{place.name!r}: no export has the suffix {place.suffix!r}; it has one of "
            f"{', '.join(_READERS)}"
        )
    if not place.is_file():
        raise ReplayRefusedError(
            f"there is no file {str(place)!r}; export() writes one, and replays() has in "
            "exported_to which file a discard had"
        )
    found = []
    for number, row in reader(place):
        try:
            found.append(_entry(row, names))
        except _RowError as error:
            raise ReplayRefusedError(
                f"{place.name!r}, row {number:,}: {error}; {_EXPORT_AGAIN}"
            ) from None
    return found


class _RowError(Exception):
    """Why a row is not as it was written."""


def _entry(row: dict[str, Any], names: DlqNames) -> ExportedEntry:
    entry_id, subject, data = (row.get(name) for name in _NEEDED)
    try:
        key = UUID(entry_id)
    except (TypeError, ValueError, AttributeError):
        raise _RowError(f"its entry_id is {entry_id!r}, which is not a UUID") from None
    if not isinstance(subject, str) or not subject:
        raise _RowError("it has no subject")
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise _RowError(f"its entry is not base64, or is cut off ({error})") from None
    if not isinstance(data, bytes):
        raise _RowError("it has no entry")
    if data == WITHHELD:
        raise _RowError("it was exported with a mask, so that the entry is not in the file")
    digest = row.get(_DIGEST)
    if isinstance(digest, str) and digest != hashlib.sha256(data).hexdigest():
        raise _RowError("its entry was changed since it was exported")
    stored = decode(StoredMessage(0, subject, 0, data, None), names).entry
    if not isinstance(digest, str) and stored.error_type == UNREADABLE:
        raise _RowError("its entry is not a dead letter")
    return ExportedEntry(key, subject, data)


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            _check_columns(path, there)
            number = 0
            for batch in file.iter_batches(1000, columns=[*_NEEDED, *({_DIGEST} & there)]):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def _ndjson(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _broken(path, error, number) from None
            if not isinstance(row, dict):
                raise _broken(path, ValueError("it is not an object"), number)
            yield number, row


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pandas as pd  # its reader has no limit for the length of a cell

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        there = next(csv.reader(file), [])
    _check_columns(path, set(there))
    wanted = [*_NEEDED, *({_DIGEST} & set(there))]
    try:
        frame = pd.read_csv(
            path,
            dtype=str,
            usecols=wanted,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
        )
    except ValueError as error:  # of pandas, too
        raise _broken(path, error) from None
    rows = zip(*(frame[name].tolist() for name in wanted), strict=True)
    for number, values in enumerate(rows, 2):  # as a spreadsheet counts them
        row = dict(zip(wanted, values, strict=True))
        if isinstance(row["subject"], str):
            row["subject"] = original(row["subject"])
        yield number, row


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".parquet": _parquet,
    ".ndjson": _ndjson,
    ".csv": _csv,
}


def _check_columns(path: Path, there: set[str]) -> None:
    if missing := [name for name in _NEEDED if name not in there]:
        raise ReplayRefusedError(
            f"{path.name!r} has no column {missing[0]!r}: it is not an export of dead letters, or "
            "another program has written it anew"
        )


def _broken(path: Path, error: Exception, number: int | None = None) -> ReplayRefusedError:
    row = "" if number is None else f", row {number:,}"
    return ReplayRefusedError(f"{path.name!r}{row} cannot be read: {error}; {_EXPORT_AGAIN}")
