"""The messages of one attempt to publish: their commands, what is in flight, and the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat

from varco_nats._nats.provenance import REPLAY_OF
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import (
    PayloadTooLargeError,
    PermissionDeniedError,
    PublishTimeoutError,
)
from varco_nats.observe import DeliveryKind, Identity, Observers

# reported for each message, so that the lookup would be felt
_SENT, _PUBLISHED, _REPLAYED = DeliveryKind.SENT, DeliveryKind.PUBLISHED, DeliveryKind.REPLAYED
MAX_IN_FLIGHT = 4000
_MAX_IN_FLIGHT_BYTES = 8 * 1024 * 1024
_BLOCK = 200  # messages that are written together
_BLOCK_BYTES = 128 * 1024


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


@dataclass(slots=True)
class Batch:
    """The messages of one attempt, and the answer to each."""

    messages: Sequence[OutgoingMessage]
    heads: Sequence[bytes]
    """The header block of each."""
    limit: int
    """How many bytes of header block and payload the server takes."""
    attempt: int
    """The number of this attempt, from 1."""
    observers: Observers
    domain: str | None
    """The JetStream domain that the answers have to be from; None is any."""
    results: list[PubAck | Refusal | None] = field(init=False)
    sent: int = 0
    """How many of the messages were given to the connection."""
    _sizes: list[int] = field(init=False)
    _refused: dict[str, Refusal] = field(default_factory=dict)
    _in_flight: int = 0
    _bytes_in_flight: int = 0
    _progress: asyncio.Future[None] | None = None
    _wake_at: int = 0

    def __post_init__(self) -> None:
        self.results = [None] * len(self.messages)
        self._sizes = [0] * len(self.messages)

    def subjects(self) -> set[str]:
        return {message.subject for message in self.messages}

    @property
    def is_full(self) -> bool:
        return self._in_flight >= MAX_IN_FLIGHT or self._bytes_in_flight >= _MAX_IN_FLIGHT_BYTES

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
        first = self.sent
        for index in range(first, min(first + _BLOCK, len(self.messages))):
            message, head = self.messages[index], self.heads[index]
            payload = message.payload
            size = len(head) + len(payload)
            if block and block + size > _BLOCK_BYTES:
                break
            self.sent = index + 1
            if message.subject in self._refused:
                self.results[index] = self._refused[message.subject]
                continue
            if size > self.limit:  # it may be that of another server than when publishing began
                reason = str(PayloadTooLargeError(message.channel, size, self.limit))
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
        if self.observers.all:
            unrefused = (result is None for result in self.results[first : self.sent])
            sent = compress(self.messages[first : self.sent], unrefused)
            self.observers.notify_each(zip(repeat(_SENT), sent, repeat(None)), self.attempt)
        self._in_flight += len(commands)
        self._bytes_in_flight += block
        return b"".join(commands)

    def unsent(self, first: int, reason: str) -> None:
        """Note that the connection did not take the messages from index `first` on."""
        for index in range(first, self.sent):
            if self.results[index] is None:
                self._settle(index, Refusal(reason, retry=True, kind=PublishTimeoutError))

    def stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        results, sizes = self.results, self._sizes
        landed = size = 0
        observed = bool(self.observers.all)
        steps: list[tuple[DeliveryKind, OutgoingMessage, int | None]] = []
        for index, ack in acks:
            if index < self.sent and results[index] is None:
                results[index] = ack
                landed += 1
                size += sizes[index]
                if observed:
                    message = self.messages[index]
                    again = message.headers is not None and REPLAY_OF in message.headers
                    steps.append((_REPLAYED if again else _PUBLISHED, message, ack.seq))
        if steps:
            self.observers.notify_each(steps)
        self._landed(landed, size)

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        result = parse_puback(data, headers, self.domain)
        if isinstance(result, PubAck) and not result.duplicate:
            self.stored([(index, result)])
        elif index < self.sent and self.results[index] is None:
            if isinstance(result, PubAck):
                self.messages[index].duplicate_at = time.time()
            self._settle(index, result)

    def refuse(self, error: PermissionDeniedError) -> None:
        """Settle all messages for a subject that the login may not publish to."""
        subject = error.subject
        if error.operation != "publish" or subject in self._refused:
            return
        refusal = self._refused[subject] = Refusal(str(error), retry=False, cause=error)
        for index in range(self.sent):
            if self.results[index] is None and self.messages[index].subject == subject:
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
