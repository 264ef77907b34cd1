"""A run that publishes: sends messages, takes their PubAcks, and settles each row."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from nats.errors import Error as NatsError

from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck, Refusal
from varco_nats.errors import VarcoNatsError
from varco_nats.replay._base import RETRY_SECONDS, Run, RunOptions
from varco_nats.replay._begin import Place
from varco_nats.replay._canary import LOOK_SECONDS, CanaryWatch, seconds_to_wait
from varco_nats.replay._duplicates import Verdict, judge_duplicates
from varco_nats.replay._pace import Pace
from varco_nats.replay._plan import ReplayPlan
from varco_nats.replay._report import Canary, ReplayControl, ReplayOutcome, ReplayState
from varco_nats.replay._send import Flight
from varco_nats.replay._session import Session

MAX_REFUSALS = 20
"""Refusals in a row after which a run stops."""

_TICK = 0.2


class ReplayRun(Run):
    """Replays the rows of a plan."""

    def __init__(
        self, place: Place, plan: ReplayPlan, options: RunOptions, control: ReplayControl
    ) -> None:
        super().__init__(place, plan, options, control)
        self._pace = Pace(options.settings.rate, options.settings.speed)
        self._rest: list[int] = []
        """Rows that wait for the canary."""
        self._duplicates: dict[int, PubAck] = {}
        self._refused: dict[int, str] = {}
        """Rows to be tried again, with the reason of their refusal; those that may be stored all
        the same stay among the sent ones."""
        self._unclear: set[int] = set()
        """Rows that an attempt may have stored though it was refused, whatever is said later."""
        self._attempts: Counter[int] = Counter()
        self._refusals = 0
        self._acked = 0
        """The last sequence that this session stored."""
        self._session: Session | None = None
        self._flight: Flight | None = None

    async def _claim(self) -> None:
        await self._open_session()

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # A session

    async def _open_session(self, lost: Session | None = None) -> None:
        """Connect, write the plan, and settle what other runs have or had.

        Raises:
            VarcoNatsError: there is no connection, or the plan could not be written.
            ReplayHeldError: another run replays the same history.
        """
        name = f"varco-replay {self.replay_id}"
        self._session = session = await Session.open(self._place.target, name)
        claimed, rest = [*self._pending, *self._rest], set(self._rest)
        claimed = await self._beginning.begin(session, claimed, self._sent, lost)
        self._pending = deque(index for index in claimed if index not in rest)
        self._rest = [index for index in claimed if index in rest]
        self._flight = Flight(session.inbox, self._on_answer, self._options.in_flight)
        session.on_lost = self._flight.wake
        self._sent.clear()
        self._acked = 0

    # Publishing

    async def _work(self) -> None:
        canary = self._options.settings.canary
        if canary is not None and self._pending:
            await self._try_first(canary)
        await self._publish_all()

    async def _try_first(self, canary: Canary) -> None:
        """Send the canary and watch it; ends the run if one of it comes back."""
        after = await self._patiently(self._place.store.last_seq)
        if after is None:
            return
        pending = list(self._pending)
        first, self._rest = pending[: canary.count], pending[canary.count :]
        self._pending = deque(first)
        try:
            await self._publish_all()
            if self._state is ReplayState.RUNNING:
                await self._watch(canary, after, first)
        finally:
            self._pending.extend(self._rest)
            self._rest = []

    async def _watch(self, canary: Canary, after: int, first: list[int]) -> None:
        self._ledger.tell("canary")
        await self._remover.finish()
        results = [result for index in first if (result := self._ledger.results[index])]
        place = self._place
        watch = CanaryWatch(place.store, place.target.stream_name, self.replay_id, after)
        for index, result in zip(first, results, strict=True):
            if result.seq is not None:
                watch.add(result.key, self._plan.rows[index].subject, result.seq)
        until = time.monotonic() + seconds_to_wait(canary, place.settings)
        while await self._patiently(watch.look) is False:
            left = until - time.monotonic()
            if left <= 0 or self._control.cancelled:
                break
            await self._control._wait(min(left, LOOK_SECONDS))
        self._came_back = watch.came_back
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
            if not await self._settle_duplicates(session):
                continue
            if not self._refused and not self._pending:
                return
            if self._refused:
                await self._control._wait(RETRY_SECONDS)
                self._try_again()

    async def _pass(self, session: Session) -> None:
        """Send and take answers until nothing is left, the session is lost or the run ends."""
        flight, control, pace = self._flight, self._control, self._pace
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
            elif not self._look.take(index):
                await self._look_ahead(self._look.ahead)
            else:
                await self._send(session, flight, self._pending.popleft())

    async def _send(self, session: Session, flight: Flight, index: int) -> None:
        row = self._plan.rows[index]
        headers = {**row.headers, REPLAY_ID: self.replay_id}
        self._sent.setdefault(index, self._acked)
        self._pace.sent()
        try:
            await flight.send(index, row.subject, row.payload, headers)
        except NatsError as error:
            if session.lost or not session.connection.is_connected:
                session.give_up()
                self._pending.appendleft(index)
            else:
                del self._sent[index]
                self._ledger.settle(index, ReplayOutcome.FAILED, why=str(error))

    def _on_answer(self, index: int, answer: PubAck | Refusal) -> None:
        sent_after = self._sent.pop(index, None)
        if isinstance(answer, PubAck):
            self._refusals = 0
            if answer.duplicate:
                self._duplicates[index] = answer
            else:
                self._acked = max(self._acked, answer.seq)
                self._ledger.stored(index, ReplayOutcome.REPLAYED, answer.seq)
            return
        self._attempts[index] += 1
        if answer.unclear:
            self._unclear.add(index)
        unclear = index in self._unclear
        most = self._place.target.publish_attempts
        if unclear:  # as long as an answer that never comes is waited for
            most *= max(round(self._place.target.publish_timeout_seconds / RETRY_SECONDS), 1)
        again = answer.retry and self._attempts[index] < most
        if unclear and again:
            self._refused[index] = answer.reason
            self._sent[index] = sent_after or 0
        elif unclear:
            self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=answer.reason)
        elif again:
            self._refusals += 1
            self._refused[index] = answer.reason
        else:
            self._refusals += 1
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
                known = index not in self._sent
                outcome = ReplayOutcome.FAILED if known else ReplayOutcome.IN_DOUBT
                self._ledger.settle(index, outcome, why=why)
            else:
                self._pending.appendleft(index)

    async def _settle_duplicates(self, session: Session) -> bool:
        """Look whether what the server took for a duplicate is stored in the channel.

        False if the session was lost meanwhile.
        """
        if not self._duplicates:
            return True
        try:
            verdicts = await judge_duplicates(
                session.connection, session.stream, self._plan, self._duplicates
            )
        except (NatsError, OSError):
            session.give_up()
            return False
        duplicates, self._duplicates = self._duplicates, {}
        for index, (verdict, why) in verdicts.items():
            if verdict is Verdict.STORED:
                self._ledger.stored(index, ReplayOutcome.DUPLICATE, duplicates[index].seq, why)
            else:
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)
        return True

    async def _reopen(self, lost: Session) -> None:
        """A new session after one was lost; ends the run where none comes in time."""
        self._ledger.tell("reconnecting")
        assert self._flight is not None
        self._flight.abandon()
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
            await self._control._wait(RETRY_SECONDS)

    async def _drain(self) -> None:
        session, flight = self._session, self._flight
        if session is None or flight is None:
            return
        if not session.lost:
            await self._pass(session)
        if not session.lost:
            await self._settle_duplicates(session)
        flight.abandon()
        self._sent |= dict.fromkeys(self._duplicates, 0)
