"""What a user gives to a run and gets from it: control, canary, progress and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from varco_nats.errors import Advice


class ReplayOutcome(StrEnum):
    """What became of one row of a plan."""

    REPLAYED = "replayed"
    """Stored by this run."""
    DUPLICATE = "duplicate"
    """Already stored by somebody else or by a run that died; not stored again."""
    DISCARDED = "discarded"
    """Removed without being sent, as requested."""
    RESTORED = "restored"
    """Put back into the queue from an export, as it was stored."""
    FAILED = "failed"
    """The server refused it; nothing was stored, or nothing removed."""
    SKIPPED = "skipped"
    """Not sent: the plan leaves it out, or it is gone, or another run has it."""
    IN_DOUBT = "in doubt"
    """Sent, but the server's answer never came; the next run looks for it."""
    NOT_TRIED = "not tried"
    """The run ended before its turn."""


class ReplayState(StrEnum):
    """How a run ended, or that it is still running."""

    RUNNING = "running"
    DONE = "done"
    """Every row has an outcome."""
    NOTHING_DONE = "nothing done"
    """Every row was skipped, so that nothing was sent or removed."""
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """The server refused too many messages in a row, or was unreachable for too long."""
    CANARY_FAILED = "canary failed"
    """A message of the canary came back as a dead letter; the rest was not sent."""
    DIED = "died"
    """Its process ended without an outcome; the next run looks for what it stored."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Replay a few first, and the rest only if none of them comes back as a dead letter.

    Raises:
        ValueError: a count below 1 or a negative time.
    """

    count: int = 5
    """How many messages are sent first."""
    wait_seconds: float | None = None
    """How long to look for them in the dead letter queue after they are stored, in seconds.

    None is the time in which the bus, with the source's settings, gives a message up (`max_deliver`
    deliveries and the pauses between them) and a margin, at most 300. The wait ends sooner when
    every durable consumer of their channels has settled them.
    """

    def __post_init__(self) -> None:
        if self.count < 1 or (self.wait_seconds is not None and self.wait_seconds < 0):
            raise ValueError(f"{self!r}: count must be 1 or more and wait_seconds 0 or more")


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a run has come."""

    phase: str
    """`preparing`, `publishing`, `waiting` (the target takes no message for now), `unanswered` (the
    dead letter queue has not answered for 2 s), `discarding`, `restoring`, `canary`,
    `reconnecting`, `paused` or `done`."""
    done: int
    """Rows that have an outcome."""
    total: int
    outcomes: dict[ReplayOutcome, int]
    """How many rows have each outcome so far."""


class ReplayResult(msgspec.Struct, frozen=True, gc=False):  # made by the ten thousand
    """The outcome of one row."""

    key: str
    entry_id: UUID | None
    channel: str
    to: str
    outcome: ReplayOutcome
    seq: int | None = None
    """Where it is stored in the target stream, or for a restore in the queue."""
    removed: bool = False
    """Whether the dead letter is gone from the queue."""
    why: str = ""
    advice: Advice | None = None
    """What to do about `why`, which ends with it; None where there is nothing to do."""


@dataclass(frozen=True, slots=True, repr=False)
class ReplayReport:
    """What a run did, row by row."""

    replay_id: str
    state: ReplayState
    rows: tuple[ReplayResult, ...]
    started_at: datetime
    ended_at: datetime
    why: str = ""
    """Why it ended early, or what it could not do."""
    came_back: tuple[UUID, ...] = ()
    """The new dead letters of messages that the canary sent."""
    logged: bool = True
    """Whether the outcome is in the log; if not, the log shows a run that died."""

    @property
    def counts(self) -> dict[ReplayOutcome, int]:
        """How many rows have each outcome."""
        return dict(Counter(row.outcome for row in self.rows))

    def of(self, outcome: ReplayOutcome) -> list[ReplayResult]:
        """The rows with this outcome."""
        return [row for row in self.rows if row.outcome is outcome]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.counts.items())
        why = f"; {self.why}" if self.why else ""
        return f"ReplayReport({self.state}: {counts or 'no rows'}{why})"


class ReplayControl:
    """Pauses, resumes and cancels a run, from any thread.

    Example:
        control = ReplayControl()
        task = asyncio.create_task(replayer.run(plan, control=control))
        control.pause()
    """

    def __init__(self) -> None:
        self.replay_id = ""
        """The id of the run that it was given to; "" before that."""
        self._paused = False
        self._cancelled = False

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else "paused" if self._paused else "running"
        return f"ReplayControl({state})"

    @property
    def paused(self) -> bool:
        """Whether nothing more is sent until `resume()`."""
        return self._paused

    @property
    def cancelled(self) -> bool:
        """Whether `cancel()` was called; a run that has it as its control ends or has ended."""
        return self._cancelled

    def pause(self) -> None:
        """Send nothing more until `resume()`; what was sent is settled."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause()`; does nothing to a run that is not paused."""
        self._paused = False

    def cancel(self) -> None:
        """End the run: what was sent is settled, everything else stays where it is."""
        self._cancelled = True
