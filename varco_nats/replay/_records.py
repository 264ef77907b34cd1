"""The records in the log of replays: plans and outcomes, and their bytes.

Anybody can write to the log, and a newer version may write what this one does not know. Every
value that is read is checked, so that one bad record is left out and the others can be used.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import inflated
from varco_nats.replay import _checked as checked
from varco_nats.replay._plan import ReplayKind
from varco_nats.replay._report import Canary, ReplayState

_OPEN_UNKNOWN = "all"
_INBOX = re.compile(r"[^\s*>$]+\.[0-9A-Za-z]{22}")  # as nats-py makes them


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """One run, as the log shows it."""

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
    history: dict[str, Any] = field(default_factory=dict)
    """For a replay of history: channel, first_seq, last_seq, since and until."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The options of a run that the log keeps."""

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
            rate=checked.number(values.get("rate")),
            speed=checked.number(values.get("speed")),
            canary=None
            if canary is None
            else Canary(checked.whole(canary[0]), checked.number(canary[1])),
            exported_to=checked.text(values.get("exported_to", "")),
        )


@dataclass(frozen=True, slots=True)
class PlanHead:
    """The plan record, which each session of a run writes before it sends anything."""

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
    """A subject that is answered for as long as this session can publish."""
    holder: str
    """A subject that is answered on the source's servers while the run's process is there."""
    subjects: tuple[str, ...]
    """The subjects of the messages in the target."""
    last_seq: int
    """Last sequence of the target stream before this run sent anything."""
    target_created: str
    """When the target stream was created, which identifies it; "" without a target."""
    num_deleted: int
    """How many messages were missing in the middle of the target stream at that time."""
    chunks: int
    """How many messages of the log hold the ids of the entries."""
    plan: dict[str, Any]
    again: bool = False
    settings: RunSettings = RunSettings()
    history: dict[str, Any] = field(default_factory=dict)
    history_key: str = ""
    seq: int = 0
    """Its sequence in the log."""

    def encode(self) -> bytes:
        values = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name != "seq"
        }
        values["started_at"] = self.started_at.isoformat()
        values["settings"] = self.settings.encode()
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, message: StoredMessage) -> PlanHead:
        """The plan in a message; unknown fields are ignored.

        Raises:
            Exception: of any class, where the plan cannot be read.
        """
        values = checked.json_object(message.data)
        texts = ("user", "note", "source", "target", "servers", "session", "holder")
        head = cls(
            replay_id=_named(message, values),
            kind=ReplayKind(values["kind"]),
            started_at=checked.moment(values["started_at"]),
            subjects=tuple(map(checked.text, checked.array(values["subjects"]))),
            last_seq=checked.whole(values["last_seq"]),
            target_created=checked.text(values["target_created"]),
            num_deleted=checked.whole(values["num_deleted"]),
            chunks=checked.whole(values["chunks"]),
            plan=checked.mapping(values["plan"]),
            again=values.get("again") is True,
            settings=RunSettings.decode(checked.mapping(values["settings"])),
            history=checked.mapping(values.get("history", {})),
            history_key=checked.text(values.get("history_key", "")),
            seq=message.seq,
            **{name: checked.text(values[name]) for name in texts},
        )
        if not (_INBOX.fullmatch(head.session) and _INBOX.fullmatch(head.holder)):
            raise ValueError("session or holder is not an inbox, so that nobody can be asked")
        return head


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """How a run ended, and which of its entries the next run has to look for."""

    state: ReplayState
    counts: dict[str, int]
    ended_at: datetime
    why: str = ""
    open: tuple[str, ...] | None = ()
    """Keys that were sent without an answer; None if any key of the plan may be among them."""
    came_back: tuple[UUID, ...] = ()

    def encode(self, max_size: int) -> bytes:
        values: dict[str, Any] = {
            "state": self.state,
            "counts": self.counts,
            "ended_at": self.ended_at.isoformat(),
            "why": self.why,
            "open": _OPEN_UNKNOWN if self.open is None else list(self.open),
            "came_back": [str(entry_id) for entry_id in self.came_back],
        }
        data = zlib.compress(json.dumps(values).encode())
        if len(data) > max_size:
            data = zlib.compress(json.dumps({**values, "open": _OPEN_UNKNOWN}).encode())
        return data

    @classmethod
    def decode(cls, data: bytes) -> OutcomeRecord:
        """The outcome in a message; raises an exception of any class where it cannot be read."""
        values = checked.json_object(inflated(data))
        still_open = values["open"]
        return cls(
            state=ReplayState(values["state"]),
            counts={
                name: checked.whole(count)
                for name, count in checked.mapping(values["counts"]).items()
            },
            ended_at=checked.moment(values["ended_at"]),
            why=checked.text(values["why"]),
            open=None
            if still_open == _OPEN_UNKNOWN
            else tuple(map(checked.text, checked.array(still_open))),
            came_back=tuple(map(UUID, checked.array(values["came_back"]))),
        )


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
            canary=head.settings.canary,
            came_back=() if outcome is None else outcome.came_back,
            exported_to=head.settings.exported_to,
            history=head.history,
        )


def history_key_in(data: bytes) -> str:
    """The `history_key` in a plan that cannot be read otherwise; "" if there is none."""
    try:
        return checked.text(json.loads(data)["history_key"])
    except Exception:  # it may be anything
        return ""


def _named(message: StoredMessage, values: Mapping[str, Any]) -> str:
    """The run's id, if the message's subject says the same."""
    if values["replay_id"] != message.subject.split(".")[-2]:
        raise ValueError("its subject names another run")
    return checked.text(values["replay_id"])
