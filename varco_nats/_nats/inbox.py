"""Many requests at once over one inbox subscription, each known by a token in its reply subject.

nats-py's request() makes a timer and a future for each request; here a batch shares them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats._nats.nats_py import subscription_id
from varco_nats._nats.puback import PubAck, plain_pubacks, plain_successes

_new = tuple.__new__  # takes half of the time of a NamedTuple's own
_AROUND_STREAM = len('{"stream":"') - len("\r\n")


class ReplySink(Protocol):
    """Takes the replies to the requests that were sent with it."""

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None: ...


class BatchSink(ReplySink, Protocol):
    """Takes the replies to a batch of messages that a stream is to store."""

    def stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        """Take many PubAcks at once that have only stream and sequence, in place of `reply`."""


class RequestSink(ReplySink, Protocol):
    """Takes the replies to a batch of requests to the JetStream API."""

    def succeeded(self, indices: Sequence[int]) -> None:
        """Take many replies at once that only say so, in place of `reply`."""


class ReplyInbox:
    """Sends messages and gives each reply to a `ReplySink`, with the index of its message."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.on_refused = connection.nc.on_refused  # as no reply says that
        self.domain = connection.domain
        """The JetStream domain that PubAcks have to be from; None is any."""
        self._prefix = ""
        self._next = 0
        self._waiting: dict[str, tuple[ReplySink, int]] = {}
        self._batches: dict[bytes, BatchSink] = {}
        self._requests: dict[bytes, RequestSink] = {}
        self._pubacks = self._successes = re.compile(b"")
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        self._prefix = f"{self._connection.nc.new_inbox()}."
        subscription = await self._connection.nc.subscribe_direct(
            f"{self._prefix}*", self._on_reply, self._take_run
        )
        sid = subscription_id(subscription)
        self._pubacks = plain_pubacks(self._prefix, sid, self.domain)
        self._successes = plain_successes(self._prefix, sid)
        self._subscription = subscription

    async def stop(self) -> None:
        """Take no more replies; only needed where the connection stays open."""
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

    @contextmanager
    def batch(self, sink: BatchSink) -> Iterator[bytes]:
        """Take the replies to a batch; gives their reply subject without the index at its end."""
        with self._taken(self._batches, sink) as reply:
            yield reply

    @contextmanager
    def requests(self, sink: RequestSink) -> Iterator[bytes]:
        """The same for requests to the JetStream API."""
        with self._taken(self._requests, sink) as reply:
            yield reply

    @contextmanager
    def _taken[Sink](self, sinks: dict[bytes, Sink], sink: Sink) -> Iterator[bytes]:
        self._next += 1
        token = b"%d" % self._next
        sinks[token] = sink
        try:
            yield b"%b%b-" % (self._prefix.encode(), token)
        finally:
            del sinks[token]

    def _on_reply(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        token = subject[len(self._prefix) :]
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            sink, index = waiting
            sink.reply(index, data, headers)
            return
        token, dash, number = token.partition("-")
        key = token.encode()
        if dash and (batch := self._batches.get(key) or self._requests.get(key)) is not None:
            batch.reply(int(number), data, headers)

    def _take_run(self, data: bytes, start: int) -> tuple[int, int, int]:
        """Take the plain answers that stand one after another from `start` on; see `TakeRun`."""
        return (
            self._take_successes(data, start) if self._requests else self._take_pubacks(data, start)
        )

    def _take_successes(self, data: bytes, start: int) -> tuple[int, int, int]:
        size = 0
        found: dict[bytes, list[int]] = {}
        match = self._successes.match
        while (answer := match(data, start)) is not None:
            token, index, length, text = answer.groups()
            if int(length) != len(text):
                break
            found.setdefault(token, []).append(int(index))
            start = answer.end()
            size += len(text)
        for token, indices in found.items():
            if (sink := self._requests.get(token)) is not None:
                sink.succeeded(indices)
        return start, sum(map(len, found.values())), size

    def _take_pubacks(self, data: bytes, start: int) -> tuple[int, int, int]:
        count = size = 0
        token, acks = b"", list[tuple[int, PubAck]]()
        match = self._pubacks.match
        while (found := match(data, start)) is not None:
            batch, index, length, stream, seq = found.groups()
            end, length = found.end(), int(length)
            if length != end - found.start(4) + _AROUND_STREAM:
                break  # the message does not end where the match does
            if batch != token:
                self._hand_over(token, acks)
                token, acks = batch, []
            ack = _new(PubAck, (stream.decode(), int(seq), False))
            acks.append((int(index), ack))
            start = end
            count += 1
            size += length
        self._hand_over(token, acks)
        return start, count, size

    def _hand_over(self, token: bytes, acks: Sequence[tuple[int, PubAck]]) -> None:
        batch = self._batches.get(token)
        if batch is not None:
            batch.stored(acks)


async def until_quiet(done: asyncio.Event, arrived: Callable[[], int], timeout: float) -> None:
    """Wait until `done` is set, or until `arrived()` has not changed for `timeout` seconds."""
    before = -1
    while not done.is_set() and arrived() != before:
        before = arrived()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await done.wait()
