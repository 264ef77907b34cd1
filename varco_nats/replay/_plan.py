"""What a replay would send: messages and options in, rows of a plan out. Pure, no I/O."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

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
from varco_nats.dlq._codec import UNREADABLE, StoredEntry, as_utc
from varco_nats.errors import Advice, AdviceKind, InvalidChannelError
from varco_nats.replay._edit import json_object, rewritten

Transform = Callable[[dict[str, Any]], dict[str, Any] | None]
"""From a payload to the one to send; None leaves the message out."""

TYPE_KEY = "__event_type__"
EXPECTED_STREAM = "Nats-Expected-Stream"
"""Has a channel that moved to another stream refused: its replays are looked for in this one."""
AGAIN = Advice(AdviceKind.REPLAY_AGAIN, "again=True replays it again")
"""For a row that was replayed before, or may have been."""
_ID_KEY = "event_id"
_UUID_LENGTH = 36
_NEW_IDS = Advice(AdviceKind.NEW_EVENT_IDS, "new_event_ids=True gives a new one")
_CHANNEL = Advice(AdviceKind.NAME_CHANNEL, "to='orders' names one")
_USUAL_START = re.compile(rb'\{"__event_type__": "([\w.-]+)", "event_id": "([0-9a-f-]{36})"')


class ReplayDecision(StrEnum):
    """What a run does with one row of a plan."""

    REPLAY = "replay"
    SKIP = "skip"


class ReplayKind(StrEnum):
    """What a plan or a record in the log is about."""

    REPLAY = "replay"
    """Dead letters go back to a channel."""
    HISTORY = "history"
    """Stored messages go to a channel again."""
    DISCARD = "discard"
    """Dead letters are removed."""


@dataclass(frozen=True, slots=True)
class PlannedReplay:
    """One row of a plan: one message, and exactly what will be sent for it."""

    key: str
    """What `Varco-Replay-Of` says: the entry's id, or `stream:sequence` of a stored message."""
    entry_id: UUID | None
    """The dead letter; None in a replay of history."""
    seq: int | None
    """Sequence in its own stream; None for an entry that is not there."""
    channel: str
    """Where it came from."""
    to: str
    """Where it goes."""
    subject: str
    event_id: str | None
    """As it will be sent; None where the payload is no JSON event."""
    event_type: str | None
    payload: bytes
    headers: Mapping[str, str]
    """All but `Varco-Replay-Id`, which each run adds."""
    replays: int = 0
    """How often it was replayed before."""
    edited: bool = False
    """Whether the payload differs from the one that failed."""
    decision: ReplayDecision = ReplayDecision.REPLAY
    why: str = ""
    """Why it is skipped, or what else is to be known."""
    handler_name: str = ""
    error_type: str = ""
    error_message: str = ""
    time_ns: int = 0
    """When it was stored, in nanoseconds since 1970 UTC."""
    advice: Advice | None = None
    """What to do about `why`, which ends with it; None where there is nothing to do."""


@dataclass(frozen=True, slots=True, repr=False)
class ReplayPlan:
    """Exactly what a run will send; made by `Replayer.plan`, run by `Replayer.run`."""

    plan_id: str
    kind: ReplayKind
    rows: tuple[PlannedReplay, ...]
    source: str
    """The stream that the rows come from."""
    target: str
    """The stream that they go to, with its servers where these are others."""
    created_at: datetime
    servers: str = ""
    """The target's servers without credentials, "" where they are the source's."""
    note: str = ""
    """Why, in the words of whoever planned it; kept in the log."""
    again: bool = False
    """Whether what was replayed before is replayed again."""
    history_key: str = ""
    """Equal for plans of history that would store the same messages."""
    history: Mapping[str, Any] = field(default_factory=dict)
    """Of a plan of history: channel, first_seq, last_seq, since and until."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def to_replay(self) -> int:
        """How many rows will be sent."""
        return sum(row.decision is ReplayDecision.REPLAY for row in self.rows)

    @property
    def summary(self) -> dict[str, Any]:
        """Counts: rows, replay, skip, edited, by target channel, and why rows are skipped.

        Of a discard: rows, discard, skip, by the channel they came from, and why.
        """
        going = [row for row in self.rows if row.decision is ReplayDecision.REPLAY]
        skipped = Counter(row.why for row in self.rows if row.decision is ReplayDecision.SKIP)
        if self.kind is ReplayKind.DISCARD:
            return {
                "rows": len(self.rows),
                "discard": len(going),
                "skip": len(self.rows) - len(going),
                "from": dict(Counter(row.channel for row in going).most_common()),
                "skipped": dict(skipped.most_common(20)),
            }
        return {
            "rows": len(self.rows),
            "replay": len(going),
            "skip": len(self.rows) - len(going),
            "edited": sum(row.edited for row in going),
            "to": dict(Counter(row.to for row in going).most_common()),
            "skipped": dict(skipped.most_common(20)),
        }

    def __repr__(self) -> str:
        verb = {"replay": "replay", "history": "replay history", "discard": "discard"}[self.kind]
        channels = sorted({row.to for row in self.rows if row.decision is ReplayDecision.REPLAY})
        where = ", ".join(channels[:3]) + (", …" if len(channels) > 3 else "")
        return (
            f"ReplayPlan({verb} {self.to_replay:,} of {len(self.rows):,} from {self.source} "
            f"to {self.target}{f' on {self.servers}' if self.servers else ''}"
            f"{f' ({where})' if where else ''})"
        )


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which dead letters a plan takes; None takes all."""

    channel: str | None = None
    handler: str | None = None
    error_type: str | None = None
    event_type: str | None = None
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    def matches(self, stored: StoredEntry) -> bool:
        entry = stored.entry
        return (
            (self.channel is None or entry.channel == self.channel)
            and (self.handler is None or entry.handler_name == self.handler)
            and (self.error_type is None or entry.error_type == self.error_type)
            and (self.tenant_id is None or entry.tenant_id == self.tenant_id)
            and (self.since is None or entry.last_failed_at >= as_utc(self.since))
            and (self.until is None or entry.last_failed_at < as_utc(self.until))
            and (self.event_type is None or _event_type(stored) == self.event_type)
            and (self.text is None or self._has_text(stored, self.text.casefold()))
        )

    def _has_text(self, stored: StoredEntry, text: str) -> bool:
        entry = stored.entry
        payload = original_payload(stored).decode(errors="replace")
        texts = (entry.error_message, entry.error_type, entry.handler_name, entry.channel, payload)
        return any(text in one.casefold() for one in texts)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How rows are made, for all entries of a plan alike."""

    to: str | None = None
    edits: Mapping[UUID, Mapping[str, Any] | bytes] = field(default_factory=dict)
    transform: Transform | None = None
    new_event_ids: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the rows of a plan go."""

    settings: StreamSettings
    max_payload: int
    """Bytes of headers and payload that the server takes."""
    subjects: dict[str, str] = field(default_factory=dict)
    """Of the channels seen by now."""

    def subject(self, channel: str) -> str:
        """Raises `InvalidChannelError` where none can be made."""
        subject = self.subjects.get(channel)
        if subject is None:
            subject = self.subjects[channel] = self.settings.subject_name(channel)
        return subject


class _SkipError(Exception):
    """The row is not to be sent; the text says why, and what to do about it."""

    def __init__(self, why: str, advice: Advice | None = None) -> None:
        self.advice = advice
        super().__init__(why if advice is None else f"{why}; {advice.text}")


def original_payload(stored: StoredEntry) -> bytes:
    """The bytes of the event that failed."""
    if stored.event_bytes is not None:
        return stored.event_bytes
    return stored.entry.payload or b""


def plan_entry(stored: StoredEntry, options: PlanOptions, target: Destination) -> PlannedReplay:
    """The row of one dead letter."""
    entry, payload = stored.entry, original_payload(stored)
    replays = replays_of(stored.headers)
    to = entry.channel if options.to is None else options.to
    event_id, event_type = event_of(payload)
    headers = {**stored.replay_headers(), EXPECTED_STREAM: target.settings.stream_name}
    if stored.headers:
        headers = {**own_headers(stored.headers), **headers}
    row = PlannedReplay(
        key=headers[REPLAY_OF],
        entry_id=entry.entry_id,
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
    )
    edit = options.edits.get(entry.entry_id)
    if options.again and row.to != entry.channel:
        # its replay to another channel is no copy of it; as the bus names it
        identity = f"{row.headers[MESSAGE_ID]}.{row.to}"
        row = replace(row, headers={**row.headers, MESSAGE_ID: identity})
    try:
        if entry.source is DeadLetterSource.JOB:
            raise _SkipError("a job's entry; enqueue the job again in its job store")
        if entry.error_type == UNREADABLE and edit is None:
            raise _SkipError("no dead letter that can be read; give its payload by an edit")
        if stored.event_bytes is None and entry.payload is None and edit is None:
            there = f"; its source_ref is {entry.source_ref}" if entry.source_ref else ""
            raise _SkipError(f"stored without its payload; give it by an edit{there}")
        if row.replays and not options.again:
            last = (stored.headers or {}).get(REPLAY_ID)
            by = f", last by run {last}" if last else ""
            times = "once" if row.replays == 1 else f"{row.replays} times"
            raise _SkipError(f"replayed {times} before{by}", AGAIN)
        return _finished(_with_payload(row, edit, options), target)
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
        if row.edited and not options.new_event_ids:  # another payload is another message
            digest = hashlib.sha256(row.payload).hexdigest()[:16]
            identity = f"{row.headers[MESSAGE_ID]}.{digest}"
            row = replace(row, headers={**row.headers, MESSAGE_ID: identity})
        return row
    except _SkipError as skip:
        return _skipped(row, skip)


def _skipped(row: PlannedReplay, skip: _SkipError) -> PlannedReplay:
    return replace(row, decision=ReplayDecision.SKIP, why=str(skip), advice=skip.advice)


def missing_entry(entry_id: UUID) -> PlannedReplay:
    """The row of an entry that was asked for and is not in the queue."""
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
    """The rows, those that a run in the log replayed before, or may have, being left out.

    Args:
        perhaps: runs whose rows cannot be read.
    """

    def why(key: str) -> str:
        if key in replayed_by:
            return f"replayed before by run {replayed_by[key]} and pushed again since"
        if key in perhaps:
            return f"run {perhaps[key]} had it, and what became of it there cannot be read"
        return ""

    return [
        _skipped(row, _SkipError(reason, AGAIN))
        if row.decision is ReplayDecision.REPLAY and (reason := why(row.key))
        else row
        for row in rows
    ]


def note_copies(rows: Sequence[PlannedReplay]) -> list[PlannedReplay]:
    """The rows, those that carry an event which an earlier one carries too saying so.

    A second copy of the same entry is left out.
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


def header_size(headers: Mapping[str, str]) -> int:
    """Bytes of a header block on the wire."""
    text = "".join([*headers, *headers.values()])
    size = len(text) if text.isascii() else len(text.encode())
    return len("NATS/1.0\r\n\r\n") + size + len(": \r\n") * len(headers)


def checked_edits(
    edits: Mapping[Any, Mapping[str, Any] | bytes] | None, planned: Iterable[UUID]
) -> None:
    """Refuse edits of entries that are not in the plan.

    Raises:
        ValueError: names them.
    """
    if unknown := [str(one) for one in set(edits or {}) - set(planned)]:
        names = ", ".join(sorted(unknown)[:5])
        raise ValueError(
            f"edits: {len(unknown)} of the edited entries are not in the plan ({names}); "
            "give their ids in entry_ids, or correct the filter"
        )


def event_of(payload: bytes) -> tuple[str | None, str | None]:
    """The event's id and type, None where the payload does not say."""
    usual = _USUAL_START.match(payload)  # a tenth of the time of reading it all
    if usual is not None:
        return usual[2].decode(), usual[1].decode()
    event = json_object(payload) or {}
    return _text(event.get(_ID_KEY)), _text(event.get(TYPE_KEY))


def _with_payload(
    row: PlannedReplay, edit: Mapping[str, Any] | bytes | None, options: PlanOptions
) -> PlannedReplay:
    """The row with its payload edited, transformed and given a new event id, as asked for."""
    if edit is None and options.transform is None and not options.new_event_ids:
        return row
    if isinstance(edit, bytes) and options.transform is None and not options.new_event_ids:
        return _edited(row, edit)
    before = row.payload if edit is None else edit
    event = json_object(before) if isinstance(before, bytes) else dict(before)
    if event is None:
        raise _SkipError("its payload is no JSON object, which transform and new_event_ids need")
    if options.transform is not None:
        event = _transformed(event, options.transform)
    if options.new_event_ids:
        event = {**event, _ID_KEY: str(uuid4())}
    elif row.event_id is not None and _text(event.get(_ID_KEY)) != row.event_id:
        raise _SkipError("the change replaces its event_id", _NEW_IDS)
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


def _finished(row: PlannedReplay, target: Destination) -> PlannedReplay:
    """The row with its subject, if it can be sent."""
    if row.to in ("", CHANNEL_ALL):
        raise _SkipError("it has no channel", _CHANNEL)
    try:
        subject = target.subject(row.to)
    except InvalidChannelError as error:
        raise _SkipError(str(error)) from None
    if (size := size_of(row)) > target.max_payload:
        raise _SkipError(
            f"too large: {size:,} bytes with its headers, and the server takes "
            f"{target.max_payload:,}"
        )
    return row if row.subject == subject else replace(row, subject=subject)


def size_of(row: PlannedReplay) -> int:
    """Bytes that count towards the server's `max_payload`, with the header that a run adds."""
    return len(row.payload) + header_size(row.headers) + len(REPLAY_ID) + 4 + _UUID_LENGTH


def _event_type(stored: StoredEntry) -> str | None:
    return event_of(original_payload(stored))[1]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
