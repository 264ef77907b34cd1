"""Publishing to JetStream: pipelined, with all PubAcks in one inbox and safe retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from nats.errors import ConnectionClosedError, OutboundBufferLimitError

from varco_nats._nats.client import Connection, header_block
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.provenance import REPLAY_OF
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import (
    PayloadTooLargeError,
    PermissionDeniedError,
    PublishError,
    PublishFailure,
    PublishManyError,
)
from varco_nats.observe import DeliveryKind, Identity, Observers

_SENT = DeliveryKind.SENT
_MAX_IN_FLIGHT = 4000
_MAX_IN_FLIGHT_BYTES = 8 * 1024 * 1024
_BLOCK = 200  # messages that are written together
_BLOCK_BYTES = 128 * 1024
_RETRY_DELAY, _LONGEST_DELAY = 0.1, 1.0


@dataclass(slots=True)
class OutgoingMessage:
    """One message on its way to the stream."""

    channel: str
    subject: str
    payload: bytes
    headers: dict[str, str] | None = None
    identity: Identity = (None, None)
    """The event in the payload, for observers."""
    duplicate_at: float | None = None
    """When its PubAck said that it is a duplicate, in seconds since 1970."""
    unclear: bool = False
    """Whether an earlier attempt without a PubAck may have stored it."""


class _Batch:
    """The messages of one attempt, and the answer to each.

    Args:
        heads: the header block of each.
        limit: how many bytes of header block and payload the server takes.
        attempt: the number of this attempt, from 1.
    """

    def __init__(
        self,
        messages: Sequence[OutgoingMessage],
        heads: Sequence[bytes],
        limit: int,
        attempt: int,
        observers: Observers,
    ) -> None:
        self._messages = messages
        self._heads = heads
        self._sizes = [0] * len(messages)
        self._limit = limit
        self._attempt = attempt
        self._observers = observers
        self._refused: dict[str, Refusal] = {}
        self._in_flight = 0
        self._bytes_in_flight = 0
        self._progress: asyncio.Future[None] | None = None
        self._wake_at = 0
        self.results: list[PubAck | Refusal | None] = [None] * len(messages)
        self.sent = 0
        """How many of the messages were given to the connection."""

    def subjects(self) -> set[str]:
        return {message.subject for message in self._messages}

    @property
    def is_full(self) -> bool:
        return self._in_flight >= _MAX_IN_FLIGHT or self._bytes_in_flight >= _MAX_IN_FLIGHT_BYTES

    def next_commands(self, reply: bytes) -> bytes:
        """The commands that send the next messages.

        These messages count as in flight at once, since a reply may arrive before the caller goes
        on.

        Args:
            reply: their reply subject without the index that ends it.
        """
        commands: list[bytes] = []
        block = 0
        subject, to = "", b""
        for index in range(self.sent, min(self.sent + _BLOCK, len(self._messages))):
            message, head = self._messages[index], self._heads[index]
            payload = message.payload
            size = len(head) + len(payload)
            if block and block + size > _BLOCK_BYTES:
                break
            self.sent = index + 1
            if message.subject in self._refused:
                self.results[index] = self._refused[message.subject]
                continue
            if size > self._limit:  # it may be that of another server than when publishing began
                reason = str(PayloadTooLargeError(message.channel, size, self._limit))
                self.results[index] = Refusal(reason, retry=False)
                continue
            if subject != message.subject:
                subject = message.subject
                to = b"%b %b" % (subject.encode(), reply)
            if head:
                commands.append(
                    b"HPUB %b%d %d %d\r\n%b%b\r\n" % (to, index, len(head), size, head, payload)
                )
            else:
                commands.append(b"PUB %b%d %d\r\n%b\r\n" % (to, index, size, payload))
            self._sizes[index] = size
            block += size
            if self._observers.all:
                self._observers.notify(
                    _SENT, message.channel, message.identity, None, 0, None, self._attempt
                )
        self._in_flight += len(commands)
        self._bytes_in_flight += block
        return b"".join(commands)

    def unsent(self, first: int, reason: str) -> None:
        """Note that the connection did not take the messages from index `first` on."""
        for index in range(first, self.sent):
            if self.results[index] is None:
                self._settle(index, Refusal(reason, retry=True))

    def stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        results, sizes = self.results, self._sizes
        landed = size = 0
        for index, ack in acks:
            if index < self.sent and results[index] is None:
                results[index] = ack
                landed += 1
                size += sizes[index]
                if self._observers.all:
                    self._report_stored(self._messages[index], ack)
        self._landed(landed, size)

    def _report_stored(self, message: OutgoingMessage, ack: PubAck) -> None:
        again = message.headers is not None and REPLAY_OF in message.headers
        kind = DeliveryKind.REPLAYED if again else DeliveryKind.PUBLISHED
        self._observers.notify(kind, message.channel, message.identity, ack.seq)

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        result = parse_puback(data, headers)
        if isinstance(result, PubAck) and not result.duplicate:
            self.stored([(index, result)])
        elif index < self.sent and self.results[index] is None:
            if isinstance(result, PubAck):
                self._messages[index].duplicate_at = time.time()
            self._settle(index, result)

    def refuse(self, error: PermissionDeniedError) -> None:
        """Settle all messages for a subject that the login may not publish to."""
        subject = error.subject
        if error.operation != "publish" or subject in self._refused:
            return
        refusal = self._refused[subject] = Refusal(str(error), retry=False, cause=error)
        for index in range(self.sent):
            if self.results[index] is None and self._messages[index].subject == subject:
                self._settle(index, refusal)

    def _settle(self, index: int, result: Refusal | PubAck) -> None:
        """Note the answer to a message that is in flight."""
        self.results[index] = result
        self._landed(1, self._sizes[index])

    def _landed(self, count: int, size: int) -> None:
        self._in_flight -= count
        self._bytes_in_flight -= size
        if self._progress is not None and self._in_flight <= self._wake_at:
            _wake(self._progress)

    async def wait(self, wake_at: int, timeout: float) -> None:
        """Wait until at most `wake_at` messages are in flight.

        Raises:
            TimeoutError: no reply arrived for `timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        while self._in_flight > wake_at:
            before = self._in_flight
            self._wake_at = wake_at
            self._progress = progress = loop.create_future()
            timer = loop.call_later(timeout, _wake, progress)  # a third of the cost of timeout()
            try:
                await progress
            finally:
                timer.cancel()
                self._progress = None
            if self._in_flight == before:
                raise TimeoutError


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Publisher:
    """Publishes messages over one connection.

    Args:
        retry_timeouts: whether a message is sent again when no PubAck came. It may have been
            stored, and without a message id the second copy is then stored too.
        observers: called for each attempt and each message that was stored, but not for
            duplicates, which only the bus can tell from new messages.
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
        """Wait up to `timeout` seconds until nothing is being published."""
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
        """Publish in order, pipelined; a message that is retried may be stored after later ones.

        Raises:
            PayloadTooLargeError: one is larger than the server takes; nothing was sent.
            PublishManyError: some are not known to be stored.
        """
        results = await self._publish(messages)
        acks = [result for result in results if isinstance(result, PubAck)]
        if len(acks) == len(results):
            return acks
        failures = [
            PublishFailure(index, result)
            for index, result in enumerate(results)
            if isinstance(result, PublishError)
        ]
        raise PublishManyError(failures, stored=len(acks))

    async def _publish(self, messages: Sequence[OutgoingMessage]) -> list[PubAck | PublishError]:
        limit = self._connection.max_payload
        heads = []
        for message in messages:
            head = header_block(message.headers) if message.headers else b""
            if (size := len(head) + len(message.payload)) > limit:
                raise PayloadTooLargeError(message.channel, size, limit)
            heads.append(head)
        results: list[PubAck | PublishError] = []
        pending = list(range(len(messages)))
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._attempts * self._timeout
        for attempt in count(1):
            if attempt > 1:
                await asyncio.sleep(min(_RETRY_DELAY * 2 ** min(attempt - 2, 9), _LONGEST_DELAY))
            outcomes = await self._attempt(
                [messages[index] for index in pending], [heads[index] for index in pending], attempt
            )
            if attempt == 1 and not any(type(result) is Refusal for result in outcomes):
                return outcomes  # type: ignore[return-value]
            if not results:
                results = [PublishError("", 0, "")] * len(messages)
            again = []
            for index, result in zip(pending, outcomes, strict=True):
                if isinstance(result, PubAck):
                    results[index] = result
                    continue
                error = results[index] = self._error(messages[index], attempt, result)
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
            # a cluster refuses at once for as long as it elects a leader
            electing = self._connection.is_clustered and clock() < give_up_at
            if not pending or (attempt >= self._attempts and not electing):
                break
        return results

    async def _attempt(
        self, messages: Sequence[OutgoingMessage], heads: Sequence[bytes], attempt: int
    ) -> list[PubAck | Refusal]:
        """Send all messages once, and wait for the answers."""
        connection = self._connection
        self._calls += 1
        self._idle.clear()
        try:
            connected = connection.is_connected or await connection.wait_connected(self._timeout)
            batch = _Batch(messages, heads, connection.max_payload, attempt, self._observers)
            if connected:
                await self._send_and_wait(batch)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        if None not in batch.results:
            return batch.results  # type: ignore[return-value]
        unsent = Refusal("it was not sent: no connection, or no answer to those before it", True)
        unanswered = Refusal(self._silence(), self._retry_timeouts, unclear=True)
        return [
            result or (unanswered if index < batch.sent else unsent)
            for index, result in enumerate(batch.results)
        ]

    async def _send_and_wait(self, batch: _Batch) -> None:
        inbox = self._inbox
        forget = [inbox.on_refused(subject, batch.refuse) for subject in batch.subjects()]
        try:
            with inbox.batch(batch) as reply:
                await self._send(batch, reply)
                await batch.wait(0, self._timeout)
        except TimeoutError:  # the caller finds the messages without a result
            await self._connection.nc.suspect()
        finally:
            for forget_refusals in forget:
                forget_refusals()

    async def _send(self, batch: _Batch, reply: bytes) -> None:
        while (first := batch.sent) < len(batch.results):
            if first:
                await asyncio.sleep(0)  # so that commands go out and answers come in
            if batch.is_full:
                await batch.wait(_MAX_IN_FLIGHT // 2, self._timeout)
            try:
                await self._connection.nc.send(batch.next_commands(reply))
            except (ConnectionClosedError, OutboundBufferLimitError) as error:
                batch.unsent(first, str(error).removeprefix("nats: "))
                return

    def _silence(self) -> str:
        """Why there may be no answer."""
        reason = f"no PubAck within {self._timeout:g} s"
        if self._connection.is_connected:
            reason += (
                "; the server may be out of disk (only its log says so) or too busy, or the stream "
                "without a leader"
            )
        return reason

    def _error(self, message: OutgoingMessage, attempt: int, refusal: Refusal) -> PublishError:
        error = PublishError(message.channel, attempt, refusal.reason)
        error.__cause__ = refusal.cause
        return error
