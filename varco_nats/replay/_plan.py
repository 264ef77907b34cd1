"""What a plan is: exactly what a run will send, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from varco_nats._nats.client import header_block
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats.errors import Advice
from varco_nats.replay._target import PlannedTarget, first_few

_A_REPLAY_ID = str(UUID(int=0))  # as long as any other
_MOST_OF_CHARACTER = 4  # bytes in UTF-8
_FRAME = 100  # bytes of a header block beside names and values

Transform = Callable[[dict[str, Any]], dict[str, Any] | None]
"""From a payload to the one to send; None leaves the message out."""


class ReplayDecision(StrEnum):
    """What a run does with one row of a plan."""

    REPLAY = "replay"
    SKIP = "skip"


class ReplayKind(StrEnum):
    """What a plan, or a run in the log, does."""

    REPLAY = "replay"
    """Dead letters go back to a channel."""
    HISTORY = "history"
    """Stored messages go to a channel again."""
    DISCARD = "discard"
    """Dead letters are removed."""
    RESTORE = "restore"
    """Dead letters that were exported are put back into the queue."""


class PlannedReplay(msgspec.Struct, frozen=True, gc=False):  # made by the ten thousand
    """One row of a plan: one message, and exactly what will be sent for it."""

    key: str
    """What `Varco-Replay-Of` says: the entry's id, or `stream:sequence` of a stored message."""
    entry_id: UUID | None
    """The dead letter; None in a replay of history."""
    seq: int | None
    """Sequence in its own stream; None for an entry that is not in the queue."""
    channel: str
    """Where it came from."""
    to: str
    """Where it goes."""
    subject: str
    event_id: str | None
    """As it will be sent; None where the payload is not a JSON event."""
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
    """Why it is skipped, or what else one should know."""
    handler_name: str = ""
    error_type: str = ""
    error_message: str = ""
    time_ns: int = 0
    """When it was stored, in nanoseconds since 1970 UTC."""
    advice: Advice | None = None
    """What to do about `why`, which ends with it; None where there is nothing to do."""
    tenant_id: str | None = None

    def __repr__(self) -> str:
        to = f" to {self.to}" if self.to != self.channel else ""
        why = f": {self.why}" if self.why else ""
        edited = ", edited" if self.edited else ""
        return f"PlannedReplay({self.decision} {self.key} of {self.channel}{to}{edited}{why})"


@dataclass(frozen=True, slots=True, repr=False)
class ReplayPlan:
    """Exactly what a run will send; made by `Replayer.plan`, run by `Replayer.run`."""

    plan_id: str
    kind: ReplayKind
    rows: tuple[PlannedReplay, ...]
    source: str
    """The stream that the rows come from."""
    target: str
    """The stream that they go to."""
    created_at: datetime
    servers: str = ""
    """The target's servers without credentials, "" where they are the source's."""
    note: str = ""
    """Why they are replayed, in the words of whoever planned it; kept in the log."""
    again: bool = False
    """Whether what was replayed before is replayed again."""
    history_key: str = ""
    """The same for all plans of history that would store the same messages."""
    history: Mapping[str, Any] = field(default_factory=dict)
    """For a plan of history: channel, first_seq, last_seq, since and until."""
    targets: tuple[PlannedTarget, ...] = ()
    """The channels that messages go to, and who consumed them when the plan was made."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def to_replay(self) -> int:
        """How many rows will be sent."""
        return sum(row.decision is ReplayDecision.REPLAY for row in self.rows)

    @property
    def unhandled(self) -> int:
        """How many rows go to a channel that nobody consumes or that may have never held a message.

        A run of dead letters needs the word "nobody" for them; see `PlannedTarget.unhandled`.
        """
        return sum(target.count for target in self.targets if target.unhandled)

    @property
    def summary(self) -> dict[str, Any]:
        """Counts: rows, replay, skip, edited, by target channel, unhandled, and why rows are
        skipped.

        For a discard or a restore: rows, discard or restore, skip, by the channel they came from,
        and why.
        """
        going = [row for row in self.rows if row.decision is ReplayDecision.REPLAY]
        skipped = Counter(row.why for row in self.rows if row.decision is ReplayDecision.SKIP)
        publishes = self.kind not in (ReplayKind.DISCARD, ReplayKind.RESTORE)
        counts: dict[str, Any] = {
            "rows": len(self.rows),
            "replay" if publishes else str(self.kind): len(going),
            "skip": len(self.rows) - len(going),
        }
        if publishes:
            counts["edited"] = sum(row.edited for row in going)
            counts["to"] = dict(Counter(row.to for row in going).most_common())
            counts["unhandled"] = self.unhandled
        else:
            counts["from"] = dict(Counter(row.channel for row in going).most_common())
        return {**counts, "skipped": dict(skipped.most_common(20))}

    def __repr__(self) -> str:
        verb = "replay history" if self.kind is ReplayKind.HISTORY else str(self.kind)
        channels = sorted({row.to for row in self.rows if row.decision is ReplayDecision.REPLAY})
        where = ", ".join(channels[:3]) + (", …" if len(channels) > 3 else "")
        # a queue of others has a target only where it has entries, by their subjects
        to = f" to {self.target}{f' on {self.servers}' if self.servers else ''}"
        return (
            f"ReplayPlan({verb} {self.to_replay:,} of {len(self.rows):,} from {self.source}"
            f"{to if self.rows else ''}{f' ({where})' if where else ''}{self._said()})"
        )

    def _said(self) -> str:
        """What is wrong with the targets; of history, which goes to a new place on purpose, no."""
        said = [target.warning or target.note for target in self.targets]
        said = [text for text in said if text and self.kind is ReplayKind.REPLAY]
        return "".join(f"; {text}" for text in first_few(said))


def size_of(row: PlannedReplay) -> int:
    """Bytes that count towards the server's `max_payload`, with the header that a run adds."""
    return len(row.payload) + len(header_block({**row.headers, REPLAY_ID: _A_REPLAY_ID}))


def is_larger(row: PlannedReplay, limit: int) -> bool:
    """Whether it has more bytes than `limit`; quick for nearly all, which are far from it."""
    text = len("".join(row.headers)) + len("".join(row.headers.values()))
    at_most = len(row.payload) + _MOST_OF_CHARACTER * (text + len(_A_REPLAY_ID)) + _FRAME
    return at_most + 4 * len(row.headers) > limit and size_of(row) > limit
