"""Pull requests of one durable consumer, which ask for messages before they are needed.

The window (messages held or asked for) follows the speed of the handlers, so that slow handlers
leave the rest to other processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nats.errors import Error as NatsError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import clock
from varco_nats._nats.error_codes import Status

CONSUMER_DELETED = "consumer deleted"
"""The description with which the server ends the requests to a deleted consumer."""

_PENDING = "Nats-Pending-Messages"  # how many messages of an ended request were not sent
_LONGEST, _LONGEST_QUIET = 10.0, 20.0  # seconds that an epoch takes at most
_SILENCE = 2.5  # seconds that the end of a request may be late
_CONFLICT_PAUSE = 0.25
_NEW_LEADER = "leadership change"
_CONSUMER_GONE = (CONSUMER_DELETED, "no responders", "consumer is push based")


OnMessage = Callable[[float, str, bytes, Mapping[str, str] | None], None]


@dataclass(slots=True, eq=False)
class _Epoch:
    """The pull requests of a short time, which have a subscription of their own.

    When the server has ended all of them, the next ones form a new epoch in the same subscription.

    A message answers a request. It was therefore not delivered before the epoch began in whose
    subscription it arrives, however long it was on its way or lay unread in a socket.
    """

    inbox: str
    began: float
    ends: float
    expected: int = 0
    """Messages that were asked for and did not arrive yet."""
    requests: dict[str, int] = field(default_factory=dict)
    """How many messages were asked for, by inbox."""
    subscription: Any = None  # nats-py's Subscription, which is untyped


@dataclass(slots=True, kw_only=True)
class PullRequests:
    """Keeps pull requests open on one consumer."""

    connection: Connection
    on_message: OnMessage
    """Called with each message: the time before which it was not delivered, by `clock()`, its reply
    subject, payload and headers."""
    on_ended: Callable[[], None]
    """Called when a request ended without all its messages."""
    on_gone: Callable[[str], None]
    """Called when the server says that the consumer is not there any more."""
    on_lost: Callable[[], None]
    """Called when the open requests are lost because the consumer has a new leader."""
    handlers: int
    """Messages that are handled at once."""
    smallest: int
    """How many messages to hold at least."""
    largest: int
    """How many messages to hold at most."""
    work_ahead: float
    """Seconds of work to hold."""
    epoch_seconds: float
    """Within which a request ends; the time given to `on_message` precedes the delivery by at most
    as much."""
    quiet_seconds: float
    """The same for a request that follows one without messages, at a server that says of each
    request that it is lost; in a cluster, or through a leaf node, it may not."""
    _window: int = field(init=False)
    _api_subject: str = ""
    _inbox: str = ""
    _epochs: list[_Epoch] = field(default_factory=list)  # oldest first
    _current: _Epoch | None = None
    _expected: int = 0  # messages that were asked for and did not arrive yet
    _next: int = 0
    _consumed_at: float = 0.0
    _consumed: int = 0
    _late_since: float | None = None
    _not_before: float = 0.0

    def __post_init__(self) -> None:
        self.smallest = self._window = min(self.smallest, self.largest)
        self.epoch_seconds = min(self.epoch_seconds, _LONGEST)
        self.quiet_seconds = min(self.quiet_seconds, _LONGEST_QUIET)

    def start(self, stream: str, durable: str) -> None:
        self._api_subject = f"{self.connection.api}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = self.connection.nc.new_inbox()
        self._consumed_at = clock()

    async def stop(self) -> None:
        """Take what the server has already delivered, and ask for no more."""
        self._api_subject = ""
        epochs, self._epochs = self._epochs, []
        self.restart()
        await asyncio.gather(*map(self._drain, epochs))

    async def _drain(self, epoch: _Epoch) -> None:
        try:
            if self.connection.is_connected:
                await epoch.subscription.drain()
            else:
                await epoch.subscription.unsubscribe()
        except NatsError as error:
            _logger.debug("pull subscription ended with %s", error)

    def restart(self) -> None:
        """Forget the open requests, which are lost, as after a reconnect."""
        for epoch in self._epochs:
            epoch.requests.clear()
            epoch.expected = 0
        self._current = None
        self._expected = 0
        self._late_since = None
        self._not_before = clock() + _CONFLICT_PAUSE

    @property
    def paused_for(self) -> float:
        """Seconds to wait before the next request."""
        return max(self._not_before - clock(), 0.0)

    def is_low(self, held: int) -> bool:
        """Whether what is held and asked for is at most half of the window, or too little for the
        handlers."""
        return held + self._expected <= max(self._window // 2, self.handlers - 1)

    async def refill(self, held: int) -> None:
        """Ask for more messages if `is_low`."""
        now = clock()
        await self._retire(now)
        if not self.is_low(held) or self.paused_for or not self._api_subject:
            return
        if not self.connection.is_connected:  # the request would be sent too late
            return
        self._adapt(now)
        batch = self._window - held - self._expected
        if batch <= 0:
            return
        try:
            epoch = await self._epoch(now)
            await self.connection.nc.send(self._request(epoch, batch, now))
        except NatsError as error:  # it is repeated when the silence is noticed
            _logger.debug("pull request failed: %s", error)

    def renew(self) -> bool:
        """Ask again where nothing arrived, as `refill` does where no message is held.

        Returns:
            False if that has to be left to `refill`.
        """
        current = self._current
        if current is None or current.requests or len(self._epochs) > 1 or self.paused_for:
            return False
        if not self._api_subject or not self.connection.is_connected:
            return False
        now = clock()
        quiet = not self._consumed and not self.connection.is_clustered
        self._adapt(now)
        self._begin_anew(current, now, self.quiet_seconds if quiet else self.epoch_seconds)
        self.connection.nc.send_soon(self._request(current, self._window, now))
        return True

    def _request(self, epoch: _Epoch, batch: int, now: float) -> bytes:
        """The command that asks for `batch` messages."""
        self._next += 1
        inbox = f"{epoch.inbox}.{self._next}"
        epoch.requests[inbox] = batch
        epoch.expected += batch
        self._expected += batch
        request = b'{"batch":%d,"expires":%d}' % (batch, (epoch.ends - now) * 1e9)
        to = f"{self._api_subject} {inbox}".encode()
        return b"PUB %b %d\r\n%b\r\n" % (to, len(request), request)

    async def _epoch(self, now: float) -> _Epoch:
        """The epoch that a request at the time `now` belongs to."""
        current = self._current
        if current is not None and not current.requests:
            self._begin_anew(current, now, self.epoch_seconds)
        elif (
            current is None
            or current.ends - now < self.epoch_seconds / 4
            or now - current.began > self.epoch_seconds
        ):
            self._next += 1
            inbox = f"{self._inbox}.{self._next}"
            current = _Epoch(inbox, now, _end(now, self.epoch_seconds))
            current.subscription = await self.connection.nc.subscribe_direct(
                f"{inbox}.*", partial(self._receive, current)
            )
            self._epochs.append(current)
            self._current = current
        return current

    def _begin_anew(self, epoch: _Epoch, now: float, seconds: float) -> None:
        """Make an epoch without open requests a new one, in the subscription that it has.

        The server has said of each of its requests that it ended, so that what arrives from now on
        answers a later one.
        """
        self._count_down(epoch, epoch.expected)
        epoch.began, epoch.ends = now, _end(now, seconds)

    async def _retire(self, now: float) -> None:
        """End the subscriptions of epochs whose requests have ended."""
        while self._epochs and now > self._epochs[0].ends + self.epoch_seconds:
            epoch = self._epochs[0]
            if epoch.expected or epoch is self._current:
                return
            del self._epochs[0]
            with suppress(NatsError):
                await epoch.subscription.unsubscribe()

    @property
    def due_at(self) -> float:
        """The time, by `clock()`, when the first request ends; 0 if nothing is asked for."""
        return self._epochs[0].ends if self._expected else 0.0

    def is_silent(self) -> bool:
        """Whether a request has not ended although it should have ended a while ago."""
        if not self.connection.is_connected:
            return False
        now = clock()
        if not any(epoch.expected and now > epoch.ends for epoch in self._epochs):
            self._late_since = None
        elif self._late_since is None:  # this process may have stood still and not read the end yet
            self._late_since = now
        return self._late_since is not None and now - self._late_since > _SILENCE

    def _adapt(self, now: float) -> None:
        elapsed = max(now - self._consumed_at, 1e-6)
        target = int(self._consumed / elapsed * self.work_ahead)
        self._window = max(self.smallest, min(self.largest, 2 * self._window, target))
        self._consumed_at, self._consumed = now, 0

    def _receive(
        self,
        epoch: _Epoch,
        subject: str,
        reply: str,
        data: bytes,
        headers: Mapping[str, str] | None,
    ) -> None:
        if reply.startswith("$JS.ACK."):
            self._consumed += 1
            self._count_down(epoch, 1)
            self.on_message(epoch.began, reply, data, headers)
        elif headers:
            self._status(epoch, subject, headers)

    def _count_down(self, epoch: _Epoch, messages: int) -> None:
        """Expect fewer messages, as they arrived or will not be sent.

        A message does not say which request it answers: the server serves all requests in turn, so
        that a later request may be served first.
        """
        messages = min(messages, epoch.expected)
        epoch.expected -= messages
        self._expected -= messages

    def _status(self, epoch: _Epoch, inbox: str, headers: Mapping[str, str]) -> None:
        status, description = headers.get("Status"), headers.get("Description", "").lower()
        if status == Status.HEARTBEAT:
            return
        wanted = epoch.requests.pop(inbox, 0)
        self._count_down(epoch, min(wanted, int(headers.get(_PENDING, wanted))))
        if status == Status.NO_RESPONDERS or any(word in description for word in _CONSUMER_GONE):
            self.on_gone(description or "no responders")
            return
        if status == Status.CONFLICT:  # the server is changing its leader, or is asked too often
            self._not_before = clock() + _CONFLICT_PAUSE
            if wanted and description == _NEW_LEADER:
                self.on_lost()
        self.on_ended()


def _end(now: float, seconds: float) -> float:
    """When an epoch of `seconds` that begins now ends: together with others, so that one wake-up
    does."""
    step = seconds / 8
    return (now + seconds) // step * step
