"""The outcome of each row of a run; observers and progress callbacks are called from here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from varco_nats._log import logger as _logger
from varco_nats.dlq._remover import Remover
from varco_nats.errors import Advice
from varco_nats.observe import DeliveryKind, Observers
from varco_nats.replay._plan import ReplayDecision, ReplayPlan
from varco_nats.replay._report import ReplayOutcome, ReplayProgress, ReplayResult
from varco_nats.replay._run.entry_check import GONE

_PROGRESS_SECONDS = 0.1
_WORKING = ("publishing", "canary", "discarding", "restoring")
"""Phases that go on only while the dead letter queue answers."""


class Ledger:
    """The outcomes of a plan's rows; removes a dead letter once its replay is stored."""

    def __init__(
        self,
        plan: ReplayPlan,
        remover: Remover,
        observers: Observers,
        progress: Callable[[ReplayProgress], object] | None,
    ) -> None:
        self.rows = plan.rows
        self.results: list[ReplayResult | None] = [None] * len(plan.rows)
        self.index = {
            row.key: index
            for index, row in enumerate(plan.rows)
            if row.decision is ReplayDecision.REPLAY
        }
        self.not_removed: set[str] = set()
        """Keys of rows that are stored and whose dead letter could not be removed."""
        self.last_stored = -1
        """The highest index that was stored by this run."""
        self._counts: Counter[ReplayOutcome] = Counter()
        self._stored: dict[int, tuple[ReplayOutcome, int | None, str]] = {}
        self._remover = remover
        self._observers = observers
        self._progress = progress
        self.is_queue_silent: Callable[[], bool] = lambda: False
        """Whether an answer of the dead letter queue has been missing for a while."""
        self.phase = ""
        """The last phase that was reported, whether the queue answers or not."""
        self._told = ""
        self._reported_at = 0.0
        remover.on_removed = self._on_removed

    @property
    def counts(self) -> dict[ReplayOutcome, int]:
        return dict(self._counts)

    def settle(
        self,
        index: int,
        outcome: ReplayOutcome,
        seq: int | None = None,
        *,
        why: str = "",
        removed: bool = False,
        advice: Advice | None = None,
    ) -> None:
        """Record the final outcome of a row."""
        row = self.rows[index]
        self.results[index] = ReplayResult(
            row.key, row.entry_id, row.channel, row.to, outcome, seq, removed, why, advice
        )
        self._counts[outcome] += 1

    def stored(
        self, index: int, outcome: ReplayOutcome, seq: int, why: str = "", absent: str = ""
    ) -> None:
        """A row is stored in the target, so that its dead letter can be removed.

        Args:
            absent: why there is no dead letter to remove, as `EntryCheck` gives it.
        """
        row, replayed = self.rows[index], outcome is ReplayOutcome.REPLAYED
        if replayed and index > self.last_stored:
            self.last_stored = index
        if self._observers.all:
            kind = DeliveryKind.REPLAYED if replayed else DeliveryKind.DEDUPLICATED
            self._observers.notify(kind, row.to, (row.event_id, row.event_type), seq)
        if row.entry_id is None:
            self.settle(index, outcome, seq, why=why)
        elif absent:
            self.settle(index, outcome, seq, why=_joined(why, absent), removed=absent == GONE)
        else:
            self.remove(index, outcome, seq, why)

    def remove(self, index: int, outcome: ReplayOutcome, seq: int | None, why: str = "") -> None:
        """Remove a dead letter, then settle its row."""
        self._stored[index] = (outcome, seq, why)
        row_seq = self.rows[index].seq
        assert row_seq is not None  # rows without an entry are skipped
        self._remover.remove(index, row_seq)

    def is_open(self, index: int) -> bool:
        """Whether nothing is known about the outcome of a row yet."""
        return self.results[index] is None and index not in self._stored

    def report(self, phase: str) -> None:
        """Report progress, at most ten times a second within one phase."""
        if self._progress is None:
            return
        clock = time.monotonic()
        if phase == self.phase and clock - self._reported_at < _PROGRESS_SECONDS:
            return
        self.phase, self._told, self._reported_at = phase, self._told_of(phase), clock
        done = sum(self._counts.values())
        try:
            self._progress(ReplayProgress(self._told, done, len(self.rows), self.counts))
        except Exception:
            _logger.exception("progress callback %r failed", self._progress)

    def tell_silence(self) -> None:
        """Report that the queue does not answer, or that it answers again, where that is new."""
        if self._told_of(self.phase) != self._told:
            self.report(self.phase)

    def _told_of(self, phase: str) -> str:
        return "unanswered" if phase in _WORKING and self.is_queue_silent() else phase

    def _on_removed(self, index: int, removed: bool, note: str) -> None:
        outcome, seq, why = self._stored.pop(index)
        if not removed:
            self.not_removed.add(self.rows[index].key)
            note = f"the dead letter could not be removed: {note}"
        if outcome is ReplayOutcome.DISCARDED and note:
            outcome = ReplayOutcome.SKIPPED if removed else ReplayOutcome.FAILED
        self.settle(index, outcome, seq, why=_joined(why, note), removed=removed)
        self.report(self.phase)


def _joined(first: str, second: str) -> str:
    return f"{first}; {second}" if first and second else first or second
