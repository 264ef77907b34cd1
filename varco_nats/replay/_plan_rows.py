"""Makes the rows of a plan from stored messages and options. Pure, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from msgspec.structs import replace
from varco_core.event.base import CHANNEL_ALL
from varco_core.event.dlq import DeadLetterSource

from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import (
    MESSAGE_ID,
    REPLAY_COUNT,
    REPLAY_ID,
    REPLAY_OF,
    own_headers,
    replays_of,
)
from varco_nats.config import StreamSettings
from varco_nats.dlq._codec import UNREADABLE, StoredEntry
from varco_nats.errors import Advice, AdviceKind, InvalidChannelError
from varco_nats.replay._edit import json_object, rewritten
from varco_nats.replay._entry_filter import ID_KEY, event_of, original_payload
from varco_nats.replay._plan import PlannedReplay, ReplayDecision, Transform, is_larger, size_of

AGAIN = Advice(AdviceKind.REPLAY_AGAIN, "again=True replays it again")
"""For a row that was replayed before, or may have been."""
_NEW_IDS = Advice(AdviceKind.NEW_EVENT_IDS, "new_event_ids=True gives it a new one")
_CHANNEL = Advice(AdviceKind.NAME_CHANNEL, "to='orders' names one")

_ROOM = 8 * 1024  # bytes for the headers of a replay, which have names of a stream and a channel

EXPECTED_STREAM = "Nats-Expected-Stream"
"""With it the server refuses a message whose channel has moved to another stream: a later run
looks for replays in this one only."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What is done to every message of a plan."""

    to: str | None = None
    edits: Mapping[UUID, Mapping[str, Any] | bytes] = field(default_factory=dict)
    transform: Transform | None = None
    new_event_ids: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """The target of a plan."""

    settings: StreamSettings
    max_payload: int
    """Bytes of headers and payload that the target takes."""
    subjects: dict[str, str] = field(default_factory=dict)
    """Of the channels seen so far."""

    def subject(self, channel: str) -> str:
        """The subject of a channel.

        Raises:
            InvalidChannelError: no subject can be made of its name.
        """
        subject = self.subjects.get(channel)
        if subject is None:
            subject = self.subjects[channel] = self.settings.subject_name(channel)
        return subject


class _SkipError(Exception):
    """The row is not to be sent; the text says why, and what to do about it."""

    def __init__(self, why: str, advice: Advice | None = None) -> None:
        self.advice = advice
        super().__init__(why if advice is None else f"{why}; {advice.text}")


def plan_entry(stored: StoredEntry, options: PlanOptions, target: Destination) -> PlannedReplay:
    """The row of one dead letter."""
    entry, payload = stored.fields, original_payload(stored)
    replays = replays_of(stored.headers) if stored.headers else 0
    to = entry.channel if options.to is None else options.to
    event_id, event_type = event_of(payload)
    entry_id, headers = stored.entry_id, stored.replay_headers()
    headers[EXPECTED_STREAM] = target.settings.stream_name
    row = PlannedReplay(
        key=headers[REPLAY_OF],
        entry_id=entry_id,
        seq=stored.message.seq,
        channel=entry.channel,
        to=to,
        subject=target.subjects.get(to, ""),
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        headers=headers,
        replays=replays,
        handler_name=entry.handler_name,
        error_type=entry.error_type,
        error_message=entry.error_message,
        time_ns=stored.message.time_ns,
        tenant_id=entry.tenant_id,
    )
    edit = options.edits.get(entry_id) if options.edits else None
    if options.again and row.to != entry.channel:
        # on another channel it is another message, which the bus names in the same way
        identity = f"{row.headers[MESSAGE_ID]}.{row.to}"
        row = replace(row, headers={**row.headers, MESSAGE_ID: identity})
    try:
        if entry.source is DeadLetterSource.JOB:
            raise _SkipError("a job's entry; enqueue the job again in its job store")
        if entry.error_type == UNREADABLE and edit is None:
            raise _SkipError("not readable as a dead letter; give its payload by an edit")
        if stored.event_bytes is None and entry.payload is None and edit is None:
            there = f"; its source_ref is {entry.source_ref}" if entry.source_ref else ""
            raise _SkipError(f"stored without its payload; give it by an edit{there}")
        if row.replays and not options.again:
            last = (stored.headers or {}).get(REPLAY_ID)
            by = f", last by run {last}" if last else ""
            times = "once" if row.replays == 1 else f"{row.replays} times"
            raise _SkipError(f"replayed {times} before{by}", AGAIN)
        at_most = stored.at_most
        row = _with_payload(row, edit, options)
        fits = not row.edited and at_most is not None and at_most <= target.max_payload - _ROOM
        return _finished(row, target, fits=fits)
    except _SkipError as skip:
        return _skipped(row, skip)


def plan_message(
    message: StoredMessage,
    stream: str,
    channel: str,
    history_key: str,
    options: PlanOptions,
    target: Destination,
) -> PlannedReplay:
    """The row of one stored message that is to be stored again in another place."""
    key = f"{stream}:{message.seq}"
    replays = replays_of(message.headers)
    event_id, event_type = event_of(message.data)
    row = PlannedReplay(
        key=key,
        entry_id=None,
        seq=message.seq,
        channel=channel,
        to=channel if options.to is None else options.to,
        subject="",
        event_id=event_id,
        event_type=event_type,
        payload=message.data,
        headers={
            **own_headers(message.headers),
            MESSAGE_ID: f"history.{history_key}.{message.seq}",
            REPLAY_OF: key,
            REPLAY_COUNT: str(replays + 1),
            EXPECTED_STREAM: target.settings.stream_name,
        },
        replays=replays,
        time_ns=message.time_ns,
    )
    try:
        row = _finished(_with_payload(row, None, options), target)
        if row.edited and not options.new_event_ids:  # with another payload it is another message
            digest = hashlib.sha256(row.payload).hexdigest()[:16]
            identity = f"{row.headers[MESSAGE_ID]}.{digest}"
            row = replace(row, headers={**row.headers, MESSAGE_ID: identity})
        return row
    except _SkipError as skip:
        return _skipped(row, skip)


def _skipped(row: PlannedReplay, skip: _SkipError) -> PlannedReplay:
    return replace(row, decision=ReplayDecision.SKIP, why=str(skip), advice=skip.advice)


def missing_entry(entry_id: UUID) -> PlannedReplay:
    """The row of an entry that was requested and is not in the queue."""
    return PlannedReplay(
        key=str(entry_id),
        entry_id=entry_id,
        seq=None,
        channel="",
        to="",
        subject="",
        event_id=None,
        event_type=None,
        payload=b"",
        headers={},
        decision=ReplayDecision.SKIP,
        why="not in the queue",
    )


def skip_replayed(
    rows: Sequence[PlannedReplay], replayed_by: Mapping[str, str], perhaps: Mapping[str, str]
) -> list[PlannedReplay]:
    """The rows, with those skipped that a run in the log replayed before or may have replayed.

    Args:
        perhaps: by key, a run that had it in its plan and whose outcomes cannot be read.
    """
    reasons = {
        key: f"run {run} had it in its plan, and its outcome there cannot be read"
        for key, run in perhaps.items()
    }
    for key, run in replayed_by.items():
        reasons[key] = f"replayed before by run {run} and pushed again since"
    return skip_for(rows, reasons, AGAIN)


def skip_for(
    rows: Sequence[PlannedReplay], reasons: Mapping[str, str], advice: Advice | None = None
) -> list[PlannedReplay]:
    """The rows, with those skipped that there is a reason for, by key."""
    if not reasons:
        return [*rows]
    return [
        _skipped(row, _SkipError(reasons[row.key], advice))
        if row.decision is ReplayDecision.REPLAY and row.key in reasons
        else row
        for row in rows
    ]


def note_copies(rows: Sequence[PlannedReplay]) -> list[PlannedReplay]:
    """The rows, with a note on each that has the same event as an earlier one.

    A second copy of the same entry is skipped.
    """
    first: dict[tuple[str, str], str] = {}
    entries: dict[str, int | None] = {}
    noted = []
    for row in rows:
        if row.decision is ReplayDecision.REPLAY and row.key in entries:
            why = f"the same entry as sequence {entries[row.key]} of the queue"
            row = replace(row, decision=ReplayDecision.SKIP, why=why)
        entries.setdefault(row.key, row.seq)
        if row.decision is ReplayDecision.REPLAY and row.event_id is not None:
            other = first.setdefault((row.to, row.event_id), row.key)
            if other != row.key:
                row = replace(row, why=f"the same event as entry {other}")
        noted.append(row)
    return noted


def checked_edits(
    edits: Mapping[Any, Mapping[str, Any] | bytes] | None, planned: Iterable[UUID]
) -> None:
    """Refuse edits of entries that are not in the plan.

    Raises:
        ValueError: names them.
    """
    if edits and (unknown := [str(entry_id) for entry_id in set(edits) - set(planned)]):
        names = ", ".join(sorted(unknown)[:5])
        raise ValueError(
            f"edits: {len(unknown)} of the edited entries are not in the plan ({names}); "
            "give their ids in entry_ids, or correct the filter"
        )


def _with_payload(
    row: PlannedReplay, edit: Mapping[str, Any] | bytes | None, options: PlanOptions
) -> PlannedReplay:
    """The row with the payload that the edit and the options make of it."""
    if edit is None and options.transform is None and not options.new_event_ids:
        return row
    if isinstance(edit, bytes) and options.transform is None and not options.new_event_ids:
        return _edited(row, edit)
    before = row.payload if edit is None else edit
    event = json_object(before) if isinstance(before, bytes) else dict(before)
    if event is None:
        raise _SkipError("its payload is not a JSON object, as transform and new_event_ids need")
    if options.transform is not None:
        event = _transformed(event, options.transform)
    if options.new_event_ids:
        event = {**event, ID_KEY: str(uuid4())}
    elif row.event_id is not None and event.get(ID_KEY) != row.event_id:
        raise _SkipError("the edit changes its event_id", _NEW_IDS)
    try:
        return _edited(row, rewritten(row.payload, event))
    except (TypeError, ValueError, RecursionError) as error:
        raise _SkipError(f"the changed payload cannot be written as JSON: {error}") from None


def _edited(row: PlannedReplay, payload: bytes) -> PlannedReplay:
    event_id, event_type = event_of(payload)
    return replace(
        row,
        payload=payload,
        event_id=event_id,
        event_type=event_type,
        edited=payload != row.payload,
    )


def _transformed(event: dict[str, Any], transform: Transform) -> dict[str, Any]:
    try:
        result = transform(event)
    except Exception as error:  # the user's function; the other rows are planned
        raise _SkipError(f"transform raised {type(error).__name__}: {error}") from None
    if result is None:
        raise _SkipError("transform returned None")
    if not isinstance(result, dict):
        raise _SkipError(f"transform returned {type(result).__name__}, not a dict or None")
    return result


def _finished(row: PlannedReplay, target: Destination, *, fits: bool = False) -> PlannedReplay:
    """The row with its subject, if it can be sent.

    Args:
        fits: whether it is known not to be too large.
    """
    if row.to in ("", CHANNEL_ALL):
        raise _SkipError("it has no channel", _CHANNEL)
    try:
        subject = target.subject(row.to)
    except InvalidChannelError as error:
        raise _SkipError(str(error)) from None
    if not fits and is_larger(row, target.max_payload):
        raise _SkipError(
            f"too large: {size_of(row):,} bytes with its headers, and the target takes "
            f"{target.max_payload:,}"
        )
    return row if row.subject == subject else replace(row, subject=subject)
