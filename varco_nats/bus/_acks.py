"""Acknowledgements that the server confirms, many of them open at once.

A confirmation says that the server took the ack, not that the message was still this process's:
it also confirms acks of messages that other processes hold by then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import NatsClient
from varco_nats._nats.delivery import MessageDelivery, clock
from varco_nats._nats.nats_py import subscription_id

ACK, NAK = b"", b"-NAK"
_MAX_OPEN = 256  # acks that are open, or messages that are acknowledged before their handlers run
_NEWEST_HANDLING, _NEWEST_WAITING = 1 / 64, 1 / 16  # weight of the newest value in a mean


@dataclass(slots=True, eq=False)
class OpenAck:
    """One acknowledgement."""

    delivery: MessageDelivery
    index: int
    """Its number among the acks of its consumer."""
    confirmed: bool | None = None
    """Whether the server confirmed it; None while that is not known."""
    sent_at: float = 0.0
    """When it was last sent, by `clock()`."""
    attempts: int = 0
    """How often it was sent."""
    settled: asyncio.Event | None = None
    """Set when `confirmed` is known, where somebody waits for that."""

    async def wait(self) -> bool:
        """Wait until it is confirmed or given up; whether it is confirmed."""
        if self.confirmed is None:
            self.settled = asyncio.Event()
            await self.settled.wait()
        return bool(self.confirmed)


@dataclass(slots=True)
class ConfirmedAcks:
    """Sends acks in order and reports what becomes of each."""

    nc: NatsClient
    on_settled: Callable[[MessageDelivery, bool], None]
    """Called with each message and whether its ack was confirmed."""
    timeout: float
    """Seconds to wait for a confirmation before the ack is sent again, or given up."""
    attempts: int
    """How often an ack is sent."""
    counts: Callable[[MessageDelivery], bool] | None
    """Says whether a confirmation that arrives now counts; None lets all count."""
    _open: dict[int, OpenAck] = field(default_factory=dict)  # in the order in which they were sent
    _next: int = 0
    _fewer: asyncio.Event = field(default_factory=asyncio.Event)
    _inbox: str = ""
    _confirmation: re.Pattern[bytes] = re.compile(b"")
    _subscription: Subscription | None = None

    async def start(self) -> None:
        inbox = f"{self.nc.new_inbox()}."
        self._subscription = await self.nc.subscribe_direct(f"{inbox}*", self._receive, self._take)
        sid = subscription_id(self._subscription)
        self._confirmation = re.compile(
            rb"MSG %b(\d+) %d 0\r\n\r\n" % (re.escape(inbox.encode()), sid)
        )
        self._inbox = inbox

    @property
    def is_waiting(self) -> bool:
        """Whether an ack is not confirmed yet."""
        return bool(self._open)

    async def send(self, delivery: MessageDelivery) -> OpenAck:
        """Acknowledge a message, after waiting while too many acks are open."""
        while len(self._open) >= _MAX_OPEN:
            await self._wait_for_fewer()
        self._next += 1
        ack = OpenAck(delivery, self._next)
        await self._send(ack)
        return ack

    async def _send(self, ack: OpenAck) -> None:
        ack.sent_at = clock()
        ack.attempts += 1
        self._open[ack.index] = ack
        try:
            await self.nc.answer(ack.delivery.reply, ACK, f"{self._inbox}{ack.index}")
        except NatsError as error:  # it is sent again, as if it was lost on its way
            _logger.debug("an ack could not be sent: %s", error)

    def _take(self, data: bytes, start: int) -> tuple[int, int, int]:
        """Take the confirmations that stand one after another from `start` on; see `TakeRun`."""
        count = 0
        match = self._confirmation.match
        while (found := match(data, start)) is not None:
            self._confirmed(int(found[1]))
            start = found.end()
            count += 1
        return start, count, 0

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        if not headers:  # with headers, the server says that nobody received it
            self._confirmed(int(subject[len(self._inbox) :]))

    def _confirmed(self, index: int) -> None:
        ack = self._open.pop(index, None)
        if ack is not None:
            self._settle(ack, self.counts is None or self.counts(ack.delivery))

    async def ask_again(self, *, all_lost: bool = False) -> None:
        """Send the acks again that were not confirmed in time, or give them up.

        Args:
            all_lost: no confirmation can arrive any more, as after a reconnect; the attempts that
                were lost by that do not count.
        """
        overdue = clock() - self.timeout
        for index, ack in list(self._open.items()):
            if ack.sent_at > overdue and not all_lost:
                return
            if self._open.pop(index, None) is None:
                continue  # it was confirmed meanwhile
            if ack.attempts < self.attempts or (all_lost and self.attempts > 1):
                ack.attempts -= all_lost
                await self._send(ack)
            else:
                self._settle(ack, False)

    async def stop(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the open acks, and give up the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._open:
                    await self._wait_for_fewer()
        for ack in self._open.values():
            self._settle(ack, False)
        self._open.clear()
        if self._subscription is not None:
            with suppress(NatsError):
                await self._subscription.unsubscribe()

    def _settle(self, ack: OpenAck, confirmed: bool) -> None:
        ack.confirmed = confirmed
        if ack.settled is not None:
            ack.settled.set()
        self._fewer.set()
        self.on_settled(ack.delivery, confirmed)

    async def _wait_for_fewer(self) -> None:
        self._fewer.clear()
        await self._fewer.wait()


@dataclass(slots=True)
class RunAhead:
    """How many messages to acknowledge before their handlers run: one round trip's worth."""

    handlers: int
    """How many run side by side."""
    _handling: float = 0.0  # seconds of one message, on average
    _waiting: float = 0.0  # seconds of a round trip in which no handler runs, on average
    _spent: float = 0.0  # seconds of all handlers so far
    _probe: OpenAck | None = None
    _spent_before: float = 0.0

    @property
    def count(self) -> int:
        """How many whole messages can be handled while a confirmation is on its way."""
        if not self._handling:
            return 0
        return min(_MAX_OPEN, int(self.handlers * self._waiting / self._handling))

    def handled(self, seconds: float) -> None:
        """Note that a message was handled in `seconds`."""
        self._spent += seconds
        self._handling += (seconds - self._handling) * _NEWEST_HANDLING

    def sent(self, ack: OpenAck) -> None:
        """Note that an ack was sent; one at a time is measured."""
        if self._probe is None:
            self._probe, self._spent_before = ack, self._spent

    def settled(self, ack: OpenAck) -> None:
        """Note that an ack was given up, or confirmed, so that its handler is about to run."""
        if ack is self._probe:
            self._probe = None
            if not ack.confirmed:  # the time that it took says nothing about a round trip
                return
            handling = (self._spent - self._spent_before) / self.handlers
            waiting = max(clock() - ack.sent_at - handling, 0.0)
            self._waiting += (waiting - self._waiting) * _NEWEST_WAITING
