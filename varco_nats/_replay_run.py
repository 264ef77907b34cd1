"""One run of a plan: claims, publishes, and settles each row."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from nats.errors import Error as NatsError

from varco_nats._provenance import REPLAY_ID
from varco_nats._publisher import PubAck, Refusal
from varco_nats._replay_begin import Beginning, Place
from varco_nats._replay_canary import watch
from varco_nats._replay_duplicates import Verdict, judge_duplicates
from varco_nats._replay_ledger import Ledger
from varco_nats._replay_log import OutcomeRecord, now
from varco_nats._replay_pace import Pace
from varco_nats._replay_plan import ReplayDecision, ReplayPlan
from varco_nats._replay_report import (
    Canary,
    ReplayControl,
    ReplayOutcome,
    ReplayProgress,
    ReplayReport,
    ReplayState,
)
from varco_nats._replay_send import Flight, Remover
from varco_nats._replay_session import Session, answer_on
from varco_nats.errors import ReplayError, VarcoNatsError

MAX_REFUSALS = 20
"""Refusals in a row after which a run stops."""

_TICK = 0.2
_RETRY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about its plan."""

    pace: Pace
    canary: Canary | None
    in_flight: int
    """Messages without an answer at most."""
    patience_seconds: float
    """How long to try for a new connection."""
    progress: Callable[[ReplayProgress], object] | None


class ReplayRun:
    """One run; `execute` once."""

    def __init__(
        self, place: Place, plan: ReplayPlan, options: RunOptions, control: ReplayControl
    ) -> None:
        self.replay_id = str(uuid4())
        self._place = place
        self._plan = plan
        self._options = options
        self._control = control
        self._started_at = now()
        settings = place.settings
        self._remover = Remover(
            place.source,
            place.store.stream,
            timeout=settings.publish_timeout_seconds,
            attempts=settings.publish_attempts,
        )
        self._ledger = Ledger(plan, self._remover, place.observers, options.progress)
        self._pending: deque[int] = deque()
        self._sent: set[int] = set()
        """Rows that were sent and are not answered."""
        self._duplicates: dict[int, PubAck] = {}
        self._refused: dict[int, str] = {}
        """Rows to be tried again, with the reason of their refusal."""
        self._attempts: Counter[int] = Counter()
        self._refusals = 0
        self._state = ReplayState.RUNNING
        self._why = ""
        self._came_back: list[UUID] = []
        self._holder = place.source.nc.new_inbox()
        self._beginning = Beginning(
            place,
            plan,
            self._ledger,
            replay_id=self.replay_id,
            holder=self._holder,
            started_at=self._started_at,
        )
        self._session: Session | None = None
        self._flight: Flight | None = None

    async def execute(self) -> ReplayReport:
        """Run the plan; raises only if it did not begin, or if its task is cancelled."""
        self._control._bind()
        for index, row in enumerate(self._plan.rows):
            if row.decision is ReplayDecision.SKIP:
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=row.why)
            else:
                self._pending.append(index)
        self._ledger.tell("preparing")
        await self._place.log.ensure()
        holder = await answer_on(self._place.source, self._holder)
        cancelled: asyncio.CancelledError | None = None
        try:
            await self._remover.start()
            await self._begin()
            try:
                await self._work()
            except asyncio.CancelledError as error:
                cancelled = error
                self._end(ReplayState.CANCELLED, "its task was cancelled")
            report = await self._finish()
        finally:
            await self._remover.stop()
            if self._session is not None:
                await self._session.close()
            with suppress(NatsError, OSError):
                await holder.unsubscribe()
        if cancelled is not None:
            raise cancelled
        return report

    async def _begin(self) -> None:
        """Open the first session.

        Raises:
            ReplayError: it did not begin; a plan that the log has already says so.
        """
        try:
            await self._open_session()
        except BaseException as error:
            if self._beginning.head is not None:
                outcome = OutcomeRecord(ReplayState.STOPPED, {}, now(), f"not begun: {error}")
                with suppress(VarcoNatsError):
                    await self._place.log.write_outcome(self.replay_id, outcome)
            if isinstance(error, NatsError | OSError):
                raise ReplayError(f"the replay did not begin: {error}") from error
            raise

    def _end(self, state: ReplayState, why: str) -> None:
        if self._state is ReplayState.RUNNING:
            self._state, self._why = state, why

    # A session

    async def _open_session(self, lost: Session | None = None) -> None:
        """Connect, write the plan, and settle what other runs have or had.

        Raises:
            VarcoNatsError: there is no connection, or the plan could not be written.
            ReplayHeldError: another run replays the same history.
        """
        name = f"varco-replay {self.replay_id}"
        self._session = session = await Session.open(self._place.target, name)
        self._pending = deque(await self._beginning.begin(session, self._pending, self._sent, lost))
        self._flight = Flight(session.inbox, self._on_answer, self._options.in_flight)
        session.on_lost = self._flight.wake
        self._sent.clear()

    # Publishing

    async def _work(self) -> None:
        canary = self._options.canary
        if canary is None or len(self._pending) <= canary.count:
            await self._publish_all()
            return
        pending = list(self._pending)
        first, rest = pending[: canary.count], pending[canary.count :]
        after = await self._place.store.last_seq()
        self._pending = deque(first)
        try:
            await self._publish_all()
            if self._state is ReplayState.RUNNING:
                await self._watch(canary, after, first)
        finally:
            self._pending.extend(rest)
        await self._publish_all()

    async def _watch(self, canary: Canary, after: int, first: list[int]) -> None:
        self._ledger.tell("canary")
        await self._remover.finish()
        results = [result for index in first if (result := self._ledger.results[index])]
        stored = [result for result in results if result.seq is not None]
        stream = self._place.target.stream_name
        self._came_back = await watch(
            self._place.store,
            canary,
            after,
            self.replay_id,
            {result.key for result in stored},
            {f"{stream}:{result.seq}" for result in stored},
            self._control,
        )
        refused = [result for result in results if result.outcome is ReplayOutcome.FAILED]
        if self._came_back:
            why = f"{len(self._came_back)} of the first {len(first)} came back dead"
            self._end(ReplayState.CANARY_FAILED, why)
        elif refused:
            why = f"{len(refused)} of the first {len(first)} failed: {refused[0].why}"
            self._end(ReplayState.CANARY_FAILED, why)

    async def _publish_all(self) -> None:
        """Publish what is pending, in a new session where one is lost."""
        while self._state is ReplayState.RUNNING:
            session = self._session
            assert session is not None
            await self._pass(session)
            if session.lost:
                await self._reopen(session)
                continue
            await self._settle_duplicates(session)
            if not self._refused and not self._pending:
                return
            if self._refused:
                await self._control._wait(_RETRY_SECONDS)
                self._try_again()

    async def _pass(self, session: Session) -> None:
        """Send and take answers until nothing is left, the session is lost or the run ends."""
        flight, control, pace = self._flight, self._control, self._options.pace
        assert flight is not None
        timeout = self._place.target.publish_timeout_seconds
        while not session.lost:
            if control.cancelled:
                self._end(ReplayState.CANCELLED, "cancelled")
            sending = self._state is ReplayState.RUNNING and bool(self._pending)
            if self._refused and self._plan.history_key:
                sending = False  # nothing may overtake what was refused
            if not sending and not len(flight):
                return
            if len(flight) and time.monotonic() - flight.last_answer > timeout:
                session.give_up()
                return
            if control.paused and sending:
                self._ledger.tell("paused")
                pace.restart()
                await control._wait(_TICK)
                continue
            self._ledger.tell("publishing")
            if not sending or flight.full:
                await flight.wait(_TICK)
                continue
            index = self._pending[0]
            pause = pace.wait(time.monotonic(), self._plan.rows[index].time_ns)
            if pause > 0:
                await control._wait(min(pause, _TICK))
            else:
                await self._send(session, flight, self._pending.popleft())

    async def _send(self, session: Session, flight: Flight, index: int) -> None:
        row = self._plan.rows[index]
        headers = {**row.headers, REPLAY_ID: self.replay_id}
        self._sent.add(index)
        self._options.pace.sent()
        try:
            await flight.send(index, row.subject, row.payload, headers)
        except NatsError as error:
            if session.lost or not session.connection.is_connected:
                session.give_up()
                self._pending.appendleft(index)
            else:
                self._sent.discard(index)
                self._ledger.settle(index, ReplayOutcome.FAILED, why=str(error))

    def _on_answer(self, index: int, answer: PubAck | Refusal) -> None:
        self._sent.discard(index)
        if isinstance(answer, PubAck):
            self._refusals = 0
            if answer.duplicate:
                self._duplicates[index] = answer
            else:
                self._ledger.stored(index, ReplayOutcome.REPLAYED, answer.seq)
            return
        if answer.unclear:
            self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=answer.reason)
            return
        self._refusals += 1
        self._attempts[index] += 1
        if answer.retry and self._attempts[index] < self._place.target.publish_attempts:
            self._refused[index] = answer.reason
        else:
            self._ledger.settle(index, ReplayOutcome.FAILED, why=answer.reason)
            if self._refusals >= MAX_REFUSALS:
                why = f"the server refused {self._refusals} in a row: {answer.reason}"
                self._end(ReplayState.STOPPED, why)

    def _try_again(self) -> None:
        """Put what was refused for a passing reason back in front."""
        refused, self._refused = self._refused, {}
        for index in sorted(refused, reverse=True):
            if self._plan.history_key and index < self._ledger.last_stored:
                why = f"{refused[index]}; later messages are stored, and the order is kept"
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)
            else:
                self._pending.appendleft(index)

    async def _settle_duplicates(self, session: Session) -> None:
        """Look whether what the server took for a duplicate is stored in the channel."""
        duplicates, self._duplicates = self._duplicates, {}
        if not duplicates:
            return
        verdicts = await judge_duplicates(
            session.connection, session.stream, self._plan, duplicates
        )
        for index, (verdict, why) in verdicts.items():
            if verdict is Verdict.STORED:
                self._ledger.stored(index, ReplayOutcome.DUPLICATE, duplicates[index].seq, why)
            else:
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)

    async def _reopen(self, lost: Session) -> None:
        """A new session after one was lost; ends the run where none comes in time."""
        self._ledger.tell("reconnecting")
        assert self._flight is not None
        self._sent.update(self._flight.abandon())
        # what was a duplicate is asked for once more, too
        waiting = {*self._pending, *self._sent, *self._refused, *self._duplicates}
        self._refused, self._duplicates = {}, {}
        self._pending = deque(sorted(waiting))
        await lost.close()
        until = time.monotonic() + self._options.patience_seconds
        while self._state is ReplayState.RUNNING:
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 1)):
                    await self._open_session(lost)
                return
            except (VarcoNatsError, NatsError, OSError) as error:  # TimeoutError is an OSError
                if self._session is not None:
                    await self._session.close()
                reason = str(error) or type(error).__name__
            if self._control.cancelled:
                self._end(ReplayState.CANCELLED, "cancelled")
            elif time.monotonic() > until:
                self._end(ReplayState.STOPPED, f"the connection was lost: {reason}")
            await self._control._wait(_RETRY_SECONDS)

    # The end

    async def _finish(self) -> ReplayReport:
        """Settle what is left, wait for the removals, and write the outcome."""
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
        report = ReplayReport(
            replay_id=self.replay_id,
            state=self._state,
            rows=tuple(result for result in self._ledger.results if result is not None),
            started_at=self._started_at,
            ended_at=now(),
            why=self._why,
            came_back=tuple(self._came_back),
        )
        in_doubt = [row.key for row in report.of(ReplayOutcome.IN_DOUBT)]
        outcome = OutcomeRecord(
            state=report.state,
            counts={str(name): count for name, count in report.counts.items()},
            ended_at=report.ended_at,
            why=report.why,
            open=(*in_doubt, *sorted(self._ledger.not_removed)),
        )
        try:
            await self._place.log.write_outcome(self.replay_id, outcome)
        except VarcoNatsError:
            report = replace(report, logged=False)
        self._ledger.tell("done")
        return report

    async def _drain(self) -> None:
        """Take the answers to what was sent."""
        session, flight = self._session, self._flight
        if session is None or flight is None or session.lost:
            return
        await self._pass(session)
        if not session.lost:
            await self._settle_duplicates(session)
        self._sent.update(flight.abandon())
