"""The consumer loop of one channel: pulls messages, has each handled, and sends the answers.

A message that is held here, waiting or in its handler, is reported to the server as in progress, so
that it is not redelivered while its process lives. Under at_most_once it is acknowledged before its
handler runs, and handled only if that was confirmed while no other process could have it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.context import leave_request
from varco_nats._nats.delivery import MessageDelivery, ack_fields, clock
from varco_nats._nats.durable import ensure_durable
from varco_nats._nats.position import Position
from varco_nats.bus._acks import ACK, NAK, ConfirmedAcks, RunAhead
from varco_nats.bus._held import HeldMessages
from varco_nats.bus._process import MessageProcessor
from varco_nats.bus._pull import CONSUMER_DELETED, PullRequests
from varco_nats.bus._ticker import Ticker
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.errors import ConsumerInUseError, StreamUnavailableError

_YIELD_EVERY = 64  # handlers that never wait must not starve the connection
_YIELD_AFTER = 0.002  # seconds, for the same reason
_RETRY_FIRST, _RETRY_LONGEST = 0.25, 10.0
_WORK_AHEAD = 0.5  # seconds of work that are held ready
_EPOCHS, _QUIET_EPOCHS = 4, 2.5  # in the time after which a message is redelivered
_MARGIN = 0.1  # part of that time, for clocks that differ
_ELECTED = "$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED"
_IN_PROGRESS = b"+WPI"


class ChannelConsumer:
    """Consumes one channel until `stop()`.

    Args:
        processor: handles each message.
        ticker: shared by the consumers of one bus.
        opening: bounds how many of them find or create their durables at once.
        on_error: called with each failure to open or to go on, and with None when it works again.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NatsEventBusSettings,
        channel: str,
        processor: MessageProcessor,
        on_error: Callable[[Exception | None], None],
        ticker: Ticker,
        opening: asyncio.Semaphore,
    ) -> None:
        self.channel = channel
        self._connection = connection
        self._settings = settings
        self._processor = processor
        self._on_error = on_error
        self._ticker = ticker
        self._opening = opening
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._closing = False
        self._gone: str | None = None
        self._problem = ""  # why it cannot be consumed, as it was last logged
        self._lost_acks = False
        self._beat_at = 0.0
        self._durable = settings.durable_for(channel)
        self._taken_over = Position(0, 0)  # of a durable of the released package
        self._ack_wait = ack_wait = settings.ack_wait_seconds
        self._acks_first = settings.delivery_semantics is NatsDeliverySemantics.AT_MOST_ONCE
        ours_for = (1 - _MARGIN) * ack_wait if self._acks_first else ack_wait
        self._held = HeldMessages(ours_for, acks_first=self._acks_first)
        self._run_ahead = RunAhead(settings.concurrency)
        timeout, attempts = settings.publish_timeout_seconds, settings.publish_attempts
        if self._acks_first:  # a second ack could be confirmed when another process has the message
            timeout, attempts = min(timeout, ours_for), 1
        self._acks = ConfirmedAcks(
            connection.nc,
            processor.acked,
            timeout=timeout,
            attempts=attempts,
            counts=self._held.is_ours if self._acks_first else None,
        )
        # under at_most_once no progress is reported for what waits
        ahead = min(_WORK_AHEAD, ack_wait / 8) if self._acks_first else _WORK_AHEAD
        self._pull = PullRequests(
            connection=connection,
            on_message=self._receive,
            on_ended=self._request_ended,
            on_gone=self._consumer_gone,
            on_lost=self._lose_track,
            handlers=settings.concurrency,
            smallest=(1 if self._acks_first else 2) * settings.concurrency,
            largest=max(settings.prefetch, settings.concurrency),
            work_ahead=ahead,
            epoch_seconds=ack_wait / _EPOCHS,
            quiet_seconds=ack_wait / _QUIET_EPOCHS,
        )
        self._keeper: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._unsubscribe_reconnect: Callable[[], None] | None = None
        self._elections: Subscription | None = None

    async def open(self) -> None:
        """Bind to the durable and start consuming; in the background while others must stop first.

        Raises:
            ConsumerMismatchError: the durable exists for something else.
        """
        try:
            await self._open()
        except ConsumerInUseError as error:
            self._on_error(error)
            self.start_retrying()

    async def _open(self) -> None:
        async with self._opening:
            info, _ = await ensure_durable(
                self._connection,
                self._settings,
                self.channel,
                resume_after=self._held.resume_after(),
            )
        self._taken_over = Position.of(info.config) or self._taken_over
        if self._acks_first and info.cluster is not None and info.cluster.replicas:
            self._elections = await self._connection.nc.subscribe_direct(
                f"{_ELECTED}.{self._settings.stream_name}.{self._durable}",
                lambda *_: self._lose_track(),
            )
        if self._settings.delivery_semantics is not NatsDeliverySemantics.AT_LEAST_ONCE:
            await self._acks.start()
        self._pull.start(self._settings.stream_name, self._durable)
        self._unsubscribe_reconnect = self._connection.on_reconnect(self._lose_track)
        self._beat_at = clock()
        self._workers = [
            asyncio.create_task(self._work(), name=f"work {self._durable} {number}")
            for number in range(self._settings.concurrency)
        ]
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._durable}")
        for task in (self._keeper, *self._workers):
            task.add_done_callback(self._task_ended)
        self._ticker.add(self._tick)
        self._wake.set()

    def start_retrying(self) -> None:
        """Open in the background, and try again until it succeeds."""
        self._keeper = asyncio.create_task(self._open_retrying(), name=f"open {self._durable}")

    async def _open_retrying(self) -> None:
        delay = _RETRY_FIRST
        while not self._closing:
            try:
                await self._open()
            except Exception as error:
                self._on_error(error)
                if not isinstance(error, ConsumerInUseError):
                    _logger.error(
                        "cannot consume channel %r, trying again in %g s: %s",
                        self.channel,
                        delay,
                        error,
                    )
                elif str(error) != self._problem:  # it may take as long as an upgrade: logged once
                    _logger.warning("cannot consume channel %r yet: %s", self.channel, error)
                    self._problem = str(error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _RETRY_LONGEST)
            else:
                self._on_error(None)
                return

    async def stop(self) -> None:
        """Wait up to `drain_timeout_seconds` for running handlers, and hand back what waits."""
        self._closing = True
        if not self._workers:  # it was never opened
            await self._end(self._keeper)
            await self._pull.stop()
            return
        self._arrived.set()
        until = clock() + self._settings.drain_timeout_seconds
        await self._pull.stop()
        while (delivery := self._held.take()) is not None:
            await self.answer(delivery, NAK)
        _, unfinished = await asyncio.wait(
            self._workers, timeout=self._settings.drain_timeout_seconds
        )
        if unfinished:
            _logger.warning(
                "channel %r: %d handlers still ran after %g s and are cancelled; their messages %s",
                self.channel,
                len(unfinished),
                self._settings.drain_timeout_seconds,
                "are gone" if self._acks_first else "come again",
            )
            for task in unfinished:
                await self._end(task)
        if self._held.acked:
            _logger.warning(
                "channel %r: %d messages are gone (at_most_once): they were acknowledged, but "
                "their handlers had not begun",
                self.channel,
                len(self._held.acked),
            )
        await self._acks.stop(max(until - clock(), 0.0))
        if self._unsubscribe_reconnect:
            self._unsubscribe_reconnect()
        if self._elections:
            with suppress(NatsError):
                await self._elections.unsubscribe()
        self._ticker.discard(self._tick)
        await self._end(self._keeper)

    @staticmethod
    async def _end(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])  # what it raised was logged when it ended

    async def answer(self, delivery: MessageDelivery, payload: bytes) -> None:
        """Send an acknowledgement of any kind; if it cannot be sent, the message is redelivered."""
        try:
            await self._connection.nc.answer(delivery.reply, payload)
        except NatsError as error:
            _logger.warning(
                "channel %r: message %d could not be answered and will be redelivered: %s",
                self.channel,
                delivery.seq,
                error,
            )

    def confirm(self, delivery: MessageDelivery) -> Awaitable[object]:
        """Acknowledge it; `MessageProcessor.acked` says later whether the server confirmed that."""
        return self._acks.send(delivery)

    def _receive(
        self, since: float, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        stream, _, delivered, seq, _, _, _ = ack_fields(reply)
        delivery = MessageDelivery(
            self.channel,
            stream,
            int(seq),
            int(delivered),
            headers,
            self._durable,
            data,
            reply,
            since,
        )
        self._held.add(delivery)
        self._arrived.set()

    async def _work(self) -> None:
        """Handle one message after the other until closed."""
        leave_request()
        since_yield, yielded_at = 0, clock()
        while (delivery := await self._next()) is not None:
            self._held.active.add(delivery)
            began = clock()
            try:
                if not self._taken_over.is_acknowledged(delivery.seq):
                    await self._processor.process(delivery, self)
                elif not self._acks_first:
                    await self.answer(delivery, ACK)
            finally:
                self._held.active.discard(delivery)
            now = clock()
            if self._acks_first:
                self._run_ahead.handled(now - began)
            if self._pull.is_low(len(self._held)):
                self._wake.set()
            since_yield += 1
            if since_yield >= _YIELD_EVERY or now - yielded_at > _YIELD_AFTER:
                await asyncio.sleep(0)
                since_yield, yielded_at = 0, clock()

    async def _next(self) -> MessageDelivery | None:
        """The next message to handle; None when closed."""
        while True:
            if self._acks_first:
                await self._acknowledge_ahead()
                if self._held.acked:
                    ack = self._held.acked.popleft()
                    confirmed = await ack.wait()
                    self._run_ahead.settled(ack)
                    if confirmed:
                        return ack.delivery
                    continue
            elif not self._closing and (delivery := self._held.take()) is not None:
                return delivery
            if self._closing:
                return None
            self._arrived.clear()
            await self._arrived.wait()
            self._ticker.add(self._tick)

    async def _acknowledge_ahead(self) -> None:
        """Acknowledge one message, and those that can be handled until it is confirmed."""
        while not self._closing and len(self._held.acked) <= self._run_ahead.count:
            delivery = self._held.take()
            if delivery is None:
                return
            ack = await self._acks.send(delivery)
            self._held.acked.append(ack)
            self._run_ahead.sent(ack)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logger.error("channel %r: consuming stopped: %s", self.channel, error, exc_info=error)
            self._on_error(RuntimeError(f"consuming stopped: {error!r}"))

    def _tick(self) -> float:
        """Wake the keeper if there may be something to do that nothing else wakes it for.

        Returns:
            When there may be, by `clock()`, unless a message arrives or the keeper wakes.
        """
        due = self._pull.due_at
        busy = len(self._held) or self._held.stale or self._acks.is_waiting
        if not busy and due > clock():
            return due
        self._wake.set()
        return 0.0

    async def _keep(self) -> None:
        """Keep requests open, report progress, and send acks again that were not confirmed."""
        beat_every = self._ack_wait / 3
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pull.paused_for or None):
                    await self._wake.wait()
            self._wake.clear()
            if self._gone is not None:
                await self._recreate()
            if self._pull.is_silent():
                _logger.warning("channel %r: no answer from the server, asking again", self.channel)
                self._lose_track()
            if clock() - self._beat_at >= beat_every:
                await self._report_progress()
            lost, self._lost_acks = self._lost_acks, False
            await self._acks.ask_again(all_lost=lost)
            if not self._closing:
                await self._pull.refill(len(self._held))
                self._ticker.add(self._tick)

    async def _report_progress(self) -> None:
        self._beat_at = clock()
        if self._held.stale:
            _logger.warning(
                "channel %r: %d messages were on their way or waited for too long, so that another "
                "process may have them; they are left to be redelivered",
                self.channel,
                self._held.stale,
            )
            self._held.stale = 0
        if self._acks_first or not self._connection.is_connected:  # the report would be too late
            return
        with suppress(NatsError):
            for delivery in self._held.unfinished():
                now = clock()
                await self._connection.nc.answer(delivery.reply, _IN_PROGRESS)
                delivery.since = now

    def _lose_track(self) -> None:
        """Start anew after a reconnect, or with a new leader that may not know what was delivered.

        The server may redeliver such messages at any time. Under at_most_once those that are not
        confirmed are therefore left to be redelivered.
        """
        self._held.lost_at = clock()
        self._lost_acks = True
        self._pull.restart()
        self._wake.set()

    def _request_ended(self) -> None:
        """Ask again at once where no message arrived, which wakes nothing; else by the keeper."""
        if self._closing or self._gone is not None or len(self._held) or not self._pull.renew():
            self._wake.set()

    def _consumer_gone(self, reason: str) -> None:
        self._gone = reason
        self._wake.set()

    async def _recreate(self) -> None:
        """Make sure that the consumer exists; the server seems to say that it does not."""
        reason, self._gone = self._gone, None
        try:
            info, created = await ensure_durable(
                self._connection,
                self._settings,
                self.channel,
                resume_after=self._held.resume_after(),
                wait=0,  # since progress must be reported meanwhile
            )
        except Exception as error:
            if (problem := f"{error} ({reason})") != self._problem:  # it is logged once
                level = (
                    logging.WARNING if isinstance(error, StreamUnavailableError) else logging.ERROR
                )
                _logger.log(level, "cannot consume channel %r: %s", self.channel, problem)
                self._problem = problem
            self._on_error(error)
            await asyncio.sleep(_RETRY_FIRST)
            self._gone = reason
            self._wake.set()
        else:
            self._taken_over = Position.of(info.config) or self._taken_over
            fresh = info.delivered is None or info.delivered.consumer_seq == 0
            if fresh:
                self._held.waiting.clear()  # they are delivered again
            if created or (fresh and reason == CONSUMER_DELETED):
                _logger.warning(
                    "durable %s of channel %r was deleted; created it again at its old position",
                    self._durable,
                    self.channel,
                )
            self._pull.restart()
            self._problem = ""
            self._on_error(None)
