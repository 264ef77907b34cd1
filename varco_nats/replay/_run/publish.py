"""A run that publishes: sends messages, takes their PubAcks, and settles each row."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence

from nats.errors import Error as NatsError

from varco_nats._nats.client import header_block
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck, Refusal
from varco_nats.errors import VarcoNatsError
from varco_nats.replay._context import ReplayContext
from varco_nats.replay._plan import ReplayKind, ReplayPlan
from varco_nats.replay._report import Canary, ReplayControl, ReplayOutcome, ReplayState
from varco_nats.replay._run.base import RETRY_SECONDS, BaseRun, RunOptions
from varco_nats.replay._run.canary import (
    CHECK_SECONDS,
    CanaryWatch,
    first_to_send,
    seconds_to_wait,
    unproven,
)
from varco_nats.replay._run.in_flight import InFlight, OutgoingReplay, examine_duplicates
from varco_nats.replay._run.pace import Pace
from varco_nats.replay._run.session import RunSession
from varco_nats.replay._target_facts import TargetFacts

MAX_REFUSALS = 20
"""Refusals in a row after which a run stops, or waits where they are for a temporary reason."""

_TICK_SECONDS = 0.2
_BLOCK = 100  # messages that are written together
_BLOCK_BYTES = 128 * 1024


class ReplayRun(BaseRun):
    """Replays the rows of a plan."""

    def __init__(
        self, context: ReplayContext, plan: ReplayPlan, options: RunOptions, control: ReplayControl
    ) -> None:
        super().__init__(context, plan, options, control)
        if plan.kind is ReplayKind.REPLAY:
            self._remover.is_in_place = self._entry_check.is_in_place
        self._pace = Pace(options.settings.rate, options.settings.speed)
        self._after_canary: list[int] = []
        """Rows that wait for the result of the canary."""
        self._duplicates: dict[int, PubAck] = {}
        self._refused: dict[int, str] = {}
        """Rows to be tried again, with the reason of their refusal; those that may be stored in
        spite of it stay in `_sent`, too."""
        self._unclear: set[int] = set()
        """Rows that a refused attempt may have stored, whatever later answers say."""
        self._attempts: Counter[int] = Counter()
        self._refusals = 0
        self._acked = 0
        """The highest sequence that this session is known to have stored."""
        self._session: RunSession | None = None
        self._checking: asyncio.Task[object] | None = None
        """A check of the next rows."""
        self._in_flight: InFlight | None = None

    async def _claim(self) -> None:
        await self._open_session()

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # A session

    async def _open_session(self, lost: RunSession | None = None) -> None:
        """Connect, write the plan, and settle the rows that other runs have or had.

        Raises:
            VarcoNatsError: there is no connection, or the plan could not be written.
            ReplayHeldError: another run replays the same history.
        """
        name = f"varco-replay {self.replay_id}"
        self._session = session = await RunSession.open(self._context.target, name)
        claimed, waiting = [*self._pending, *self._after_canary], set(self._after_canary)
        claimed = await self._claim_phase.begin(session, claimed, self._sent, lost)
        self._pending = deque(index for index in claimed if index not in waiting)
        self._after_canary = [index for index in claimed if index in waiting]
        self._in_flight = InFlight(
            session, self._on_answer, self._on_stored, self._options.in_flight
        )
        session.on_lost = self._in_flight.wake
        self._remover.expected = self._in_flight.__len__
        self._sent.clear()
        self._acked = 0

    # Publishing

    async def _work(self) -> None:
        canary = self._options.settings.canary
        if canary is not None and self._pending:
            await self._try_canary(Canary(*canary))
        await self._publish_all()

    async def _try_canary(self, canary: Canary) -> None:
        """Send the canary and watch it; ends the run if one of its messages comes back."""
        after = await self._patiently(self._context.store.last_seq)
        if after is None:
            return
        pending = list(self._pending)
        first = first_to_send(self._plan, pending, canary.count)
        chosen = set(first)
        self._after_canary = [index for index in pending if index not in chosen]
        self._pending = deque(first)
        try:
            await self._publish_all()
            if self._state is ReplayState.RUNNING:
                await self._watch(canary, after, first)
        finally:
            self._pending.extend(self._after_canary)
            self._after_canary = []

    async def _watch(self, canary: Canary, after: int, first: list[int]) -> None:
        self._ledger.report("canary")
        await self._remover.finish()
        results = [result for index in first if (result := self._ledger.results[index])]
        context = self._context
        rows = [self._plan.rows[index] for index in first]
        async with TargetFacts(context) as facts:
            targets = await facts.targets(rows)
        lonely = {target.channel for target in targets if target.is_unconsumed}
        watch = CanaryWatch(
            context.store,
            context.target.stream_name,
            self.replay_id,
            after,
            {row.subject for row in rows if row.to in lonely},
        )
        for index, result in zip(first, results, strict=True):
            if result.seq is not None:
                watch.add(result.key, self._plan.rows[index].subject, result.seq)
        until = time.monotonic() + seconds_to_wait(canary, context.settings)
        while await self._patiently(watch.check) is False:
            left = until - time.monotonic()
            if left <= 0 or self._control.cancelled:
                break
            await asyncio.sleep(min(left, CHECK_SECONDS))
        self._came_back = watch.came_back
        if not self._came_back:
            unsettled = {row.to for row in rows if row.subject in watch.unsettled}
            self._remarks += unproven(targets, unsettled)
        refused = [result for result in results if result.outcome is ReplayOutcome.FAILED]
        if self._came_back:
            why = f"{len(self._came_back)} of the first {len(first)} came back dead"
            self._end(ReplayState.CANARY_FAILED, why)
        elif refused:
            why = f"{len(refused)} of the first {len(first)} failed: {refused[0].why}"
            self._end(ReplayState.CANARY_FAILED, why)

    async def _publish_all(self) -> None:
        """Publish the pending rows; after a lost session, in a new one."""
        while self._state is ReplayState.RUNNING:
            session = self._session
            assert session is not None
            await self._pass(session)
            if session.lost:
                await self._reopen(session)
                continue
            await self._settle_duplicates(session)
            if session.lost:
                continue
            if not self._refused and not self._pending:
                return
            if self._refused:
                await asyncio.sleep(RETRY_SECONDS)
                self._try_again()

    async def _pass(self, session: RunSession) -> None:
        """Send and take answers until nothing is left, the session is lost or the run ends."""
        try:
            await self._send_pending(session)
        finally:
            checking, self._checking = self._checking, None
            if checking is not None:
                checking.cancel()
                await asyncio.wait({checking})

    async def _send_pending(self, session: RunSession) -> None:
        """The same, but a check of rows ahead may be left under way."""
        in_flight, control, pace = self._in_flight, self._control, self._pace
        assert in_flight is not None
        timeout = self._context.target.publish_timeout_seconds
        while not session.lost:
            if control.cancelled:
                self._end(ReplayState.CANCELLED, "cancelled")
            sending = self._state is ReplayState.RUNNING and bool(self._pending)
            nobody_stores = self._refusals >= MAX_REFUSALS
            if self._refused and (nobody_stores or self._plan.history_key):
                sending = False  # later messages must not overtake a refused one of a history
            if not sending and not len(in_flight):
                return
            if len(in_flight) and time.monotonic() - in_flight.last_answer > timeout:
                session.give_up()
                return
            if control.paused and sending:
                self._ledger.report("paused")
                pace.restart()
                await asyncio.sleep(_TICK_SECONDS)
                continue
            self._ledger.report("waiting" if nobody_stores else "publishing")
            if sending and not pace.is_limited:
                self._check_ahead()
            if not sending or in_flight.room <= 0:
                await in_flight.wait(_TICK_SECONDS)
                continue
            if block := self._next_block(in_flight.room, session.max_size):
                await self._send(session, in_flight, block)
                await asyncio.sleep(0)  # so that answers come in
            if block or not self._pending:
                continue
            pause = pace.wait(time.monotonic(), self._plan.rows[self._pending[0]].time_ns)
            if pause > 0:
                await asyncio.sleep(min(pause, _TICK_SECONDS))
            else:
                await (self._checking or self._check(self._entry_check.to_check(self._pending)))

    def _check_ahead(self) -> None:
        """Have the next rows checked while those before them are sent."""
        if self._checking is not None and self._checking.done():
            self._checking = None
        if self._checking is None and self._entry_check.is_low:
            batch = self._entry_check.to_check(self._pending)
            self._checking = asyncio.create_task(self._check(batch), name="check dead letters")

    def _next_block(self, room: int, max_size: int) -> list[OutgoingReplay]:
        """The next messages that may be sent now, taken from the pending rows; settles those that
        the target would not take."""
        pending, rows, take = self._pending, self._plan.rows, self._entry_check.take
        pace = self._pace if self._pace.is_limited else None
        clock, size, most = time.monotonic(), 0, min(room, _BLOCK)
        block: list[OutgoingReplay] = []
        while pending and len(block) < most and size < _BLOCK_BYTES:
            index = pending[0]
            row = rows[index]
            if (pace and pace.wait(clock, row.time_ns) > 0) or not take(index):
                break
            pending.popleft()
            head, payload = header_block({**row.headers, REPLAY_ID: self.replay_id}), row.payload
            length = len(head) + len(payload)
            if length > max_size:
                why = f"too large: {length:,} bytes, and the stream takes {max_size:,}"
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)
                continue
            if pace:
                pace.sent()
            block.append(OutgoingReplay(index, row.subject, head, payload))
            size += length
        return block

    async def _send(
        self, session: RunSession, in_flight: InFlight, block: list[OutgoingReplay]
    ) -> None:
        for message in block:
            self._sent.setdefault(message.row, self._acked)
        try:
            await in_flight.send(block)
        except NatsError as error:
            if session.lost or not session.connection.is_connected:
                session.give_up()
                self._pending.extendleft(message.row for message in reversed(block))
                return
            for index in [message.row for message in block]:
                del self._sent[index]
                unclear = index in self._unclear
                outcome = ReplayOutcome.IN_DOUBT if unclear else ReplayOutcome.FAILED
                self._ledger.settle(index, outcome, why=str(error))

    def _on_stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        self._refusals = 0
        forget, stored, replayed = self._sent.pop, self._ledger.stored, ReplayOutcome.REPLAYED
        for index, (_, seq, _) in acks:
            forget(index, None)
            if seq > self._acked:
                self._acked = seq
            stored(index, replayed, seq)

    def _on_answer(self, index: int, answer: PubAck | Refusal) -> None:
        sent_after = self._sent.pop(index, None)
        if isinstance(answer, PubAck):
            self._refusals = 0
            if answer.duplicate:
                self._duplicates[index] = answer
            else:
                self._on_stored([(index, answer)])
            return
        self._attempts[index] += 1
        if answer.unclear:
            self._unclear.add(index)
        unclear = index in self._unclear
        attempts = self._context.target.publish_attempts
        session = self._session
        electing = session is not None and session.connection.is_clustered
        if unclear or electing:  # for as long as attempts take that are not answered
            attempts *= max(round(self._context.target.publish_timeout_seconds / RETRY_SECONDS), 1)
        again = answer.retry and self._attempts[index] < attempts
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
                why = f"the server refused {self._refusals} messages in a row: {answer.reason}"
                self._end(ReplayState.STOPPED, why)

    def _try_again(self) -> None:
        """Put the rows that were refused for a temporary reason back to the front."""
        refused, self._refused = self._refused, {}
        for index in sorted(refused, reverse=True):
            if self._plan.history_key and index < self._ledger.last_stored:
                why = (
                    f"{refused[index]}; messages after it are stored already, and the order is kept"
                )
                known = index not in self._sent
                outcome = ReplayOutcome.FAILED if known else ReplayOutcome.IN_DOUBT
                self._ledger.settle(index, outcome, why=why)
            else:
                self._pending.appendleft(index)

    async def _settle_duplicates(self, session: RunSession) -> None:
        """Settle the messages that the server took for duplicates, unless the session is lost."""
        if not self._duplicates:
            return
        try:
            examined = await examine_duplicates(
                session.connection, session.stream, self._plan, self._duplicates
            )
        except (NatsError, OSError):
            session.give_up()
            return
        duplicates, self._duplicates = self._duplicates, {}
        for index, (stored, why) in examined.items():
            if stored:
                self._ledger.stored(index, ReplayOutcome.DUPLICATE, duplicates[index].seq, why)
            else:
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)

    async def _reopen(self, lost: RunSession) -> None:
        """Open a new session after one was lost; ends the run where that fails for too long."""
        self._ledger.report("reconnecting")
        assert self._in_flight is not None
        self._in_flight.abandon()
        # duplicates are published once more, too
        waiting = {*self._pending, *self._sent, *self._refused, *self._duplicates}
        self._refused, self._duplicates = {}, {}
        self._pending = deque(sorted(waiting))
        await lost.close()
        until = time.monotonic() + self._options.patience_seconds

        async def open_again() -> None:
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 1)):
                    await self._open_session(lost)
            except (VarcoNatsError, NatsError, OSError):  # TimeoutError is an OSError
                if self._session is not None:
                    await self._session.close()
                raise

        await self._patiently(open_again, "the connection was lost")

    async def _drain(self) -> None:
        session, in_flight = self._session, self._in_flight
        if session is None or in_flight is None:
            return
        if not session.lost:
            await self._pass(session)
        if not session.lost:
            await self._settle_duplicates(session)
        in_flight.abandon()
        self._sent |= dict.fromkeys(self._duplicates, 0)
