"""Messages that services without a dead letter queue gave up: as a frame, and into the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import batched
from typing import Any
from uuid import UUID

import pandas as pd

from varco_nats._masks._mask import Mask
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterError, ReplayRefusedError
from varco_nats.replay import Exhausted, ExhaustedMessage, Replayer
from varco_nats.replay._exhausted import find_exhausted, marked
from varco_nats.replay._log import ReplayLog
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.frames._columns import column_of, strings, times
from varco_nats_widgets.frames._query import warn_caller

_AT_ONCE = 100
_NEEDED = ("channel", "consumer", "deliveries", "certain", "given_up_at", "reason", "entry_id")


async def exhausted(session: Session, channel: str, limit: int | None) -> pd.DataFrame:
    """See `Lab.exhausted`."""
    found = await _found(session, channel, limit=limit)
    return _frame(found, session.decoding.mask)


def warn_if_not_captured(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with a warning to the caller of the package where it cannot be whole."""
    if frame.attrs["completeness"]["captured_since"] is None:
        warn_caller(
            "no stream keeps what the server tells of given up messages: of what varco's bus gave "
            "up nothing is known, of other services only how many; lab.capture_exhausted() has "
            "them kept from now on"
        )
    return frame


async def dead_letter(
    session: Session,
    rows: pd.DataFrame | Iterable[int],
    channel: str | None,
    note: str,
    again: bool,
) -> list[str]:
    """See `Lab.dead_letter`."""
    if isinstance(rows, pd.DataFrame):
        messages = _messages(session.settings.stream_name, rows)
        messages = (await _marked(session, Exhausted(messages, None, {}, 0, False))).messages
    else:
        messages = await _exhausted_at(session, list(rows), channel)
    done = [message for message in messages if message.handled_by is not None]
    if done and not again:
        raise ReplayRefusedError(
            f"{len(done):,} of these {len(messages):,} messages were in the plan of a run before "
            f"(sequence {done[0].seq} in that of {done[0].handled_by}); leave them out, or say "
            "again=True"
        )
    problems: list[BaseException] = []
    async with Replayer(session.settings) as replayer:
        for batch in batched(messages, _AT_ONCE):
            pushed = (replayer.dead_letter(message, note=note, again=again) for message in batch)
            results = await asyncio.gather(*pushed, return_exceptions=True)
            problems += [result for result in results if isinstance(result, BaseException)]
    if problems:
        raise DeadLetterError(
            f"{len(problems):,} of {len(messages):,} messages were not put into the queue: "
            f"{problems[0]}"
        ) from problems[0]
    return [str(message.entry_id) for message in messages]


async def _found(session: Session, channel: str, **options: Any) -> Exhausted:
    found = await find_exhausted(session.connection, session.settings, channel, **options)
    return await _marked(session, found)


async def _marked(session: Session, found: Exhausted) -> Exhausted:
    """With what was done about each; makes no stream."""
    dlq, connection = NatsDLQ(session.settings), session.connection
    store = DlqStore(connection, session.settings, dlq.names, dlq.durable)
    return await marked(found, store, ReplayLog(connection, session.settings))


async def _exhausted_at(
    session: Session, seqs: Sequence[int], channel: str | None
) -> tuple[ExhaustedMessage, ...]:
    """The messages with these sequences, each once for every consumer that gave it up."""
    if channel is None:
        raise ValueError("sequences need channel=, the channel that the messages are in")
    if not seqs:
        return ()
    found = await _found(session, channel, limit=None, start_seq=min(seqs), end_seq=max(seqs))
    messages = tuple(message for message in found if message.seq in set(seqs))
    if missing := sorted(set(seqs) - {message.seq for message in messages}):
        named = ", ".join(map(str, missing[:5]))
        raise ReplayRefusedError(
            f"{len(missing):,} of these messages of channel {channel!r} were given up by no "
            f"consumer as far as is known (sequences {named}); lab.exhausted({channel!r}) has "
            "those that were"
        )
    return messages


def _frame(found: Exhausted, mask: Mask | None) -> pd.DataFrame:
    rows = [_shown(message, mask) for message in found.messages]
    columns = {
        "channel": strings([message.channel for message in rows]),
        "stored_at": times([pd.Timestamp(message.time_ns, tz="UTC") for message in rows]),
        "event_type": strings([message.event_type for message in rows]),
        "event_id": strings([message.event_id for message in rows]),
        "consumer": strings([message.consumer for message in rows]),
        "deliveries": column_of([message.num_delivered for message in rows]),
        "certain": column_of([message.certain for message in rows]),
        "given_up_at": times([message.given_up_at for message in rows]),
        "reason": strings([message.reason or None for message in rows]),
        "in_queue": column_of([message.in_queue for message in rows]),
        "handled_by": strings([message.handled_by for message in rows]),
        "entry_id": strings([str(message.entry_id) for message in rows]),
    }
    index = pd.Index([message.seq for message in rows], name="seq", dtype="int64")
    frame = pd.DataFrame(columns, index=index, copy=False)
    frame.attrs["completeness"] = {
        "captured_since": found.captured_since,
        "unidentified": dict(found.unidentified),
        "gone": found.gone,
        "truncated_by": "limit" if found.truncated else None,
    }
    return frame


def _shown(message: ExhaustedMessage, mask: Mask | None) -> ExhaustedMessage:
    if mask is None:
        return message
    return replace(
        message,
        event_id=mask.own("event_id", message.event_id),
        event_type=mask.own("event_type", message.event_type),
    )


def _messages(stream: str, frame: pd.DataFrame) -> tuple[ExhaustedMessage, ...]:
    if missing := [name for name in _NEEDED if name not in frame]:
        raise ValueError(
            f"these are no rows of lab.exhausted(…): they have no column {', '.join(missing)}"
        )
    return tuple(
        ExhaustedMessage(
            entry_id=UUID(row["entry_id"]),
            channel=row["channel"],
            stream=stream,
            seq=seq,
            consumer=row["consumer"],
            time_ns=0,
            event_id=None,
            event_type=None,
            num_delivered=row["deliveries"],
            certain=row["certain"],
            given_up_at=None if pd.isna(row["given_up_at"]) else row["given_up_at"],
            reason="" if pd.isna(row["reason"]) else row["reason"],
        )
        for seq, row in zip(
            frame.index.tolist(), frame[list(_NEEDED)].to_dict("records"), strict=True
        )
    )
