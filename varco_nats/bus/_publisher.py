"""Publishing to JetStream: pipelined, with all PubAcks in one inbox and safe retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection, header_block
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.puback import PubAck, Refusal
from varco_nats.bus._batch import MAX_IN_FLIGHT, Batch, OutgoingMessage
from varco_nats.errors import (
    ChannelNotCapturedError,
    NoStreamForChannelError,
    PayloadTooLargeError,
    PublishError,
    PublishFailure,
    PublishManyError,
    PublishManyNoStreamError,
    PublishManyRefusedError,
    PublishManyTimeoutError,
    PublishRefusedError,
    PublishTimeoutError,
    VarcoNatsError,
)
from varco_nats.observe import DeliveryKind, Observers

_RETRY_DELAY, _LONGEST_DELAY = 0.1, 1.0
_EXPLAIN_SECONDS = 1.0
_MANY: dict[type[PublishError], type[PublishManyError]] = {
    NoStreamForChannelError: PublishManyNoStreamError,
    PublishRefusedError: PublishManyRefusedError,
    PublishTimeoutError: PublishManyTimeoutError,
}


@dataclass(slots=True)
class Publisher:
    """Publishes messages over one connection."""

    connection: Connection
    timeout: float
    """How long one attempt waits for its PubAck, in seconds."""
    attempts: int
    retry_timeouts: bool
    """Whether a message is sent again when no PubAck came. It may have been stored, and without a
    message id the second copy is then stored too."""
    check: Callable[[str], Awaitable[None]]
    """Raises `ChannelNotCapturedError` for a channel that the stream does not capture, or not any
    more; called when nobody answers what is published on it."""
    observers: Observers = field(default_factory=Observers)
    """Called for each attempt and each message that was stored, but not for duplicates, which only
    the bus can tell from new messages."""
    _inbox: ReplyInbox = field(init=False)
    _calls: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._inbox = ReplyInbox(self.connection)
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
        result = (await self.publish_each([message]))[0]
        if isinstance(result, PubAck):
            return result
        raise result

    async def publish_many(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        """Publish in order, pipelined; a message that is retried may be stored after later ones.

        Raises:
            PayloadTooLargeError: one is larger than the server takes; nothing was sent.
            PublishManyError: some are not known to be stored.
        """
        results = await self.publish_each(messages)
        acks = [result for result in results if isinstance(result, PubAck)]
        if len(acks) == len(results):
            return acks
        failures = [
            PublishFailure(index, result)
            for index, result in enumerate(results)
            if isinstance(result, PublishError)
        ]
        raise _MANY.get(type(failures[0].error), PublishManyError)(failures, stored=len(acks))

    async def publish_each(
        self, messages: Sequence[OutgoingMessage]
    ) -> list[PubAck | PublishError]:
        """Publish as `publish_many` does; gives the PubAck of each message, or its error.

        Raises:
            PayloadTooLargeError: one is larger than the server takes; nothing was sent.
        """
        limit = self.connection.max_payload
        heads = []
        for message in messages:
            head = header_block(message.headers) if message.headers else b""
            if (size := len(head) + len(message.payload)) > limit:
                raise PayloadTooLargeError(message.channel, size, limit)
            heads.append(head)
        results: list[PubAck | PublishError] = []
        pending = list(range(len(messages)))
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.attempts * self.timeout
        for attempt in count(1):
            if attempt > 1:
                await asyncio.sleep(min(_RETRY_DELAY * 2 ** min(attempt - 2, 9), _LONGEST_DELAY))
            outcomes = await self._attempt(
                [messages[index] for index in pending], [heads[index] for index in pending], attempt
            )
            if attempt == 1:
                if not any(type(result) is Refusal for result in outcomes):
                    return outcomes  # type: ignore[return-value]
                await self._explain(messages, outcomes)
            if not results:
                results = [PublishError("", 0, "")] * len(messages)
            again = []
            for index, result in zip(pending, outcomes, strict=True):
                if isinstance(result, PubAck):
                    results[index] = result
                    continue
                error = results[index] = result.error(messages[index].channel, attempt)
                if self.observers.all:
                    self.observers.notify(
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
            electing = self.connection.is_clustered and clock() < give_up_at
            if not pending or (attempt >= self.attempts and not electing):
                break
        return results

    async def _explain(
        self, messages: Sequence[OutgoingMessage], outcomes: list[PubAck | Refusal]
    ) -> None:
        """Refuse for good what nobody will answer, as the stream does not capture its channel."""
        unheard: dict[str, list[int]] = {}
        for index, result in enumerate(outcomes):
            if isinstance(result, Refusal) and result.kind is NoStreamForChannelError:
                unheard.setdefault(messages[index].channel, []).append(index)
        for channel, indices in unheard.items():
            try:
                async with asyncio.timeout(_EXPLAIN_SECONDS):
                    await self.check(channel)
            except ChannelNotCapturedError as error:
                for index in indices:
                    outcomes[index] = Refusal(
                        str(error), retry=False, cause=error, kind=NoStreamForChannelError
                    )
            except (VarcoNatsError, NatsError, TimeoutError):
                return  # it is not known, and is tried again

    async def _attempt(
        self, messages: Sequence[OutgoingMessage], heads: Sequence[bytes], attempt: int
    ) -> list[PubAck | Refusal]:
        """Send all messages once, and wait for the answers."""
        connection = self.connection
        self._calls += 1
        self._idle.clear()
        try:
            connected = connection.is_connected or await connection.wait_connected(self.timeout)
            limit, domain = connection.max_payload, connection.domain
            batch = Batch(messages, heads, limit, attempt, self.observers, domain)
            if connected:
                await self._send_and_wait(batch)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        if None not in batch.results:
            return batch.results  # type: ignore[return-value]
        reason = "it was not sent: no connection, or no answer to those before it"
        unsent = Refusal(reason, retry=True, kind=PublishTimeoutError)
        unanswered = Refusal(
            self._silence(), self.retry_timeouts, unclear=True, kind=PublishTimeoutError
        )
        return [
            result or (unanswered if index < batch.sent else unsent)
            for index, result in enumerate(batch.results)
        ]

    async def _send_and_wait(self, batch: Batch) -> None:
        inbox = self._inbox
        forget = [inbox.on_refused(subject, batch.refuse) for subject in batch.subjects()]
        try:
            with inbox.batch(batch) as reply:
                await self._send(batch, reply)
                await batch.wait(0, self.timeout)
        except TimeoutError:  # the caller finds the messages without a result
            await self.connection.nc.suspect()
        finally:
            for forget_refusals in forget:
                forget_refusals()

    async def _send(self, batch: Batch, reply: bytes) -> None:
        while (first := batch.sent) < len(batch.results):
            if first:
                await asyncio.sleep(0)  # so that commands go out and answers come in
            if batch.is_full:
                await batch.wait(MAX_IN_FLIGHT // 2, self.timeout)
            try:
                alone = self._calls == len(batch.results) == 1
                await self.connection.nc.send(batch.next_commands(reply), at_once=alone)
            except (ConnectionClosedError, OutboundBufferLimitError) as error:
                batch.unsent(first, str(error).removeprefix("nats: "))
                return

    def _silence(self) -> str:
        """Why there may be no answer."""
        reason = f"no PubAck within {self.timeout:g} s"
        if self.connection.is_connected:
            reason += (
                "; the server may be out of disk (only its log says so) or too busy, or the stream "
                "without a leader"
            )
        return reason
