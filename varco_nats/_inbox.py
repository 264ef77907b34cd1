"""Many requests at once over one inbox subscription, each answered by token.

nats-py's request() makes a timer and a future for each; this lets a batch share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats._client import Connection


class ReplySink(Protocol):
    """Takes the replies to the requests that were sent with it."""

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None: ...


class ReplyInbox:
    """Sends messages whose replies go to a `ReplySink`, each with the index it was sent with."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = ""
        self._next = 0
        self._waiting: dict[str, tuple[ReplySink, int]] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        self._prefix = f"{self._connection.nc.new_inbox()}."
        self._subscription = await self._connection.nc.subscribe_direct(
            f"{self._prefix}*", self._on_reply
        )

    async def stop(self) -> None:
        """Take no more replies; for an inbox that its connection outlives."""
        subscription, self._subscription = self._subscription, None
        self._waiting.clear()
        if subscription is not None:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def send(
        self,
        sink: ReplySink,
        index: int,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> str:
        """Send one message; returns the token that `forget` takes."""
        self._next += 1
        token = str(self._next)
        self._waiting[token] = (sink, index)
        try:
            reply = self._prefix + token
            if headers:
                await self._connection.nc.publish_with_headers(subject, reply, headers, payload)
            else:
                await self._connection.nc.answer(subject, payload, reply)
        except BaseException:
            self._waiting.pop(token, None)
            raise
        return token

    def forget(self, token: str) -> None:
        """No longer expect a reply to `token`."""
        self._waiting.pop(token, None)

    def _on_reply(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        waiting = self._waiting.pop(subject[len(self._prefix) :], None)
        if waiting is not None:
            sink, index = waiting
            sink.reply(index, data, headers)
