"""`varco nats replay` and `log`: put dead letters back into channels, and see who did."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct, structs

from varco_nats._commands.common import (
    DONE,
    INTERRUPTED,
    NOT_DONE,
    Subparsers,
    UsageError,
    add_command,
    add_mask,
    moment,
    note,
    whole_number,
)
from varco_nats._commands.printing import print_rows

if TYPE_CHECKING:
    from varco_nats._masks._mask import Mask
    from varco_nats.config import NatsEventBusSettings
    from varco_nats.replay import (
        LoggedRow,
        PlannedReplay,
        ReplayControl,
        ReplayProgress,
        ReplayRecord,
        ReplayReport,
        ReplayResult,
    )

# the columns of tables; JSON has the other fields, too
_PLAN = ["key", "decision", "to", "event_type", "error_type", "error_message", "why"]
_REPORT = ["key", "outcome", "to", "seq", "why"]
_LOG = ["replay_id", "started_at", "who", "kind", "state", "outcome", "note"]
_LOG_ROWS = ["key", "outcome", "seq", "why"]
_LEFT_OUT = {"payload", "headers", "advice", "tenant_id"}


def add_to(subparsers: Subparsers) -> None:
    """Add the commands about replays."""
    replay = add_command(
        subparsers,
        "replay",
        _replay,
        "Show what would be put back of the dead letters, or put it back with --run",
        "It takes the dead letters that meet all conditions; no event class has to be known. "
        "Ctrl-C ends a run: what was sent is settled, and the rest stays.",
    )
    replay.add_argument("entry", nargs="*", type=_entry, metavar="ID", help="(default: all)")
    replay.add_argument("--channel", help="that come from this channel")
    replay.add_argument("--handler", help="that this handler failed to process")
    replay.add_argument("--error", metavar="TYPE", help="with this type of error: TimeoutError")
    replay.add_argument("--event-type", metavar="TYPE", help="with this type of event")
    replay.add_argument("--tenant", metavar="ID", help="of this tenant")
    replay.add_argument(
        "--text", help="with this text in error, handler, channel or payload; in any case"
    )
    replay.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="last failed at this time or later: '2026-05-01 10:00' (UTC), 'today', '10m' for ten "
        "minutes ago",
    )
    replay.add_argument("--until", type=moment, metavar="TIME", help="last failed before this time")
    replay.add_argument("--limit", type=whole_number, metavar="N", help="at most N, the oldest")
    replay.add_argument(
        "--to", metavar="CHANNEL", help="put them there (default: where each came from)"
    )
    replay.add_argument("--again", action="store_true", help="also what was replayed before")
    replay.add_argument(
        "--new-event-ids", action="store_true", help="each is another event, with an id of its own"
    )
    replay.add_argument("--note", default="", metavar="TEXT", help="the reason, kept in the log")
    replay.add_argument("--rate", type=_rate, metavar="N", help="messages per second at most")
    replay.add_argument(
        "--canary",
        type=whole_number,
        metavar="N",
        help="put back N first, and the others only if none of these comes back as a dead letter",
    )
    replay.add_argument("--run", action="store_true", help="do it (default: only show the plan)")
    replay.add_argument(
        "--confirm",
        default="",
        choices=["nobody"],
        help="do it also where nobody consumes the channel, or it may have never held a message",
    )

    add_mask(replay)

    log = add_command(
        subparsers,
        "log",
        _log,
        "List the replays and discards there were: who did what, when, and how it ended",
    )
    log.add_argument("run", nargs="?", metavar="RUN", help="the rows of this run instead")
    log.add_argument("--limit", type=whole_number, metavar="N", help="the newest N runs")


def _entry(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an entry id, which is a UUID") from None


def _rate(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages per second")


async def _replay(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats._masks._mask import Mask
    from varco_nats.replay import ReplayControl, Replayer, ReplayState
    from varco_nats.replay._replayer import asking_to_say

    if not args.run and (args.rate or args.canary or args.confirm):
        raise UsageError("--rate, --canary and --confirm are for --run")
    mask = Mask.with_environment(",".join(args.mask) or None)
    if mask is not None and args.text:
        raise UsageError("--text looks for what may be masked; choose in another way")
    async with Replayer(settings) as replayer:
        plan = await replayer.plan(
            args.entry or None,
            channel=args.channel,
            handler=args.handler,
            error_type=args.error,
            event_type=args.event_type,
            tenant_id=args.tenant,
            since=args.since,
            until=args.until,
            text=args.text,
            limit=args.limit,
            to=args.to,
            new_event_ids=args.new_event_ids,
            again=args.again,
            note=args.note,
        )
        if not args.run or not plan.to_replay:
            rows = [row if mask is None else _masked(row, mask) for row in plan.rows]
            print_rows([_row(row) for row in rows], _PLAN, as_json=args.json)
            for target in plan.targets:
                note(str(target))
                if target.consumers and target.note:
                    note(target.note)
            note(f"{plan!r}; nothing was sent{', --run does it' if plan.to_replay else ''}")
            if not plan.rows:
                note(await _why_nothing(settings))
            return NOT_DONE if args.run and plan.rows else DONE
        control = ReplayControl()
        with asking_to_say("--confirm {}"), _ctrl_c_cancels(control):
            report = await replayer.run(
                plan,
                rate=args.rate,
                canary=args.canary,
                progress=_Progress(),
                control=control,
                confirm=args.confirm,
            )
    print_rows([_row(row) for row in report.rows], _REPORT, as_json=args.json)
    note(f"{report!r}; run {report.replay_id} of the log")
    if report.state is ReplayState.CANCELLED:
        return INTERRUPTED
    return DONE if _is_done(report, named=bool(args.entry)) else NOT_DONE


async def _why_nothing(settings: NatsEventBusSettings) -> str:
    """Why no dead letter was found: there is no queue, it is empty, or it holds others."""
    from varco_nats.dlq import NatsDLQ
    from varco_nats.dlq._store import open_store

    queue = NatsDLQ(settings)
    store = await open_store(settings, queue.names, queue.durable, create=False)
    try:
        if not await store.exists():
            return (
                f"there is no stream {queue.names.stream!r}: no service has stored a dead letter "
                "there yet, or VARCO_NATS_STREAM_NAME is not the one that the service has"
            )
        count = await store.count()
    finally:
        await store.connection.close()
    if not count:
        return f"{queue.names.stream} is empty"
    return f"{queue.names.stream} holds {count:,} dead letters, none of which meets the conditions"


def _is_done(report: ReplayReport, *, named: bool) -> bool:
    """Whether all was replayed; of what matches conditions, some may be skipped."""
    from varco_nats.replay import ReplayOutcome, ReplayState

    fine = {ReplayOutcome.REPLAYED, ReplayOutcome.DUPLICATE}
    if not named:
        fine.add(ReplayOutcome.SKIPPED)
    return report.state is ReplayState.DONE and set(report.counts) <= fine


class _Progress:
    """Tells how a run comes on: on a terminal in one line, elsewhere each phase once."""

    def __init__(self) -> None:
        self._phase = ""

    def __call__(self, progress: ReplayProgress) -> None:
        text = f"{progress.phase}: {progress.done:,} of {progress.total:,}"
        if sys.stderr.isatty():
            end = "\n" if progress.phase == "done" else ""
            print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
        elif progress.phase != self._phase:
            note(text)
        self._phase = progress.phase


@contextmanager
def _ctrl_c_cancels(control: ReplayControl) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # not where Windows or another thread is
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, control.cancel)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


async def _log(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats.replay import Replayer

    if args.run is not None and args.limit is not None:
        raise UsageError("--limit is for the list of runs; the rows of a run are listed whole")
    async with Replayer(settings) as replayer:
        if args.run is None:
            records = await replayer.log(limit=args.limit)
            print_rows([_row(record) for record in records], _LOG, as_json=args.json)
            if not records:
                note("nothing was replayed or discarded yet")
            return DONE
        try:
            rows = await replayer.log_rows(args.run)
        except LookupError as error:
            note(f"{error}; 'log' without an id lists the runs")
            return NOT_DONE
    print_rows([_row(row) for row in rows], _LOG_ROWS, as_json=args.json)
    return DONE


def _masked(row: PlannedReplay, mask: Mask) -> PlannedReplay:
    """The row as it is shown."""
    from varco_nats._masks._shown import shown_error
    from varco_nats.dlq._codec import UNREADABLE

    # what is no dead letter may have an event anywhere in it
    event = None if row.error_type == UNREADABLE else row.payload
    return structs.replace(
        row,
        event_id=mask.own("event_id", row.event_id),
        event_type=mask.own("event_type", row.event_type),
        error_message=shown_error(row.error_message, event, row.headers, mask),
        why=shown_error(row.why, event, row.headers, mask) if row.why else "",
    )


def _row(row: PlannedReplay | ReplayResult | ReplayRecord | LoggedRow) -> dict[str, object]:
    values = structs.asdict(row) if isinstance(row, Struct) else asdict(row)
    return {name: value for name, value in values.items() if name not in _LEFT_OUT}
