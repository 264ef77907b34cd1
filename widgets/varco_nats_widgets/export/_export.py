"""Exporting channels to files of any size, and loading files into frames.

Parquet and CSV need the type of every column before the first row, and a column's type is known
only after the last message. So messages are read once, into blocks on the disk beside the path of
the export, and the files are written from those; `_schema` finds the types.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, aclosing
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pandas as pd

from varco_nats.history import History, Selection
from varco_nats_widgets._notebook import formulas_as_text
from varco_nats_widgets.export import _csv, _ndjson, _parquet
from varco_nats_widgets.export._job import ExportJob, check_target
from varco_nats_widgets.export._partial import Partial, State, check_same, info_path
from varco_nats_widgets.export._schema import ExportColumn
from varco_nats_widgets.frames import MAX_FIELDS
from varco_nats_widgets.frames._decoding import ChannelOf, Decoding
from varco_nats_widgets.frames._headers import HEADERS, header_columns, wanted_headers
from varco_nats_widgets.frames._query import FrameQuery

Format = Literal["parquet", "dataset", "ndjson", "csv"]

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    "": "dataset",
}
_ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote."""

    path: Path
    format: Format
    rows: int
    bytes: int
    """The size of all its files."""
    files: int
    first_seq: int | None
    """The lowest stream sequence among the rows; None if there are no rows."""
    last_seq: int | None
    completeness: dict[str, int | str | None]
    """As in `frame.attrs["completeness"]`."""
    resumed_from: int | None
    """The rows of an interrupted export that this one continued; None if it began anew."""
    more: str | None
    """The column that has the fields beyond the first 1,000, as a dict in each row. None if every
    field has a column of its own, and for NDJSON, whose lines hold the payloads."""
    times: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """As in `frame.attrs["times"]`."""

    def __repr__(self) -> str:
        missing = self.completeness["gaps"]
        verdict = f"{missing:,} missing" if missing else "complete"
        if self.completeness["truncated_by"]:
            verdict = f"cut by {self.completeness['truncated_by']}"
        if self.more is not None:
            verdict += f", fields beyond {MAX_FIELDS:,} in {self.more!r}"
        return f"ExportResult({self.path.name}: {self.rows:,} rows, {verdict})"


async def export_channels(
    history: History,
    channel_of: ChannelOf | Decoding,
    query: FrameQuery,
    path: Path | str,
    *,
    format: Format | None = None,  # noqa: A002 - what pandas and others call it
    partition_by: Literal["day", "hour"] | None = None,
    rows_per_file: int | None = None,
    headers: bool | Iterable[str] = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Write the messages that `query` selects to `path`, in bounded memory.

    Until the export is complete, it is in the folder `{path}.partial`; then `path` appears. After
    an interruption of any kind, the same call continues the export, with the messages that were
    selected when it began.

    Args:
        channel_of: the channel of a subject, for JSON; or how a lab reads messages.
        path: ends in `.parquet` or `.pq`, `.ndjson` or `.jsonl`, or `.csv`; without a suffix it
            is a folder, for a Parquet data set.
        format: the format, if the suffix does not say it.
        partition_by: for a data set, to have a folder for each day or hour (UTC) of `stored_at`,
            with the names that Hive gives them.
        rows_per_file: for a data set, the most rows in one file; default 1,000,000.
        headers: whether there is a column `headers`; or the names of headers, a column each.
        overwrite: replace what is at `path`, and drop an unfinished export of something else.
        progress: called with the steps done and the steps in all. A message is one step in NDJSON,
            which is written as it is read, and two steps in the other formats.

    Raises:
        ValueError: a suffix or an option cannot be used.
        FileNotFoundError: the folder of `path` does not exist.
        FileExistsError: there is something at `path`, or an unfinished export of something else,
            or the stream is not the one that the unfinished export began with.
        BlockingIOError: another export is writing to `path`.
        OSError: the disk is full, or the like; what was written is kept.
        StreamNotFoundError: the stream does not exist.
    """
    target = expanded(path)
    kind = _format(target, format)
    if kind != "dataset" and (partition_by is not None or rows_per_file is not None):
        raise ValueError(
            "partition_by= and rows_per_file= are for a data set, whose path has no suffix"
        )
    if partition_by not in (None, "day", "hour"):
        raise ValueError(f"partition_by={partition_by!r}: must be 'day', 'hour' or None")
    if rows_per_file is not None and rows_per_file < 1:
        raise ValueError(f"rows_per_file={rows_per_file}: must be 1 or more")
    per_file = (rows_per_file or _ROWS_PER_FILE) if kind == "dataset" else None
    wanted = wanted_headers(headers) or query.headers
    request = _as_json(
        query, kind, partition_by=partition_by, rows_per_file=per_file, headers=wanted
    )
    decoding = Decoding.of(channel_of)
    # rows that were read or masked otherwise do not go into one file
    if decoding.mask is not None:
        request["mask"] = decoding.mask.fingerprint
    if decoding.decoders is not None:
        request["decoders"] = decoding.decoders.fingerprint
    partial = Partial(target, is_folder=kind == "dataset")
    with ExitStack() as held:
        await _in_thread(held.enter_context, partial.locked())
        state = await _in_thread(_state_to_continue, partial, request, overwrite)
        resumed = None if state is None else state.rows
        if state is None:
            state = State(request, asdict(await query.select(history)), time.time())
            await _in_thread(partial.begin, state)
        elif not state.read:
            await _check_stream(history, query, state, partial)
        job = ExportJob(partial, state, decoding, query)
        held.callback(job.close)
        try:
            await _run(history, job, query, progress or (lambda done, total: None))
            files, size = await _in_thread(job.finish, overwrite)
        except FileExistsError:
            raise
        except Exception as error:
            raise _with_hint(error, state, partial) from error.__cause__
    return ExportResult(
        path=target,
        format=kind,
        rows=state.rows,
        bytes=size,
        files=files,
        first_seq=state.first_seq,
        last_seq=state.last_seq,
        completeness=job.completeness,
        resumed_from=resumed,
        more=job.more,
        times=job.times,
    )


def load(path: Path | str) -> pd.DataFrame:
    """The frame in an export: exactly the one that `Lab.frame` would have given.

    Args:
        path: a file or a data set that `export_channels` wrote.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is not an export, or not finished, or was changed since.
    """
    formulas_as_text()
    path = expanded(path)
    if path.name.endswith(".partial"):
        raise ValueError(f"{path} is not finished; repeat the export to finish it")
    facts: dict[str, Any]
    if path.is_dir() or _is_parquet(path):
        frame, facts = _parquet.read_frame(path)
        if path.is_dir():
            frame = _in_order(frame, newest_first=facts["newest_first"])
    else:
        facts = _facts(path)
        if facts.get("format") == "csv":
            columns = [ExportColumn(*column) for column in facts["columns"]]
            frame = _csv.read_frame(path, columns)
        elif path.suffix == ".csv":
            raise ValueError(
                f"beside {path} there is no {info_path(path).name} that describes it, so its types "
                "are not known; read it with pandas.read_csv"
            )
        else:
            frame = _ndjson.read_frame(path, headers=facts.get("headers"), times=facts.get("times"))
    if names := header_columns(wanted_headers(facts.get("headers") or False)):
        frame.attrs[HEADERS] = names
    frame.attrs |= {name: facts[name] for name in ("completeness", "times") if name in facts}
    return frame


async def _run(
    history: History, job: ExportJob, query: FrameQuery, report: Callable[[int, int], None]
) -> None:
    selection = job.remaining()
    if selection is not None:
        read = history.batches(selection, newest_first=query.newest_first, page=query.page)
        async with aclosing(read) as batches:
            async for batch in batches:
                more = await _in_thread(job.take, batch)
                report(job.steps_done, job.steps)
                if not more:
                    break
    await _in_thread(job.end_reading)
    while await _in_thread(job.write_some):
        report(job.steps_done, job.steps)
    report(job.steps, job.steps)


async def _check_stream(
    history: History, query: FrameQuery, state: State, partial: Partial
) -> None:
    """Raise FileExistsError if the stream is not the one that the export began with."""
    selected = msgspec.convert(state.selection, Selection)
    now = await history.select(query.channels, start_seq=selected.last_seq)
    same = now.stream == selected.stream and now.last_seq >= selected.last_seq
    if same and (seq := state.position) is not None:
        found = [m async for m in history.read(query.channels, start_seq=seq, end_seq=seq)]
        same = all(message.time_ns == state.position_ns for message in found)
    if not same:
        raise FileExistsError(
            errno.EEXIST,
            f"it holds an unfinished export of a stream {selected.stream!r} that was deleted or "
            "created again; delete this folder to begin again",
            str(partial.folder),
        )


def _state_to_continue(partial: Partial, request: dict[str, Any], overwrite: bool) -> State | None:
    """The state of an unfinished export to continue; None to begin one."""
    state = partial.load()
    check_target(partial, request["format"], overwrite)
    if state is not None:
        try:
            check_same(state, request, time.time(), partial.folder)
        except FileExistsError:
            if not overwrite:
                raise
            return None
    return state


def _as_json(query: FrameQuery, kind: Format, **options: Any) -> dict[str, Any]:
    """The arguments of an export in plain values, to be saved and compared with later ones."""
    request: dict[str, Any] = {"format": kind}
    asked = {each.name: getattr(query, each.name) for each in fields(query)}
    for name, value in (asked | options).items():
        if isinstance(value, datetime):
            value = value.timestamp()
        elif isinstance(value, frozenset):
            value = sorted(value)
        request[name] = list(value) if isinstance(value, tuple) else value
    return request


def expanded(path: Path | str) -> Path:
    """The path that a user gave."""
    return Path(path).expanduser()


def _format(path: Path, given: str | None) -> Format:
    if given is None:
        if path.suffix.lower() not in _SUFFIXES:
            known = ", ".join(suffix for suffix in _SUFFIXES if suffix)
            raise ValueError(
                f"{path.name}: no format has the suffix {path.suffix!r}; use {known}, or none for "
                "a data set, or give format="
            )
        return _SUFFIXES[path.suffix.lower()]
    for kind in _SUFFIXES.values():
        if kind == given:
            return kind
    known = ", ".join(map(repr, dict.fromkeys(_SUFFIXES.values())))
    raise ValueError(f"format={given!r}: must be one of {known}")


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _facts(path: Path) -> dict[str, Any]:
    """The description beside a CSV or NDJSON file; empty if there is none of this very file."""
    try:
        facts: dict[str, Any] = json.loads(info_path(path).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return facts if facts.get("bytes") == path.stat().st_size else {}


def _in_order(frame: pd.DataFrame, *, newest_first: bool) -> pd.DataFrame:
    """The rows in the order in which they were read; the files of a data set may mix them."""
    index = frame.index
    if index.is_monotonic_decreasing if newest_first else index.is_monotonic_increasing:
        return frame
    return frame.sort_index(ascending=not newest_first)


def _with_hint(error: Exception, state: State, partial: Partial) -> Exception:
    hint = f"{state.rows:,} rows are kept in {partial.folder}; repeat the export to continue it"
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}; {hint}"
        if error.errno is not None:
            return OSError(error.errno, reason, str(partial.target))
        return OSError(reason)
    error.add_note(hint)
    return error


async def _in_thread[**P, T](work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; when cancelled, wait until it is done with the files."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
