"""What a run is told and tells: control, progress, canary, and the report with its rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from varco_nats.errors import Advice


class ReplayOutcome(StrEnum):
    """What became of one row of a plan."""

    REPLAYED = "replayed"
    """Stored by this run."""
    DUPLICATE = "duplicate"
    """Stored already, by a run that died or by somebody else; not stored again."""
    DISCARDED = "discarded"
    """Removed without being sent, as was asked for."""
    FAILED = "failed"
    """The server refused it; nothing was stored, or nothing removed."""
    SKIPPED = "skipped"
    """Not sent: the plan says so, or it is not there or not ours any more."""
    IN_DOUBT = "in doubt"
    """Sent, but the server's answer never came; the next run looks for it."""
    NOT_TRIED = "not tried"
    """The run ended before its turn."""


class ReplayState(StrEnum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    DONE = "done"
    """Every row was worked on."""
    NOTHING_DONE = "nothing done"
    """Every row was skipped, so that nothing was sent or removed."""
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """The server refused too many in a row, or was away for too long."""
    CANARY_FAILED = "canary failed"
    """A message of the canary came back dead; the rest was not sent."""
    DIED = "died"
    """Its process ended without an outcome; what it sent is looked for by the next run."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Replay a few first, and the rest only if none of them comes back dead.

    Raises:
        ValueError: a count below 1 or a negative time.
    """

    count: int = 5
    """Messages that go first."""
    wait_seconds: float | None = None
    """How long to look for them in the dead letter queue after they are stored, in seconds.

    None is what the source's settings take to give a message up (`max_deliver` deliveries and the
    pauses between them) and a margin, at most 300. The look ends sooner when every durable
    consumer of their channels is done with them.
    """

    def __post_init__(self) -> None:
        if self.count < 1 or (self.wait_seconds is not None and self.wait_seconds < 0):
            raise ValueError(f"{self!r}: count must be 1 or more and wait_seconds 0 or more")


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a run is."""

    phase: str
    """`preparing`, `publishing`, `discarding`, `canary`, `reconnecting`, `paused` or `done`."""
    done: int
    """Rows that have an outcome."""
    total: int
    outcomes: dict[ReplayOutcome, int]
    """How many rows have each outcome by now."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of one row."""

    key: str
    entry_id: UUID | None
    channel: str
    to: str
    outcome: ReplayOutcome
    seq: int | None = None
    """Where it is stored in the target stream."""
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
    """Why it ended before its end, or what it could not do."""
    came_back: tuple[UUID, ...] = ()
    """Dead letters that messages of the canary came back as."""
    logged: bool = True
    """Whether the outcome is in the log; otherwise the log shows a run that died."""

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
        self._paused = False
        self._cancelled = False
        self._changed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else "paused" if self._paused else "running"
        return f"ReplayControl({state})"

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def pause(self) -> None:
        """Send nothing more until `resume()`; what was sent is settled."""
        self._paused = True
        self._wake()

    def resume(self) -> None:
        self._paused = False
        self._wake()

    def cancel(self) -> None:
        """End the run: what was sent is settled, everything else stays where it is."""
        self._cancelled = True
        self._wake()

    def _bind(self) -> None:
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()

    def _wake(self) -> None:
        if self._loop is not None and self._changed is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _wait(self, timeout: float | None) -> None:
        """Until something changes, or for `timeout` seconds."""
        assert self._changed is not None
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return
