"""The records in the log of replays: plans, rows and outcomes, and their bytes.

Anybody can write to the log, and a newer version may write what this one does not know. Every
value that is read is checked, so that one bad record is left out and the others can be used.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from varco_nats._nats.direct import StoredMessage, moment
from varco_nats.dlq._codec import inflated, json_bytes
from varco_nats.replay._plan import ReplayKind
from varco_nats.replay._report import Canary, ReplayOutcome, ReplayResult, ReplayState

_ROWS_AT_ONCE = 5000
_MAX_WHY = 1000
_LETTERS = {
    ReplayOutcome.REPLAYED: "r",
    ReplayOutcome.DUPLICATE: "d",
    ReplayOutcome.DISCARDED: "x",
    ReplayOutcome.FAILED: "f",
    ReplayOutcome.SKIPPED: "s",
    ReplayOutcome.IN_DOUBT: "?",
    ReplayOutcome.NOT_TRIED: "-",
}
_STORED = "rd"
_PUT_BACK = "put back into the queue"
"""What versions that know no restore, for which the row is skipped, show as the reason."""

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A count or a sequence."""
_Moment = Annotated[datetime, Meta(tz=True)]
_Inbox = Annotated[str, Meta(pattern=r"^[^\s*>$]+\.[0-9A-Za-z]{22}\Z")]
"""As nats-py makes them; another subject would ask somebody else."""


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """One run, as the log shows it."""

    replay_id: str
    kind: ReplayKind
    who: str
    """User and host."""
    started_at: datetime
    """By the server's clock, as `ended_at`."""
    ended_at: datetime | None
    note: str
    source: str
    target: str
    plan: dict[str, Any]
    """The plan's summary; see `ReplayPlan.summary`."""
    state: ReplayState
    outcome: dict[str, int]
    """How many rows had each outcome; empty for a run that died or is still running."""
    why: str = ""
    again: bool = False
    """Whether it replayed what was replayed before."""
    rate: float | None = None
    """Messages per second at most; None for no limit."""
    speed: float | None = None
    """How many times the original pace; None for as fast as possible."""
    canary: Canary | None = None
    came_back: tuple[UUID, ...] = ()
    """The new dead letters of messages that its canary sent."""
    exported_to: str = ""
    """The file to which discarded entries had been exported."""
    restored_from: str = ""
    """The export that restored entries came from."""
    history: dict[str, Any] = field(default_factory=dict)
    """For a replay of history: channel, first_seq, last_seq, since and until."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The options of a run that the log keeps."""

    rate: float | None = None
    speed: float | None = None
    canary: tuple[Annotated[int, Meta(ge=1)], Annotated[float, Meta(ge=0)] | None] | None = None
    """The count and wait_seconds of a `Canary`."""
    exported_to: str = ""
    restored_from: str = ""


@dataclass(frozen=True, slots=True)
class PlanHead:
    """The plan record, which each session of a run writes before it sends anything."""

    replay_id: str
    kind: ReplayKind
    started_at: _Moment
    user: str
    note: str
    source: str
    target: str
    servers: str
    """The target's servers without credentials, "" where they are the source's."""
    session: _Inbox
    """A subject that is answered for as long as this session can publish."""
    holder: _Inbox
    """A subject that is answered on the source's servers while the run's process is there."""
    subjects: tuple[str, ...]
    """The subjects of the messages in the target."""
    last_seq: _Count
    """Last sequence of the target stream before this run sent anything."""
    target_created: str
    """When the target stream was created, which identifies it; "" without a target."""
    num_deleted: _Count
    """How many messages were missing in the middle of the target stream at that time."""
    chunks: _Count
    """How many messages of the log hold the ids of the entries."""
    plan: dict[str, Any]
    settings: RunSettings
    again: bool = False
    history: dict[str, Any] = field(default_factory=dict)
    history_key: str = ""
    restores: bool = False
    """Set in the record of a restore, whose `kind` there is `discard`: older versions know that,
    and like a discard it publishes nothing that anybody must look for."""
    seq: int = 0
    """Its sequence in the log."""

    def encode(self) -> bytes:
        values = msgspec.to_builtins(self)
        del values["seq"]
        if self.kind is ReplayKind.RESTORE:
            values |= {"kind": str(ReplayKind.DISCARD), "restores": True}
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, message: StoredMessage) -> PlanHead:
        """The plan in a message; unknown fields are ignored.

        Raises:
            Exception: of any class, where the plan cannot be read.
        """
        head = msgspec.json.decode(message.data, type=cls)
        if head.replay_id != message.subject.split(".")[-2]:
            raise ValueError("its subject names another run")
        return replace(
            head,
            seq=message.seq,
            kind=ReplayKind.RESTORE if head.restores else head.kind,
            started_at=moment(message.time_ns),  # by the one clock that all runs share
        )


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """How a run ended, and which of its entries the next run has to look for."""

    state: ReplayState
    counts: dict[str, _Count]
    ended_at: _Moment
    why: str
    open: tuple[str, ...] | Literal["all"] = "all"
    """Keys that were sent without an answer; "all" if any key of the plan may be among them."""
    came_back: tuple[UUID, ...] = ()

    def encode(self, max_size: int) -> bytes:
        data = zlib.compress(json.dumps(msgspec.to_builtins(self)).encode())
        if len(data) <= max_size or self.open == "all":
            return data
        return replace(self, open="all").encode(max_size)

    @classmethod
    def decode(cls, message: StoredMessage) -> OutcomeRecord:
        """The outcome in a message; raises an exception of any class where it cannot be read."""
        record = msgspec.json.decode(inflated(message.data), type=cls)
        return replace(record, ended_at=moment(message.time_ns))


@dataclass(slots=True)
class LoggedRun:
    """All that the log has about one run, apart from its rows."""

    replay_id: str
    heads: list[PlanHead] = field(default_factory=list)
    outcome: OutcomeRecord | None = None
    unread: dict[int, str] = field(default_factory=dict)
    """Its plans that cannot be read: the `history_key` found in each, by sequence in the log."""
    unread_outcome: int | None = None
    """The sequence in the log of an outcome that cannot be read."""

    @property
    def settled(self) -> bool:
        """Whether the outcome of all that it sent is known."""
        return self.outcome is not None and self.outcome.open == ()

    def record(self, *, running: bool) -> ReplayRecord:
        """The run as a user sees it."""
        head, outcome = self.heads[0], self.outcome
        state = ReplayState.RUNNING if running else ReplayState.DIED
        why = "" if outcome is None else outcome.why
        if outcome is None and self.unread_outcome is not None:
            why = f"its outcome, record {self.unread_outcome} of the log, cannot be read"
        return ReplayRecord(
            replay_id=head.replay_id,
            kind=head.kind,
            who=head.user,
            started_at=head.started_at,
            ended_at=None if outcome is None else outcome.ended_at,
            note=head.note,
            source=head.source,
            target=f"{head.target} on {head.servers}" if head.servers else head.target,
            plan=head.plan,
            state=state if outcome is None else outcome.state,
            outcome={} if outcome is None else outcome.counts,
            why=why,
            again=head.again,
            rate=head.settings.rate,
            speed=head.settings.speed,
            canary=head.settings.canary and Canary(*head.settings.canary),
            came_back=() if outcome is None else outcome.came_back,
            exported_to=head.settings.exported_to,
            restored_from=head.settings.restored_from,
            history=head.history,
        )


def history_key_in(data: bytes) -> str:
    """The `history_key` in a plan that cannot be read otherwise; "" if there is none."""
    try:
        return msgspec.convert(json.loads(data)["history_key"], str)
    except Exception:  # it may be anything
        return ""


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """The outcome of one message of a run, as the log shows it."""

    key: str
    """The entry's id, or `stream:sequence` of a stored message."""
    entry_id: UUID | None
    outcome: ReplayOutcome | None
    """None where the run died or is still running."""
    seq: int | None = None
    """Where it is stored in the target stream."""
    removed: bool = False
    """Whether the dead letter is gone from the queue."""
    edited: bool = False
    """Whether it was sent with a payload other than the one that failed."""
    why: str = ""


class _Columns(msgspec.Struct):
    """The rows in one message of the log."""

    keys: list[str]
    outcomes: str
    seqs: list[_Count | None]
    removed: str
    edited: list[str]
    why: dict[int, str]
    restored: list[_Count] = []
    """Places of the rows that were restored, whose letter is that of skipped rows."""


def encode_rows(
    rows: Sequence[ReplayResult], edited: set[str], max_size: int, step: int = _ROWS_AT_ONCE
) -> list[bytes]:
    """The rows of a report, in messages of at most `max_size` bytes."""
    chunks = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        restored = {n for n, row in enumerate(part) if row.outcome is ReplayOutcome.RESTORED}
        why = {n: _PUT_BACK if n in restored else row.why[:_MAX_WHY] for n, row in enumerate(part)}
        columns = {
            "keys": [row.key for row in part],
            "outcomes": "".join(
                _LETTERS[ReplayOutcome.SKIPPED if n in restored else row.outcome]
                for n, row in enumerate(part)
            ),
            "seqs": [row.seq for row in part],
            "removed": "".join("y" if row.removed else "n" for row in part),
            "edited": [row.key for row in part if row.key in edited],
            "why": {index: text for index, text in why.items() if text},
            "restored": sorted(restored),
        }
        data = zlib.compress(json_bytes(columns), 1)
        if len(data) > max_size and len(part) > 1:
            chunks += encode_rows(part, edited, max_size, len(part) // 2)
        else:
            chunks.append(data)
    return chunks


def decode_rows(message: StoredMessage) -> list[LoggedRow]:
    """The rows in a message; raises an exception of any class where they cannot be read."""
    columns = _columns(message)
    edited, restored = set(columns.edited), set(columns.restored)
    outcome_of = {letter: outcome for outcome, letter in _LETTERS.items()}
    rows = zip(columns.keys, columns.outcomes, columns.seqs, columns.removed, strict=True)
    return [
        LoggedRow(
            key=key,
            entry_id=None if ":" in key else UUID(key),
            outcome=ReplayOutcome.RESTORED if index in restored else outcome_of[letter],
            seq=seq,
            removed=removed == "y",
            edited=key in edited,
            why="" if index in restored else columns.why.get(index, ""),
        )
        for index, (key, letter, seq, removed) in enumerate(rows)
    ]


def stored_keys(message: StoredMessage) -> list[str]:
    """The keys in a message whose replay is stored and whose dead letter is removed.

    Raises an exception of any class where they cannot be read.
    """
    columns = _columns(message)
    if set(columns.outcomes) - set(_LETTERS.values()):
        raise ValueError("an unknown outcome")
    rows = zip(columns.keys, columns.outcomes, columns.removed, strict=True)
    return [key for key, letter, removed in rows if removed == "y" and letter in _STORED]


def _columns(message: StoredMessage) -> _Columns:
    return msgspec.json.decode(inflated(message.data), type=_Columns)
