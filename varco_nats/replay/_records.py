"""What the log of replays holds: plans, outcomes and rows, and their bytes.

Anybody can write to the log, and a newer version may write what this one does not know. What is
read is checked, so that one bad record is left out instead of breaking what reads the others.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import inflated
from varco_nats.replay._plan import ReplayKind
from varco_nats.replay._report import Canary, ReplayOutcome, ReplayResult, ReplayState

_OPEN_UNKNOWN = "all"
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
_MAX_SEQ = 2**63 - 1
_INBOX = re.compile(r"[^\s*>$]+\.[0-9A-Za-z]{22}")  # as nats-py makes them


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """One run, as the log has it."""

    replay_id: str
    kind: ReplayKind
    who: str
    """User and host."""
    started_at: datetime
    ended_at: datetime | None
    note: str
    source: str
    target: str
    plan: dict[str, Any]
    """The plan's summary, see `ReplayPlan.summary`."""
    state: ReplayState
    outcome: dict[str, int]
    """How many rows had each outcome; empty for a run that died or still runs."""
    why: str = ""
    again: bool = False
    """Whether it replayed what was replayed before."""
    rate: float | None = None
    """Messages per second at most; None for no limit."""
    speed: float | None = None
    """Times the original pace; None for as fast as possible."""
    canary: Canary | None = None
    came_back: tuple[UUID, ...] = ()
    """Dead letters that messages of its canary came back as."""
    exported_to: str = ""
    """The file that discarded entries were exported to before."""
    history: dict[str, Any] = field(default_factory=dict)
    """Of a replay of history: channel, first_seq, last_seq, since and until."""


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """What became of one message of a run, as the log has it."""

    key: str
    """The entry's id, or `stream:sequence` of a stored message."""
    entry_id: UUID | None
    outcome: ReplayOutcome | None
    """None where the run died or still runs."""
    seq: int | None = None
    """Where it is stored in the target stream."""
    removed: bool = False
    """Whether the dead letter is gone from the queue."""
    edited: bool = False
    """Whether it was sent with another payload than the one that failed."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run was told to go about its plan."""

    rate: float | None = None
    speed: float | None = None
    canary: Canary | None = None
    exported_to: str = ""

    def encode(self) -> dict[str, Any]:
        canary = self.canary and [self.canary.count, self.canary.wait_seconds]
        return {
            "rate": self.rate,
            "speed": self.speed,
            "canary": canary,
            "exported_to": self.exported_to,
        }

    @classmethod
    def decode(cls, values: dict[str, Any]) -> RunSettings:
        canary = values.get("canary")
        return cls(
            rate=_number(values.get("rate")),
            speed=_number(values.get("speed")),
            canary=None if canary is None else Canary(_whole(canary[0]), _number(canary[1])),
            exported_to=_text(values.get("exported_to", "")),
        )


@dataclass(frozen=True, slots=True)
class PlanHead:
    """What the log says of one session of one run, before it sends anything."""

    replay_id: str
    kind: ReplayKind
    started_at: datetime
    user: str
    note: str
    source: str
    target: str
    servers: str
    """The target's servers without credentials, "" where they are the source's."""
    session: str
    """Subject that answers for as long as this session can publish."""
    holder: str
    """Subject that answers on the source's servers while the run's process is there."""
    subjects: tuple[str, ...]
    """What the target's messages are stored under."""
    last_seq: int
    """Last sequence of the target stream before this run sent anything."""
    target_created: str
    """When the target stream was made, which no two streams have in common; "" without one."""
    num_deleted: int
    """Messages that were missing in the middle of the target stream then."""
    chunks: int
    """In how many messages of the log the keys are."""
    plan: dict[str, Any]
    again: bool = False
    settings: RunSettings = RunSettings()
    history: dict[str, Any] = field(default_factory=dict)
    history_key: str = ""
    seq: int = 0
    """Its sequence in the log."""

    def encode(self) -> bytes:
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "seq"}
        values["started_at"] = self.started_at.isoformat()
        values["settings"] = self.settings.encode()
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, message: StoredMessage) -> PlanHead:
        """The plan in a message. Fields that are not known here are left out.

        Raises:
            Exception: any, where it is no plan that can be read here.
        """
        values = _object(message.data)
        texts = ("user", "note", "source", "target", "servers", "session", "holder")
        head = cls(
            replay_id=_named(message, values),
            kind=ReplayKind(values["kind"]),
            started_at=_moment(values["started_at"]),
            subjects=tuple(_text(one) for one in _list(values["subjects"])),
            last_seq=_whole(values["last_seq"]),
            target_created=_text(values["target_created"]),
            num_deleted=_whole(values["num_deleted"]),
            chunks=_whole(values["chunks"]),
            plan=_dict(values["plan"]),
            again=values.get("again") is True,
            settings=RunSettings.decode(_dict(values["settings"])),
            history=_dict(values.get("history", {})),
            history_key=_text(values.get("history_key", "")),
            seq=message.seq,
            **{name: _text(values[name]) for name in texts},
        )
        if not (_INBOX.fullmatch(head.session) and _INBOX.fullmatch(head.holder)):
            raise ValueError("not an inbox, where it is asked whether it is there")
        return head


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """How a run ended, and which of its entries the next run has to look for."""

    state: ReplayState
    counts: dict[str, int]
    ended_at: datetime
    why: str = ""
    open: tuple[str, ...] | None = ()
    """Keys that were sent and are not settled; None for any that the plan has."""
    came_back: tuple[UUID, ...] = ()

    def encode(self, max_size: int) -> bytes:
        values: dict[str, Any] = {
            "state": self.state,
            "counts": self.counts,
            "ended_at": self.ended_at.isoformat(),
            "why": self.why,
            "open": _OPEN_UNKNOWN if self.open is None else list(self.open),
            "came_back": [str(one) for one in self.came_back],
        }
        data = zlib.compress(json.dumps(values).encode())
        if len(data) > max_size:
            data = zlib.compress(json.dumps({**values, "open": _OPEN_UNKNOWN}).encode())
        return data

    @classmethod
    def decode(cls, data: bytes) -> OutcomeRecord:
        """The outcome in a message; raises any exception where it is none."""
        values = _object(inflated(data))
        still_open = values["open"]
        return cls(
            state=ReplayState(values["state"]),
            counts={name: _whole(count) for name, count in _dict(values["counts"]).items()},
            ended_at=_moment(values["ended_at"]),
            why=_text(values["why"]),
            open=None if still_open == _OPEN_UNKNOWN else tuple(map(_text, _list(still_open))),
            came_back=tuple(map(UUID, _list(values["came_back"]))),
        )


@dataclass(slots=True)
class LoggedRun:
    """All that the log has of one run, but for its rows."""

    replay_id: str
    heads: list[PlanHead] = field(default_factory=list)
    outcome: OutcomeRecord | None = None
    unread: dict[int, str] = field(default_factory=dict)
    """Plans of it that cannot be read, by sequence, with the `history_key` that each tells."""
    unread_outcome: int | None = None
    """The sequence of an outcome of it that cannot be read."""

    @property
    def settled(self) -> bool:
        """Whether nothing that it sent is in doubt."""
        return self.outcome is not None and self.outcome.open == ()

    def record(self, *, running: bool) -> ReplayRecord:
        """What a user sees of it."""
        head, outcome = self.heads[0], self.outcome
        state = ReplayState.RUNNING if running else ReplayState.DIED
        why = "" if outcome is None else outcome.why
        if outcome is None and self.unread_outcome is not None:
            why = f"how it ended, record {self.unread_outcome} of the log, cannot be read"
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
            canary=head.settings.canary,
            came_back=() if outcome is None else outcome.came_back,
            exported_to=head.settings.exported_to,
            history=head.history,
        )


def encode_rows(
    rows: Sequence[ReplayResult], edited: set[str], max_size: int, step: int = _ROWS_AT_ONCE
) -> list[bytes]:
    """The rows of a report, in messages of at most `max_size` bytes."""
    chunks = []
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        columns = {
            "keys": [row.key for row in some],
            "outcomes": "".join(_LETTERS[row.outcome] for row in some),
            "seqs": [row.seq for row in some],
            "removed": "".join("y" if row.removed else "n" for row in some),
            "edited": [row.key for row in some if row.key in edited],
            "why": {index: row.why[:_MAX_WHY] for index, row in enumerate(some) if row.why},
        }
        data = zlib.compress(json.dumps(columns).encode(), 1)
        if len(data) > max_size and len(some) > 1:
            chunks += encode_rows(some, edited, max_size, len(some) // 2)
        else:
            chunks.append(data)
    return chunks


def decode_rows(data: bytes) -> list[LoggedRow]:
    """The rows in one message; raises any exception where they are none."""
    columns = json.loads(inflated(data))
    edited, why = set(_list(columns["edited"])), _dict(columns["why"])
    outcome_of = {letter: outcome for outcome, letter in _LETTERS.items()}
    return [
        LoggedRow(
            key=_text(key),
            entry_id=None if ":" in key else UUID(key),
            outcome=outcome_of[letter],
            seq=None if seq is None else _whole(seq),
            removed=removed == "y",
            edited=key in edited,
            why=_text(why.get(str(index), "")),
        )
        for index, (key, letter, seq, removed) in enumerate(
            zip(
                _list(columns["keys"]),
                _text(columns["outcomes"]),
                _list(columns["seqs"]),
                _text(columns["removed"]),
                strict=True,
            )
        )
    ]


def stored_keys(data: bytes) -> list[str]:
    """The keys in one message of those that are in the target and no longer in the queue.

    Raises any exception where they cannot be read.
    """
    columns = json.loads(inflated(data))
    letters, removals = _text(columns["outcomes"]), _text(columns["removed"])
    if set(letters) - set(_LETTERS.values()):
        raise ValueError("an outcome that is not known here")
    rows = zip(_list(columns["keys"]), letters, removals, strict=True)
    return [_text(key) for key, letter, removed in rows if removed == "y" and letter in _STORED]


def history_key_in(data: bytes) -> str:
    """What a plan that cannot be read tells of the history that it is of; "" if nothing."""
    try:
        return _text(json.loads(data)["history_key"])
    except Exception:  # it may be anything
        return ""


def _named(message: StoredMessage, values: Mapping[str, Any]) -> str:
    """The run's id, which its subject has too."""
    if values["replay_id"] != message.subject.split(".")[-2]:
        raise ValueError("its subject is of another run")
    return _text(values["replay_id"])


def _object(data: bytes) -> dict[str, Any]:
    values = json.loads(data)
    json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair cannot go on
    return _dict(values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    value.encode()  # half a surrogate pair cannot go on
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SEQ:
        raise ValueError("not a count or sequence")
    return value


def _number(value: object) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise TypeError("not a number")
    return None if value is None else float(value)  # type: ignore[arg-type]


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
