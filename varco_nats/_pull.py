"""Pull requests of one durable consumer: asks for messages ahead of need, and asks again.

The window (messages held or asked for) follows the speed of the handlers: about half a second
of work, so that slow handlers leave the rest to other processes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from nats.errors import Error as NatsError

from varco_nats._client import Connection

_logger = logging.getLogger("varco_nats")

CONSUMER_DELETED = "consumer deleted"
"""What the server says of a consumer that was deleted."""

_EXPIRES = 30.0
_HEARTBEAT = 5.0
_WORK_AHEAD = 0.5
_CONFLICT_PAUSE = 0.25
_CONSUMER_GONE = (CONSUMER_DELETED, "no responders", "consumer is push based")


OnMessage = Callable[[str, bytes, Mapping[str, str] | None], None]


class PullRequests:
    """Keeps pull requests open on one consumer.

    Args:
        on_message: called with the reply subject, payload and headers of each message.
        on_ended: called when a request ended without all its messages.
        on_gone: called when the server says that the consumer is not there any more.
        smallest: messages to hold at least.
        largest: messages to hold at most.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_message: OnMessage,
        on_ended: Callable[[], None],
        on_gone: Callable[[str], None],
        smallest: int,
        largest: int,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._on_message = on_message
        self._on_ended = on_ended
        self._on_gone = on_gone
        self._smallest = min(smallest, largest)
        self._largest = largest
        self._clock = clock
        self._window = self._smallest
        self._api_subject = ""
        self._inbox = ""
        self._subscription: Any = None  # nats-py's Subscription, which is untyped
        self._open: dict[str, int] = {}  # inbox of a pull request: messages still to come
        self._asked = 0  # their sum
        self._next = 0
        self._consumed_at = 0.0
        self._consumed = 0
        self._heard_at = 0.0
        self._not_before = 0.0

    async def start(self, stream: str, durable: str) -> None:
        self._api_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = self._connection.nc.new_inbox()
        self._subscription = await self._connection.nc.subscribe_direct(
            f"{self._inbox}.*", self._receive
        )
        self._consumed_at = self._heard_at = self._clock()

    async def stop(self) -> None:
        """Ask for no more; every message the server sent has been given to `on_message`."""
        self._forget()
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        try:
            if self._connection.is_connected:
                await subscription.drain()
            else:
                await subscription.unsubscribe()
        except NatsError as error:
            _logger.debug("pull subscription ended with %s", error)

    def restart(self) -> None:
        """The open requests are lost, as after a reconnect."""
        self._forget()
        self._heard_at = self._clock()

    def _forget(self) -> None:
        self._open.clear()
        self._asked = 0

    def is_low(self, held: int) -> bool:
        """Whether `held` and what is asked for have fallen to half of the window."""
        return held + self._asked <= self._window // 2

    async def refill(self, held: int) -> None:
        """Ask for more if it is low."""
        if self._subscription is None or not self.is_low(held) or self._clock() < self._not_before:
            return
        self._adapt()
        batch = self._window - held - self._asked
        if batch <= 0:
            return
        self._next += 1
        inbox = f"{self._inbox}.{self._next}"
        self._open[inbox] = batch
        self._asked += batch
        request = {
            "batch": batch,
            "expires": int(_EXPIRES * 1e9),
            "idle_heartbeat": int(_HEARTBEAT * 1e9),
        }
        try:
            await self._connection.nc.publish(
                self._api_subject, json.dumps(request).encode(), reply=inbox
            )
        except NatsError as error:  # asked again when the silence is noticed
            _logger.debug("pull request failed: %s", error)

    def is_silent(self) -> bool:
        """Whether neither messages nor heartbeats came for too long."""
        return bool(self._open) and self._clock() - self._heard_at > 2.5 * _HEARTBEAT

    def _adapt(self) -> None:
        now = self._clock()
        elapsed = max(now - self._consumed_at, 1e-6)
        target = int(self._consumed / elapsed * _WORK_AHEAD)
        self._window = max(self._smallest, min(self._largest, 2 * self._window, target))
        self._consumed_at, self._consumed = now, 0

    def _receive(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        self._heard_at = self._clock()
        if reply.startswith("$JS.ACK."):
            self._consumed += 1
            self._count_down()
            self._on_message(reply, data, headers)
        elif headers:
            self._status(subject, headers)

    def _count_down(self) -> None:
        for inbox, remaining in self._open.items():  # requests are served in order
            self._asked -= 1
            if remaining > 1:
                self._open[inbox] = remaining - 1
            else:
                del self._open[inbox]
            return

    def _status(self, inbox: str, headers: Mapping[str, str]) -> None:
        status, description = headers.get("Status"), headers.get("Description", "").lower()
        if status == "100":
            return
        self._asked -= self._open.pop(inbox, 0)
        if status == "503" or any(word in description for word in _CONSUMER_GONE):
            self._on_gone(description or "no responders")
            return
        if status == "409":  # the server is changing its leader, or is asked too often
            self._not_before = self._clock() + _CONFLICT_PAUSE
        self._on_ended()
