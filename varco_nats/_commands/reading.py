"""`varco nats channels`, `frame` and `tail`: what is stored, and what comes. They take nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

from varco_nats._commands.common import (
    DONE,
    Subparsers,
    UsageError,
    add_command,
    add_mask,
    moment,
    note,
    whole_number,
)
from varco_nats._commands.printing import print_rows
from varco_nats._moments import duration

if TYPE_CHECKING:
    from varco_nats._masks._mask import Mask
    from varco_nats.config import NatsEventBusSettings
    from varco_nats.errors import UnknownChannelError
    from varco_nats.history import History, Selection, StoredMessage

    type Wanted = Callable[[Iterable[StoredMessage]], list[StoredMessage]]
    type Read = Callable[[], AsyncGenerator[list[StoredMessage]]]

_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
_PAGE = 1000


def add_to(subparsers: Subparsers) -> None:
    """Add the commands that only read."""
    add_command(
        subparsers,
        "channels",
        _channels,
        "List the channels that hold messages",
        "NATS counts bytes by stream, so that they are known only where it has a single channel.",
    )

    frame = add_command(
        subparsers,
        "frame",
        _frame,
        "Print the events that channels hold, the oldest first",
        "No service notices. JSON lines can be read by varco_nats_widgets.export.load.",
    )
    begin = _add_selection(frame)
    begin.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="stored at this time or later: '2026-05-01 10:00' (UTC), 'today', '10m' for ten "
        "minutes ago",
    )
    frame.add_argument("--until", type=moment, metavar="TIME", help="stored before this time")
    frame.add_argument(
        "--format",
        choices=["table", "json", "csv"],
        help="json is an object in each line (default: as the name of FILE ends, else table)",
    )
    frame.add_argument(
        "--output", type=Path, metavar="FILE", help="write to FILE, which is there once it is whole"
    )

    tail = add_command(
        subparsers,
        "tail",
        _tail,
        "Print each event when it is stored, until Ctrl-C",
        "No service notices. A connection that is lost is made again.",
    )
    _add_selection(tail)


def _add_selection(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add what says which events; returns the group for where they begin."""
    parser.add_argument("channel", nargs="*", metavar="CHANNEL", help="(default: all channels)")
    parser.add_argument(
        "--event-type", action="append", metavar="TYPE", help="only such events; can be repeated"
    )
    add_mask(parser)
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--last",
        type=_last,
        metavar="LAST",
        help="the newest 20 events, say, or those of the last 10m, 2h or 1d",
    )
    return begin


def _last(text: str) -> int | timedelta:
    """How many, or since how long ago."""
    try:
        return whole_number(text) if text.isdecimal() else duration("last", text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of events nor a time like 90s, 10m, 2h or 1d"
        ) from None


async def _channels(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats._nats.direct import moment as utc
    from varco_nats.history import History

    async with History(settings) as history:
        found = await history.channels()
    rows = [
        {
            "channel": each.channel,
            "messages": each.messages,
            "bytes": each.bytes,
            "first_seq": each.first_seq,
            "last_seq": each.last_seq,
            "first_time": utc(each.first_time_ns),
            "last_time": utc(each.last_time_ns),
        }
        for each in found
    ]
    columns = ["channel", "messages", "bytes", "first_time", "last_time"]
    print_rows(rows, columns, as_json=args.json)
    if not found:
        note(f"stream {settings.stream_name!r} holds no messages")
    return DONE


async def _frame(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats._commands.rows import CsvRows, JsonRows, TableRows, fields_of
    from varco_nats._masks._mask import Mask
    from varco_nats.history import History

    begin = args.since
    if isinstance(args.last, timedelta):
        begin = datetime.now(UTC) - args.last
    if begin is not None and args.until is not None and begin > args.until:
        raise UsageError("it begins after --until")
    count = args.last if isinstance(args.last, int) else None
    channel_of = settings.channel_from_subject
    mask = Mask.with_environment(",".join(args.mask) or None)
    kind = args.format or ("json" if args.json else None)
    if kind is None:
        kind = _FORMATS.get(args.output.suffix.lower() if args.output else "", "table")
    async with History(settings) as history:
        selection = await history.select(args.channel or None, since=begin, until=args.until)
        for error in await _unknown(history, args.channel):
            if not selection.count:
                raise error
            note(str(error))  # it may be misspelled
        read = await _reading(history, selection, _wanted(args, settings, mask), count)
        with _output(args.output) as file:
            rows: TableRows | JsonRows | CsvRows
            if kind == "csv":  # read twice, as the columns come first
                fields: dict[str, None] = {}
                async for batch in read():
                    fields |= fields_of(batch)
                rows = CsvRows(file, channel_of, fields)
            else:
                rows = (JsonRows if kind == "json" else TableRows)(file, channel_of)
            found = False
            async for batch in read():
                rows.write(batch)
                found = found or bool(batch)
    if args.event_type and not found:
        note(f"no event there is of the type {' or '.join(args.event_type)}")
    if mask is not None and (complaint := mask.complaint()):
        note(complaint)
    return DONE


async def _tail(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats._commands.rows import JsonRows, TableRows
    from varco_nats._masks._mask import Mask
    from varco_nats._nats.client import connect
    from varco_nats.history import History
    from varco_nats.history._tail import Tail

    rows = (JsonRows if args.json else TableRows)(sys.stdout, settings.channel_from_subject)
    subjects = [settings.subject_name(channel) for channel in args.channel]
    wanted = _wanted(args, settings, Mask.with_environment(",".join(args.mask) or None))
    problem, gaps = None, 0

    def tell() -> None:
        nonlocal problem, gaps
        if tail.problem != problem:
            problem = tail.problem
            note(f"waiting: {problem}" if problem else "following again")
        if tail.gaps != gaps:
            lost = tail.gaps - gaps
            note(f"{lost} messages, perhaps of other channels, were gone before they could be read")
            gaps = tail.gaps

    connection = await connect(settings, name="varco-tail")
    try:
        tail = Tail(
            connection, settings.stream_name, subjects or [settings.wildcard_subject()], tell
        )
        async with History(settings, connection=connection) as history:
            if isinstance(args.last, timedelta):
                await tail.seek(since=datetime.now(UTC) - args.last)
            else:
                await tail.seek()
            if tail.state != "waiting":  # then there is a stream
                for error in await _unknown(history, args.channel):
                    note(f"waiting for its first event: {error}")
                if isinstance(args.last, int):
                    before = await history.select(args.channel or None, end_seq=tail.next_seq - 1)
                    rows.write(await _newest(history, before, wanted, args.last))
            sys.stdout.flush()
            async with aclosing(tail.batches()) as batches:
                async for batch in batches:
                    rows.write(wanted(batch))
                    sys.stdout.flush()
    finally:
        await connection.close()
    return DONE


def _wanted(args: argparse.Namespace, settings: NatsEventBusSettings, mask: Mask | None) -> Wanted:
    """Those messages that were asked for, of the channels' own subjects, as they are shown."""
    from varco_nats import subjects
    from varco_nats._commands.rows import event_type
    from varco_nats._masks._shown import shown_payload
    from varco_nats._nats.direct import StoredMessage

    def is_of_channel(message: StoredMessage) -> bool:
        prefix, channel_prefix = settings.subject_prefix, settings.channel_prefix
        return subjects.channel_from(prefix, channel_prefix, message.subject) is not None

    def masked(message: StoredMessage, mask: Mask) -> StoredMessage:
        seq, subject, time_ns = message.seq, message.subject, message.time_ns
        headers = mask.headers(message.headers) if message.headers else None
        data = shown_payload(message.data, mask)
        return StoredMessage(seq, subject, time_ns, data, headers)

    def wanted(messages: Iterable[StoredMessage]) -> list[StoredMessage]:
        shown = [message for message in messages if is_of_channel(message)]
        if mask is not None:
            for channel in {settings.channel_from_subject(each.subject) for each in shown}:
                mask.note_read(channel)
            shown = [masked(message, mask) for message in shown]
        types = args.event_type
        return [each for each in shown if not types or event_type(each) in types]

    return wanted


async def _reading(
    history: History, selection: Selection, wanted: Wanted, count: int | None
) -> Read:
    """A function that gives what is shown of the selected messages, the same each time."""
    if count is not None:
        newest = await _newest(history, selection, wanted, count)

        async def again() -> AsyncGenerator[list[StoredMessage]]:
            yield newest

        return again

    async def whole() -> AsyncGenerator[list[StoredMessage]]:
        async with aclosing(history.batches(selection)) as batches:
            async for batch in batches:
                yield wanted(batch)

    return whole


async def _newest(
    history: History, selection: Selection, wanted: Wanted, count: int
) -> list[StoredMessage]:
    """The newest `count` messages that are wanted, the oldest of them first, as they are shown."""
    found: list[StoredMessage] = []
    reading = history.batches(selection, newest_first=True, page=min(count, _PAGE))
    async with aclosing(reading) as batches:
        async for batch in batches:
            found += wanted(batch)
            if len(found) >= count:
                break
    return found[:count][::-1]


async def _unknown(history: History, channels: Sequence[str]) -> list[UnknownChannelError]:
    """What is wrong with those of `channels` that hold nothing: a name may be misspelled."""
    from varco_nats.errors import UnknownChannelError

    names = await history.names() if channels else []
    return [UnknownChannelError(channel, names) for channel in channels if channel not in names]


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Where to write: stdout, or a file that takes its name when it is whole."""
    if path is None:
        yield sys.stdout
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # a device or a pipe, which no file may replace
        with path.open("w", encoding="utf-8", newline="") as pipe:
            yield pipe
        return
    path = path.resolve()  # what a link leads to is written, and the link stays
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
