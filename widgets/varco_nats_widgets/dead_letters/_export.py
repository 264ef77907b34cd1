"""Dead letters in a file: their frame, and each entry as it is stored, byte for byte."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from varco_nats._formulas import neutral
from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import Advice, AdviceKind, ReplayRefusedError
from varco_nats_widgets.dead_letters._index.frame import frame_of
from varco_nats_widgets.dead_letters._index.masked import stored_bytes
from varco_nats_widgets.frames._cells import format_cell
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._decoding import Decoding

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


@dataclass(frozen=True, slots=True)
class DeadLetterExport:
    """What an export of dead letters wrote."""

    path: Path
    rows: int
    bytes: int

    def __repr__(self) -> str:
        entries = "entry" if self.rows == 1 else "entries"
        return f"DeadLetterExport({self.path.name}: {self.rows:,} {entries})"


class Exports:
    """Which entries the files have that were written here, as long as nobody changes them.

    It may be used on any threads: an entry of `_files` is replaced, never changed.
    """

    def __init__(self) -> None:
        self._files: dict[Path, tuple[frozenset[UUID], tuple[int, int]]] = {}
        self._masked: set[Path] = set()

    def add(self, path: Path, entry_ids: Iterable[UUID], *, is_whole: bool = True) -> None:
        """`path` was written and has these entries, and no others.

        Args:
            is_whole: whether it has all of them; with a mask it has not.
        """
        path = path.resolve()
        self._files.pop(path, None)
        self._masked.discard(path)
        if is_whole:
            self._files[path] = frozenset(entry_ids), _state(path)
        else:
            self._masked.add(path)

    def file_of(self, entry_ids: Collection[UUID]) -> Path | None:
        """The newest file that has all of these entries; None if none was written.

        Raises:
            ReplayRefusedError: it is not as it was written.
        """
        wanted = frozenset(entry_ids)
        found = [path for path, (ids, _) in [*self._files.items()] if wanted <= ids]
        if not found:
            return None
        self.check(found[-1], wanted)
        return found[-1]

    def check(self, path: str | Path, entry_ids: Collection[UUID]) -> None:
        """Refuse a file that was written here and has not all of these entries, or not any more.

        Raises:
            ReplayRefusedError: it is refused.
        """
        place = Path(path).expanduser().resolve()
        if place in self._masked:
            raise ReplayRefusedError(
                f"{place.name!r} was written with a mask, so that it has not all of the entries; "
                "export them from a Lab without one, or discard them without an export"
            )
        if (known := self._files.get(place)) is None:
            return
        ids, state = known
        if missing := len(frozenset(entry_ids) - ids):
            raise ReplayRefusedError(
                f"{missing:,} of {len(entry_ids):,} dead letters are not in {place.name!r}"
            )
        if _state(place) != state:
            raise ReplayRefusedError(
                f"{place.name!r} is not as it was exported any more; export the entries again"
            )

    def check_whole(self, path: str | Path, found: Collection[UUID]) -> None:
        """Refuse a file that was written here with more entries than are found in it.

        Raises:
            ReplayRefusedError: it is refused.
        """
        place = Path(path).expanduser().resolve()
        ids, _ = self._files.get(place, (frozenset(found), None))
        if missing := len(ids - frozenset(found)):
            raise ReplayRefusedError(
                f"{missing:,} of the {len(ids):,} dead letters that were exported to "
                f"{place.name!r} are not in it any more; nothing was restored"
            )


def _state(path: Path) -> tuple[int, int]:
    """Size and time of the last change, which tell whether a file is as it was written."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


class TargetExistsError(FileExistsError):
    """There is something where an export is to go.

    Attributes:
        advice: how to replace it.
    """

    def __init__(self, target: Path) -> None:
        self.advice = Advice(AdviceKind.OVERWRITE, "overwrite=True replaces it")
        super().__init__(f"{str(target)!r} exists; {self.advice.text}")


def target_of(path: str | Path, *, overwrite: bool) -> Path:
    """Where an export goes.

    Raises:
        TargetExistsError: there is something, and `overwrite` is not set.
        FileNotFoundError: there is no such folder.
        ValueError: the suffix is none of `.parquet`, `.ndjson` and `.csv`.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in _WRITERS:
        raise ValueError(
            f"{target.name!r}: no format has the suffix {target.suffix!r}; use "
            f"{', '.join(_WRITERS)}"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{str(target.parent)!r} is no folder; make it first")
    if target.exists() and not overwrite:
        raise TargetExistsError(target)
    return target


def write_entries(
    target: Path, entries: Sequence[StoredEntry], decoding: Decoding, *, headers: bool = False
) -> DeadLetterExport:
    """Write the entries' frame; the last columns are `subject`, `entry` (the stored bytes), and
    their `sha256`, by which a restore knows that they are as they were.

    The file is at its place when it is whole and on the disk, not before. In CSV and NDJSON bytes
    are base64.

    Args:
        headers: whether the headers of the stored messages, which the bytes do not have, are a
            column `headers` before these.
    """
    frame = frame_of(entries, decoding)
    frame["subject"] = [stored.message.subject for stored in entries]
    if headers:
        frame["headers"] = pd.Series(
            [dict(stored.message.headers or {}) for stored in entries],
            dtype=object,
            index=frame.index,
        )
    frame["entry"] = pd.Series(
        [stored_bytes(stored, decoding) for stored in entries], dtype=object, index=frame.index
    )
    frame["sha256"] = [hashlib.sha256(data).hexdigest() for data in frame["entry"]]
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            _WRITERS[target.suffix.lower()](file, frame)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return DeadLetterExport(target, len(frame), target.stat().st_size)


def _write_parquet(file: IO[bytes], frame: pd.DataFrame) -> None:
    names = [str(frame.index.name), *map(str, frame.columns)]
    columns = [_arrow(frame.index.to_series()), *(_arrow(frame[name]) for name in frame.columns)]
    pq.write_table(pa.table(columns, names=names), file)


def _write_ndjson(file: IO[bytes], frame: pd.DataFrame) -> None:
    for row in _rows(frame, _plain):
        fields = {name: value for name, value in row.items() if value is not None}
        file.write(_JSON.encode(fields).encode(errors="backslashreplace") + b"\n")


def _write_csv(file: IO[bytes], frame: pd.DataFrame) -> None:
    # without its mark Excel takes UTF-8 for the local 8-bit code
    text = io.TextIOWrapper(file, "utf-8-sig", errors="backslashreplace", newline="")
    lines = csv.writer(text, quoting=csv.QUOTE_NOTNULL)
    lines.writerow([str(frame.index.name), *map(str, frame.columns)])
    lines.writerows(row.values() for row in _rows(frame, _cell))
    text.detach()


_WRITERS: dict[str, Callable[[IO[bytes], pd.DataFrame], None]] = {
    ".parquet": _write_parquet,
    ".ndjson": _write_ndjson,
    ".csv": _write_csv,
}


def _arrow(values: pd.Series[Any]) -> Any:
    """A column as Arrow has it; one of mixed kinds as JSON."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        plain = [_plain(value) for value in values]
        texts = [None if value is None else clean(_JSON.encode(value)) for value in plain]
        return pa.array(texts, pa.large_string())


def _rows(frame: pd.DataFrame, convert: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
    columns = {str(frame.index.name): frame.index.tolist()}
    columns |= {str(name): frame[name].tolist() for name in frame.columns}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, map(convert, values), strict=True))


def _plain(value: Any) -> Any:
    """`value` as JSON has it; bytes as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (dict, list)):
        return value
    if _missing(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, pd.Timedelta) else value


def _cell(value: Any) -> str | None:
    if _missing(value):
        return None
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, (dict, list)):
        return neutral(_JSON.encode(value))
    return format_cell(_plain(value), None)


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
