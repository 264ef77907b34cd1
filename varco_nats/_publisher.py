"""Publishing to JetStream: pipelined, with PubAcks over one inbox, retrying what is safe."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from nats.errors import ConnectionClosedError, OutboundBufferLimitError

from varco_nats._client import Connection
from varco_nats._inbox import ReplyInbox
from varco_nats._provenance import REPLAY_OF
from varco_nats.errors import (
    PayloadTooLargeError,
    PublishError,
    PublishFailure,
    PublishManyError,
)
from varco_nats.observe import DeliveryKind, Identity, Observers

_SENT = DeliveryKind.SENT
_MAX_IN_FLIGHT = 4000
_MAX_IN_FLIGHT_BYTES = 8 * 1024 * 1024
_RETRY_DELAY = 0.1
_PLAIN_PUBACK = re.compile(rb'\{"stream":"([^"\\]+)", *"seq":(\d+)\}')
_TEMPORARILY_UNAVAILABLE = 10008  # no leader just now; nothing was stored
_IN_PROCESS = 10158  # the cluster has not agreed on an earlier attempt, and may never do


class PubAck(NamedTuple):
    """The server's word that a message is stored.

    Attributes:
        stream: the stream it is in.
        seq: its sequence there; of the first copy, if it is a duplicate.
        duplicate: True if it was not stored again, its message id being known.
    """

    stream: str
    seq: int
    duplicate: bool = False


@dataclass(slots=True)
class OutgoingMessage:
    """One message on its way to the stream."""

    channel: str
    subject: str
    payload: bytes
    headers: dict[str, str] | None = None
    identity: Identity = (None, None)
    """The event that the payload was made of, for observers."""
    duplicate_at: float | None = None
    """When its PubAck said that it is a duplicate, in seconds since the epoch."""
    unclear: bool = False
    """Whether an attempt that brought no PubAck may have stored it."""


class Refusal(NamedTuple):
    """The server's word that a message is not stored, or that nothing is known of it."""

    reason: str
    retry: bool
    """Whether sending it again can help."""
    unclear: bool = False
    """Whether it may be stored all the same."""


class _Batch:
    """The messages of one attempt, and what came back for each."""

    def __init__(self, messages: Sequence[OutgoingMessage], observers: Observers) -> None:
        size = len(messages)
        self.messages = messages
        self._observers = observers
        self.results: list[PubAck | Refusal | None] = [None] * size
        self.tokens: list[str] = [""] * size
        self.sizes: list[int] = [0] * size
        self.in_flight = 0
        self.bytes_in_flight = 0
        self._progress: asyncio.Future[None] | None = None
        self._wake_at = 0

    def sending(self, index: int, size: int) -> None:
        """Count one as in flight; before it is sent, as its reply may overtake the call."""
        self.sizes[index] = size
        self.in_flight += 1
        self.bytes_in_flight += size

    def unsent(self, index: int, reason: str) -> None:
        self.results[index] = Refusal(reason, retry=True)
        self.in_flight -= 1
        self.bytes_in_flight -= self.sizes[index]

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        result = self.results[index] = parse_puback(data, headers)
        if type(result) is PubAck:
            if result.duplicate:
                self.messages[index].duplicate_at = time.time()
            elif self._observers.all:
                message = self.messages[index]
                kind = DeliveryKind.PUBLISHED
                if message.headers is not None and REPLAY_OF in message.headers:
                    kind = DeliveryKind.REPLAYED
                self._observers.notify(kind, message.channel, message.identity, result.seq)
        self.in_flight -= 1
        self.bytes_in_flight -= self.sizes[index]
        if (
            self._progress is not None
            and self.in_flight <= self._wake_at
            and not self._progress.done()
        ):
            self._progress.set_result(None)

    @property
    def is_full(self) -> bool:
        return self.in_flight >= _MAX_IN_FLIGHT or self.bytes_in_flight >= _MAX_IN_FLIGHT_BYTES

    async def wait(self, wake_at: int, timeout: float) -> None:
        """Wait until at most `wake_at` are in flight.

        Raises:
            TimeoutError: for `timeout` seconds no reply came at all.
        """
        while self.in_flight > wake_at:
            before = self.in_flight
            self._wake_at = wake_at
            self._progress = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._progress
            except TimeoutError:
                if self.in_flight == before:
                    raise
            finally:
                self._progress = None


def parse_puback(data: bytes, headers: Mapping[str, str] | None) -> PubAck | Refusal:
    """What the server answered to one message."""
    plain = _PLAIN_PUBACK.fullmatch(data)  # nearly all; a third of the time of json.loads
    if plain is not None:
        return PubAck(plain[1].decode(), int(plain[2]))
    if headers and headers.get("Status") == "503":
        return Refusal("no stream captures its subject, or JetStream is not available", retry=True)
    try:
        reply = json.loads(data)
        error = reply.get("error")
        if error is None:
            return PubAck(reply["stream"], reply["seq"], reply.get("duplicate", False))
    except (ValueError, KeyError, AttributeError):
        reason = "the answer is no PubAck: another service answers on its subject"
        return Refusal(reason, retry=False, unclear=True)
    code = error.get("err_code")
    reason = f"{error.get('description')} (error code {code})"
    undecided = code == _IN_PROCESS
    return Refusal(reason, undecided or code == _TEMPORARILY_UNAVAILABLE, unclear=undecided)


class Publisher:
    """Publishes messages over one connection.

    Args:
        retry_timeouts: whether a message may be sent again when no PubAck came. It may have been
            stored, so that without a message id the second copy is stored too.
        observers: told of each attempt and of each message that was stored, but not of duplicates:
            whether a message is one only the bus can say.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float,
        attempts: int,
        retry_timeouts: bool,
        observers: Observers | None = None,
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._attempts = attempts
        self._retry_timeouts = retry_timeouts
        self._observers = observers or Observers()
        self._inbox = ReplyInbox(connection)
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        await self._inbox.start()

    async def drain(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for what is being published."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()

    async def publish(self, message: OutgoingMessage) -> PubAck:
        """Publish one message and wait for its PubAck.

        Raises:
            PayloadTooLargeError: it is larger than the server takes; it was not sent.
            PublishError: it is not known to be stored.
        """
        result = (await self._publish([message]))[0]
        if isinstance(result, PubAck):
            return result
        raise result

    async def publish_many(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        """Publish in order, pipelined; a retried message may come after later ones.

        Raises:
            PayloadTooLargeError: one is larger than the server takes; nothing was sent.
            PublishManyError: some are not known to be stored.
        """
        results = await self._publish(messages)
        failures = [
            PublishFailure(index, result)
            for index, result in enumerate(results)
            if isinstance(result, PublishError)
        ]
        if failures:
            raise PublishManyError(failures, stored=len(results) - len(failures))
        return [result for result in results if isinstance(result, PubAck)]

    async def _publish(self, messages: Sequence[OutgoingMessage]) -> list[PubAck | PublishError]:
        limit = self._connection.max_payload
        for message in messages:
            if len(message.payload) > limit:
                raise PayloadTooLargeError(message.channel, len(message.payload), limit)
        results: list[PubAck | PublishError] = []
        pending = list(range(len(messages)))
        for attempt in range(1, self._attempts + 1):
            batch = await self._attempt([messages[index] for index in pending], attempt)
            if attempt == 1 and all(type(result) is PubAck for result in batch.results):
                return batch.results  # type: ignore[return-value]
            if not results:
                results = [PublishError("", 0, "")] * len(messages)
            again = []
            for index, result in zip(pending, batch.results, strict=True):
                if isinstance(result, PubAck):
                    results[index] = result
                    continue
                assert result is not None  # _attempt gives each a result
                error = PublishError(messages[index].channel, attempt, result.reason)
                results[index] = error
                if self._observers.all:
                    self._observers.notify(
                        DeliveryKind.UNCONFIRMED,
                        messages[index].channel,
                        messages[index].identity,
                        error=error,
                        attempt=attempt,
                    )
                messages[index].unclear |= result.unclear
                if result.retry:
                    again.append(index)
            pending = again
            if not pending:
                break
            if attempt < self._attempts:
                await asyncio.sleep(_RETRY_DELAY * 2 ** (attempt - 1))
        return results

    async def _attempt(self, messages: Sequence[OutgoingMessage], attempt: int) -> _Batch:
        """Send all once. Each has a result in the returned batch."""
        batch = _Batch(messages, self._observers)
        self._calls += 1
        self._idle.clear()
        try:
            await self._send_and_wait(batch, attempt)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        unsent = Refusal("it was not sent: no connection, or no answer to those before it", True)
        no_puback = f"no PubAck within {self._timeout:g} s"
        unanswered = Refusal(no_puback, self._retry_timeouts, unclear=True)
        for index, token in enumerate(batch.tokens):
            if batch.results[index] is None:
                batch.results[index] = unanswered if token else unsent
        return batch

    async def _send_and_wait(self, batch: _Batch, attempt: int) -> None:
        connected = self._connection.is_connected
        if connected or await self._connection.wait_connected(self._timeout):
            try:
                await self._send(batch, attempt)
                await batch.wait(0, self._timeout)
            except TimeoutError:  # those without a result are named below
                await self._connection.suspect()
            finally:
                if batch.in_flight:
                    for token in batch.tokens:
                        self._inbox.forget(token)

    async def _send(self, batch: _Batch, attempt: int) -> None:
        for index, message in enumerate(batch.messages):
            if batch.is_full:
                await batch.wait(_MAX_IN_FLIGHT // 2, self._timeout)
            batch.sending(index, len(message.payload))
            if self._observers.all:
                self._observers.notify(
                    _SENT, message.channel, message.identity, None, 0, None, attempt
                )
            try:
                batch.tokens[index] = await self._inbox.send(
                    batch, index, message.subject, message.payload, message.headers
                )
            except (ConnectionClosedError, OutboundBufferLimitError) as error:
                batch.unsent(index, str(error).removeprefix("nats: "))
                return
