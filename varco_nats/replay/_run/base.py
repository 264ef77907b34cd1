"""What every run does: claims its entries, works on them, and writes its outcome to the log."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats.dlq._remover import Remover
from varco_nats.errors import PermissionDeniedError, ReplayError, VarcoNatsError
from varco_nats.replay._context import ReplayContext
from varco_nats.replay._plan import ReplayDecision, ReplayKind, ReplayPlan
from varco_nats.replay._records import OutcomeRecord, RunSettings
from varco_nats.replay._report import (
    ReplayControl,
    ReplayOutcome,
    ReplayProgress,
    ReplayReport,
    ReplayState,
)
from varco_nats.replay._run.claim_phase import ClaimPhase
from varco_nats.replay._run.entry_check import GONE, EntryCheck
from varco_nats.replay._run.ledger import Ledger
from varco_nats.replay._run.session import answer_on

RETRY_SECONDS = 0.25
_SILENCE_SECONDS = 2.0
_TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run carries out its plan."""

    settings: RunSettings = field(default_factory=RunSettings)
    in_flight: int = 1000
    """How many messages may be unanswered at a time."""
    patience_seconds: float = 60.0
    """How long to try to connect again."""
    progress: Callable[[ReplayProgress], object] | None = None
    ended: Collection[str] = ()
    """Ids of runs that are known to be over."""


class BaseRun(ABC):
    """One run; call `execute` once."""

    def __init__(
        self, context: ReplayContext, plan: ReplayPlan, options: RunOptions, control: ReplayControl
    ) -> None:
        self.replay_id = str(uuid4())
        self._context = context
        self._plan = plan
        self._options = options
        self._control = control
        control.replay_id = self.replay_id
        self._started_at = datetime.now(UTC)
        settings = context.settings
        self._remover = Remover(
            context.source,
            context.store.names.stream,
            timeout=settings.publish_timeout_seconds,
            attempts=settings.publish_attempts,
            patience=options.patience_seconds,
        )
        self._entry_check = EntryCheck(context.store, plan.rows, settings.publish_timeout_seconds)
        self._ledger = Ledger(plan, self._remover, context.observers, options.progress)
        self._pending: deque[int] = deque()
        self._sent: dict[int, int] = {}
        """Rows that were sent and are not answered, each with a sequence of the target stream after
        which it is stored, if it is."""
        self._state = ReplayState.RUNNING
        self._why = ""
        self._remarks: list[str] = []
        """What else the report says."""
        self._came_back: list[UUID] = []
        self._asked: list[float] = []
        """When the queue was asked what it has not answered yet."""
        self._ledger.is_queue_silent = self._is_queue_silent
        self._holder = context.source.nc.new_inbox()
        self._claim_phase = ClaimPhase(
            context,
            plan,
            self._ledger,
            self._entry_check,
            replay_id=self.replay_id,
            holder=self._holder,
            started_at=self._started_at,
            settings=options.settings,
            ended=options.ended,
        )

    async def _claim(self) -> None:
        """Write the plan, and keep in `_pending` the rows that this run may work on."""
        self._pending = deque(await self._claim_phase.begin(None, self._pending))

    @abstractmethod
    async def _work(self) -> None:
        """Work on the pending rows until none is left or the state is no longer running."""

    async def _drain(self) -> None:  # noqa: B027 - a run that publishes nothing has nothing to do
        """Wait for the answers to what was sent."""

    async def _close(self) -> None:  # noqa: B027 - the same
        """Release what the run holds."""

    async def execute(self) -> ReplayReport:
        """Carry out the plan; raises only if the run did not begin or its task is cancelled."""
        for index, row in enumerate(self._plan.rows):
            if row.decision is ReplayDecision.SKIP:
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=row.why, advice=row.advice)
            else:
                self._pending.append(index)
        self._ledger.report("preparing")
        await self._context.log.ensure()
        telling = asyncio.create_task(self._tell_silence(), name=f"watch run {self.replay_id}")
        holder: Subscription | None = None
        cancelled: asyncio.CancelledError | None = None
        try:
            try:
                holder = await answer_on(self._context.source, self._holder)
                await self._remover.start()
                await self._entry_check.inbox.start()
                await self._begin()
            except (NatsError, OSError) as error:
                if isinstance(error, VarcoNatsError) and not isinstance(
                    error, PermissionDeniedError
                ):
                    raise
                raise ReplayError(f"the replay did not begin: {error}") from error
            try:
                await self._work()
            except asyncio.CancelledError as error:
                cancelled = error
                self._end(ReplayState.CANCELLED, "its task was cancelled")
            except (VarcoNatsError, NatsError, OSError) as error:
                self._end(ReplayState.STOPPED, str(error) or type(error).__name__)
            report = await self._finish()
        finally:
            telling.cancel()
            await self._remover.stop()
            await self._entry_check.inbox.stop()
            await self._close()
            if holder is not None:
                with suppress(NatsError, OSError):
                    await holder.unsubscribe()
        if cancelled is not None:
            raise cancelled
        return report

    async def _begin(self) -> None:
        """Claim the pending rows.

        If that fails after the plan was written, an outcome in the log says so.
        """
        try:
            await self._claim()
        except BaseException as error:
            if self._claim_phase.head is not None:
                why = f"the run did not begin: {error}"
                outcome = OutcomeRecord(ReplayState.STOPPED, {}, datetime.now(UTC), why, open=())
                with suppress(VarcoNatsError):
                    await self._context.log.write_outcome(self.replay_id, outcome)
            raise

    def _end(self, state: ReplayState, why: str) -> None:
        if self._state is ReplayState.RUNNING:
            self._state, self._why = state, why

    async def _check(self, batch: Sequence[int]) -> list[int]:
        """Check pending rows; settles those that are gone and returns the others."""
        absent = await self._patiently(lambda: self._entry_check.check(batch))
        if absent is None:
            return []
        for index, why in absent.items():
            self._pending.remove(index)
            self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why, removed=why == GONE)
        self._ledger.report(self._ledger.phase)
        return [index for index in batch if index not in absent]

    async def _patiently[Answer](
        self, ask: Callable[[], Awaitable[Answer]], problem: str = "the queue could not be read"
    ) -> Answer | None:
        """The answer of a server, asked until it comes; None if the run ends first."""
        begun = time.monotonic()
        self._asked.append(begun)
        try:
            while self._state is ReplayState.RUNNING:
                try:
                    return await ask()
                except (VarcoNatsError, NatsError, OSError) as error:
                    reason = str(error) or type(error).__name__
                if self._control.cancelled:
                    self._end(ReplayState.CANCELLED, "cancelled")
                elif time.monotonic() > begun + self._options.patience_seconds:
                    self._end(ReplayState.STOPPED, f"{problem}: {reason}")
                await asyncio.sleep(RETRY_SECONDS)
            return None
        finally:
            self._asked.remove(begun)

    def _is_queue_silent(self) -> bool:
        since = min([*self._asked, self._remover.waiting_since()])
        return time.monotonic() - since > _SILENCE_SECONDS

    async def _tell_silence(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._ledger.tell_silence()

    async def _finish(self) -> ReplayReport:
        """Settle the other rows, wait for the removals, and write the outcome."""
        await self._drain()
        await self._remover.finish()
        for index in range(len(self._plan.rows)):
            if not self._ledger.is_open(index):
                continue
            if index in self._sent:
                why = "no answer came"
                self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=why)
            else:
                self._ledger.settle(index, ReplayOutcome.NOT_TRIED, why=self._why)
        self._end(ReplayState.DONE, "")
        if self._state is ReplayState.DONE and set(self._ledger.counts) <= {ReplayOutcome.SKIPPED}:
            self._state = ReplayState.NOTHING_DONE
        not_removed = self._ledger.not_removed
        left = f"{len(not_removed):,} dead letters could not be removed" if not_removed else ""
        report = ReplayReport(
            replay_id=self.replay_id,
            state=self._state,
            rows=tuple(result for result in self._ledger.results if result is not None),
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            why="; ".join(filter(None, (self._why, *self._remarks, left))),
            came_back=tuple(self._came_back),
        )
        in_doubt = [row.key for row in report.of(ReplayOutcome.IN_DOUBT)]
        if self._plan.kind is not ReplayKind.DISCARD:
            in_doubt += sorted(not_removed)
        outcome = OutcomeRecord(
            state=report.state,
            counts={str(name): count for name, count in report.counts.items()},
            ended_at=report.ended_at,
            why=report.why,
            open=tuple(in_doubt),
            came_back=report.came_back,
        )
        edited = [row.key for row in self._plan.rows if row.edited]
        try:
            await self._context.log.write_outcome(self.replay_id, outcome, report.rows, edited)
        except VarcoNatsError:
            report = replace(report, logged=False)
        self._ledger.report("done")
        return report
