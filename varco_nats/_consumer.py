"""The consumer loop of one channel: pulls, runs the handlers, settles each message.

A message that is held here, waiting or in its handler, is reported as in progress, so that it is
not redelivered while its process lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from nats.errors import Error as NatsError

from varco_nats._client import Connection
from varco_nats._delivery import Delivery
from varco_nats._durable import ensure_durable
from varco_nats._pull import CONSUMER_DELETED, PullRequests
from varco_nats.config import NatsEventBusSettings

_logger = logging.getLogger("varco_nats")

_YIELD_EVERY = 64  # handlers that never wait must not starve the connection
_RETRY_FIRST, _RETRY_LONGEST = 0.25, 10.0
_FLUSH_SECONDS = 5
_IN_PROGRESS = b"+WPI"
_NAK = b"-NAK"


class MessageHandler(Protocol):
    """Runs the handlers of a message and settles it through `answers`."""

    async def __call__(self, delivery: Delivery, answers: ChannelConsumer) -> None: ...


class ChannelConsumer:
    """Consumes one channel until `stop()`.

    Args:
        handle: called for each message; it settles the message and does not raise.
        on_error: told of a failure to open or to go on, None when it works again.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NatsEventBusSettings,
        channel: str,
        handle: MessageHandler,
        on_error: Callable[[Exception | None], None],
    ) -> None:
        self.channel = channel
        self._connection = connection
        self._settings = settings
        self._handle = handle
        self._on_error = on_error
        self._clock = asyncio.get_running_loop().time
        self._waiting: deque[Delivery] = deque()
        self._active: set[Delivery] = set()
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._closing = False
        self._gone: str | None = None
        self._last_seq: int | None = None
        self._beat_at = 0.0
        self._read_at = 0.0  # what the server had sent until then was read by then
        self._durable = settings.durable_for(channel)
        self._ack_wait = settings.ack_wait_seconds
        self._pull = PullRequests(
            connection,
            on_message=self._receive,
            on_ended=self._wake.set,
            on_gone=self._consumer_gone,
            smallest=2 * settings.concurrency,
            largest=max(settings.prefetch, settings.concurrency),
            clock=self._clock,
        )
        self._keeper: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._unsubscribe_reconnect: Callable[[], None] | None = None

    async def open(self) -> None:
        """Bind to the durable and start consuming.

        Raises:
            ConsumerMismatchError: the durable exists for something else.
        """
        await ensure_durable(
            self._connection, self._settings, self.channel, resume_after=self._resume_after()
        )
        await self._pull.start(self._settings.stream_name, self._durable)
        self._unsubscribe_reconnect = self._connection.on_reconnect(self._reconnected)
        self._beat_at = self._read_at = self._clock()
        self._workers = [
            asyncio.create_task(self._work(), name=f"work {self._durable} {number}")
            for number in range(self._settings.concurrency)
        ]
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._durable}")
        for task in (self._keeper, *self._workers):
            task.add_done_callback(self._task_ended)
        self._wake.set()

    def start_retrying(self) -> None:
        """Open in the background, again and again until it works."""
        self._keeper = asyncio.create_task(self._open_retrying(), name=f"open {self._durable}")

    async def _open_retrying(self) -> None:
        delay = _RETRY_FIRST
        while not self._closing:
            try:
                await self.open()
            except Exception as error:
                _logger.error(
                    "cannot consume channel %r, trying again in %g s: %s",
                    self.channel,
                    delay,
                    error,
                )
                self._on_error(error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _RETRY_LONGEST)
            else:
                self._on_error(None)
                return

    async def stop(self) -> None:
        """Finish what runs, up to `drain_timeout_seconds`, and hand back what waits."""
        self._closing = True
        if not self._workers:  # never opened
            await self._end(self._keeper)
            await self._pull.stop()
            return
        await self._pull.stop()
        handed_back, self._waiting = list(self._waiting), deque()
        for delivery in handed_back:
            await self.answer(delivery, _NAK)
        self._arrived.set()
        _, unfinished = await asyncio.wait(
            self._workers, timeout=self._settings.drain_timeout_seconds
        )
        if unfinished:
            _logger.warning(
                "channel %r: %d handlers still ran after %g s and are cancelled; their messages "
                "come again",
                self.channel,
                len(unfinished),
                self._settings.drain_timeout_seconds,
            )
            for task in unfinished:
                await self._end(task)
        if self._unsubscribe_reconnect:
            self._unsubscribe_reconnect()
        await self._end(self._keeper)

    @staticmethod
    async def _end(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])  # what it raised was logged when it ended

    async def answer(self, delivery: Delivery, payload: bytes) -> None:
        """Send an acknowledgement of any kind; one that cannot be sent leads to redelivery."""
        try:
            await self._connection.nc.answer(delivery.reply, payload)
        except NatsError as error:
            _logger.warning(
                "channel %r: message %d could not be answered and will come again: %s",
                self.channel,
                delivery.seq,
                error,
            )

    def _receive(self, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        fields = reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>..., with domain and account before
        # the stream on servers that send the longer form
        at = 2 if len(fields) == 9 else 4
        delivery = Delivery(
            self.channel,
            fields[at],
            int(fields[at + 3]),
            int(fields[at + 2]),
            headers,
            self._durable,
            data,
            reply,
            self._read_at,
        )
        self._last_seq = max(self._last_seq or 0, delivery.seq)
        self._waiting.append(delivery)
        self._arrived.set()

    async def _work(self) -> None:
        """Take one message after the other until closed."""
        since_yield = 0
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            delivery = self._waiting.popleft()
            if self._closing:
                await self.answer(delivery, _NAK)
                continue
            if self._is_stale(delivery):
                continue
            self._active.add(delivery)
            try:
                await self._handle(delivery, self)
            finally:
                self._active.discard(delivery)
            if self._pull.is_low(len(self._waiting) + len(self._active)):
                self._wake.set()
            since_yield += 1
            if since_yield >= _YIELD_EVERY:
                since_yield = 0
                await asyncio.sleep(0)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logger.error("channel %r: consuming stopped: %s", self.channel, error, exc_info=error)
            self._on_error(RuntimeError(f"consuming stopped: {error!r}"))

    def _is_stale(self, delivery: Delivery) -> bool:
        """Whether the server may have given it to another: it was not reported for too long."""
        reported = max(delivery.received_at, self._beat_at)
        return self._clock() - reported > self._ack_wait

    async def _keep(self) -> None:
        """Keep requests open and report progress of what is held."""
        interval = min(self._ack_wait / 3, 1.0)
        beat_every = self._ack_wait / 3
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._wake.wait()
            self._wake.clear()
            await self._catch_up()
            if self._gone is not None:
                await self._recreate()
            if self._pull.is_silent():
                _logger.warning("channel %r: no answer from the server, asking again", self.channel)
                self._pull.restart()
            if self._clock() - self._beat_at >= beat_every:
                await self._report_progress()
            if not self._closing:
                await self._pull.refill(len(self._waiting) + len(self._active))

    async def _catch_up(self) -> None:
        """Keep track of how old a message can be that is read now.

        While this process stands still, as when a handler blocks it, messages wait in its socket;
        read later, they look new but may be somebody else's by now. What the server sends before
        it answers a flush is read before the answer, and counts as arrived before the standstill.
        """
        if self._clock() - self._read_at > self._ack_wait:
            try:
                await self._connection.nc.flush(_FLUSH_SECONDS)
            except (NatsError, OSError):
                if self._connection.is_connected:
                    return  # it is asked again; what waited in a lost socket is gone
        self._read_at = self._clock()

    async def _report_progress(self) -> None:
        now = self._clock()
        if now - self._beat_at <= self._ack_wait:  # else what waits is stale already
            with suppress(NatsError):
                for delivery in [*self._active, *self._waiting]:
                    await self._connection.nc.answer(delivery.reply, _IN_PROGRESS)
        else:
            self._waiting = deque(d for d in self._waiting if not self._is_stale(d))
        self._beat_at = now

    def _reconnected(self) -> None:
        self._pull.restart()
        self._wake.set()

    def _consumer_gone(self, reason: str) -> None:
        self._gone = reason
        self._wake.set()

    def _resume_after(self) -> int | None:
        """The sequence after which a consumer created again must start; None before the first."""
        if self._last_seq is None:
            return None
        held = [delivery.seq for delivery in (*self._active, *self._waiting)]
        return min([self._last_seq, *(seq - 1 for seq in held)])

    async def _recreate(self) -> None:
        """The consumer is gone from the server, or seems to be: make sure that it is there."""
        reason, self._gone = self._gone, None
        try:
            info, created = await ensure_durable(
                self._connection,
                self._settings,
                self.channel,
                resume_after=self._resume_after(),
                wait=0,  # what is held must be reported meanwhile
            )
        except Exception as error:
            _logger.error("cannot consume channel %r: %s (%s)", self.channel, error, reason)
            self._on_error(error)
            await asyncio.sleep(_RETRY_FIRST)
            self._gone = reason
            self._wake.set()
        else:
            fresh = info.delivered is None or info.delivered.consumer_seq == 0
            if fresh:
                self._waiting.clear()  # they come again
            if created or (fresh and reason == CONSUMER_DELETED):
                _logger.warning(
                    "durable %s of channel %r was deleted; created it again where it was",
                    self._durable,
                    self.channel,
                )
            self._pull.restart()
            self._on_error(None)
