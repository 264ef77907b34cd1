"""Pull requests of one durable consumer: asks for messages ahead of need, and asks again.

The window (messages held or asked for) follows the speed of the handlers, so that slow handlers
leave the rest to other processes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import clock
from varco_nats._nats.error_codes import Status

_logger = logging.getLogger("varco_nats")

CONSUMER_DELETED = "consumer deleted"
"""What the server says of a consumer that was deleted."""

_PENDING = "Nats-Pending-Messages"  # how many of a request that ended were not sent
_LONGEST = 10.0  # seconds of an epoch at most
_SILENCE = 2.5  # seconds that the end of a request may be late
_CONFLICT_PAUSE = 0.25
_NEW_LEADER = "leadership change"
_CONSUMER_GONE = (CONSUMER_DELETED, "no responders", "consumer is push based")


OnMessage = Callable[[float, str, bytes, Mapping[str, str] | None], None]


class _Epoch:
    """The pull requests of a short time, which have a subscription of their own.

    A message comes in answer to a request, so it was not delivered before the epoch in whose
    subscription it arrives began, however long it was on its way or lay unread in a socket.
    """

    __slots__ = ("asked", "began", "ends", "inbox", "requests", "subscription")

    def __init__(self, inbox: str, began: float, ends: float) -> None:
        self.inbox = inbox
        self.began = began
        self.ends = ends
        self.asked = 0  # messages still to come
        self.requests: dict[str, int] = {}  # by inbox: messages that were asked for
        self.subscription: Any = None  # nats-py's Subscription, which is untyped


class PullRequests:
    """Keeps pull requests open on one consumer.

    Args:
        on_message: called with the time before which it was not delivered, by `clock()`, the
            reply subject, payload and headers of each message.
        on_ended: called when a request ended without all its messages.
        on_gone: called when the server says that the consumer is not there any more.
        on_lost: called when the open requests are lost, as the consumer has a new leader.
        handlers: messages that are handled at once.
        smallest: messages to hold at least.
        largest: messages to hold at most.
        work_ahead: seconds of work to hold.
        epoch: seconds within which a request ends, and by which the time given to `on_message`
            is at most older than the delivery.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_message: OnMessage,
        on_ended: Callable[[], None],
        on_gone: Callable[[str], None],
        on_lost: Callable[[], None],
        handlers: int,
        smallest: int,
        largest: int,
        work_ahead: float,
        epoch: float,
    ) -> None:
        self._connection = connection
        self._on_message = on_message
        self._on_ended = on_ended
        self._on_gone = on_gone
        self._on_lost = on_lost
        self._handlers = handlers
        self._smallest = min(smallest, largest)
        self._largest = largest
        self._work_ahead = work_ahead
        self._length = min(epoch, _LONGEST)
        self._window = self._smallest
        self._api_subject = ""
        self._inbox = ""
        self._epochs: list[_Epoch] = []  # oldest first
        self._current: _Epoch | None = None
        self._asked = 0  # messages still to come
        self._next = 0
        self._consumed_at = 0.0
        self._consumed = 0
        self._late_since: float | None = None
        self._not_before = 0.0

    def start(self, stream: str, durable: str) -> None:
        self._api_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = self._connection.nc.new_inbox()
        self._consumed_at = clock()

    async def stop(self) -> None:
        """Take what was delivered already, and no more."""
        self._api_subject = ""
        epochs, self._epochs = self._epochs, []
        self.restart()
        await asyncio.gather(*map(self._drain, epochs))

    async def _drain(self, epoch: _Epoch) -> None:
        try:
            if self._connection.is_connected:
                await epoch.subscription.drain()
            else:
                await epoch.subscription.unsubscribe()
        except NatsError as error:
            _logger.debug("pull subscription ended with %s", error)

    def restart(self) -> None:
        """The open requests are lost, as after a reconnect."""
        for epoch in self._epochs:
            epoch.requests.clear()
            epoch.asked = 0
        self._current = None
        self._asked = 0
        self._late_since = None
        self._not_before = clock() + _CONFLICT_PAUSE

    @property
    def paused_for(self) -> float:
        """Seconds before it may ask again; 0 if it may now."""
        return max(self._not_before - clock(), 0.0)

    def is_low(self, held: int) -> bool:
        """Whether `held` and what is asked for have fallen to half of the window.

        Or leave a handler idle.
        """
        return held + self._asked <= max(self._window // 2, self._handlers - 1)

    async def refill(self, held: int) -> None:
        """Ask for more if it is low."""
        now = clock()
        await self._retire(now)
        if not self.is_low(held) or self.paused_for or not self._api_subject:
            return
        if not self._connection.is_connected:  # it would be sent late, to an inbox of then
            return
        self._adapt(now)
        batch = self._window - held - self._asked
        if batch <= 0:
            return
        try:
            epoch = await self._epoch(now)
            self._next += 1
            inbox = f"{epoch.inbox}.{self._next}"
            epoch.requests[inbox] = batch
            epoch.asked += batch
            self._asked += batch
            request = {"batch": batch, "expires": int((epoch.ends - now) * 1e9)}
            await self._connection.nc.publish(
                self._api_subject, json.dumps(request).encode(), reply=inbox
            )
        except NatsError as error:  # asked again when the silence is noticed
            _logger.debug("pull request failed: %s", error)

    async def _epoch(self, now: float) -> _Epoch:
        """The epoch that a request of now belongs to."""
        current = self._current
        if current is None or current.ends - now < self._length / 4:
            self._next += 1
            inbox = f"{self._inbox}.{self._next}"
            current = _Epoch(inbox, now, now + self._length)
            current.subscription = await self._connection.nc.subscribe_direct(
                f"{inbox}.*", partial(self._receive, current)
            )
            self._epochs.append(current)
            self._current = current
        return current

    async def _retire(self, now: float) -> None:
        """End the subscriptions of epochs whose requests have ended."""
        while self._epochs and now > self._epochs[0].ends + self._length:
            epoch = self._epochs[0]
            if epoch.asked or epoch is self._current:
                return
            del self._epochs[0]
            with suppress(NatsError):
                await epoch.subscription.unsubscribe()

    def is_silent(self) -> bool:
        """Whether a request did not end when it should have, also when asked again later."""
        if not self._connection.is_connected:
            return False
        now = clock()
        if not any(epoch.asked and now > epoch.ends for epoch in self._epochs):
            self._late_since = None
        elif self._late_since is None:  # this process may have stood still, the end be unread
            self._late_since = now
        return self._late_since is not None and now - self._late_since > _SILENCE

    def _adapt(self, now: float) -> None:
        elapsed = max(now - self._consumed_at, 1e-6)
        target = int(self._consumed / elapsed * self._work_ahead)
        self._window = max(self._smallest, min(self._largest, 2 * self._window, target))
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
            self._on_message(epoch.began, reply, data, headers)
        elif headers:
            self._status(epoch, subject, headers)

    def _count_down(self, epoch: _Epoch, messages: int) -> None:
        """So many that were asked for came, or will not; of which request, a message does not say.

        The server serves all requests in turn, so that a later one may be served first.
        """
        messages = min(messages, epoch.asked)
        epoch.asked -= messages
        self._asked -= messages

    def _status(self, epoch: _Epoch, inbox: str, headers: Mapping[str, str]) -> None:
        status, description = headers.get("Status"), headers.get("Description", "").lower()
        if status == Status.HEARTBEAT:
            return
        asked = epoch.requests.pop(inbox, 0)
        self._count_down(epoch, min(asked, int(headers.get(_PENDING, asked))))
        if status == Status.NO_RESPONDERS or any(word in description for word in _CONSUMER_GONE):
            self._on_gone(description or "no responders")
            return
        if status == Status.CONFLICT:  # the server is changing its leader, or is asked too often
            self._not_before = clock() + _CONFLICT_PAUSE
            if asked and description == _NEW_LEADER:
                self._on_lost()
        self._on_ended()
