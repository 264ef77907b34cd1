"""What becomes of a published event whose PubAck says that it is a duplicate.

JetStream keeps message ids per stream, not per subject, and it knows nothing of handlers: not
every message that it takes for a duplicate is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats._nats.puback import PubAck
from varco_nats.bus._batch import OutgoingMessage
from varco_nats.bus._publisher import Publisher
from varco_nats.errors import PublishError
from varco_nats.observe import DeliveryKind, Observers

_MAX_KNOWN = 10_000

Message = tuple[int, str | None]
"""Stream sequence and message id; a stream that is created again repeats the sequences."""


class Unhandled:
    """Messages that this bus gave up without a dead letter; their events may be published again.

    The server drops an event whose id it has stored within the duplicate window, as it should for a
    producer's retry. But an inbox also publishes an event again that was received, because its
    handlers failed. The two look alike, and only what became of the stored message tells them
    apart. The newest 10,000 that were given up are known, and as many that were published again.
    """

    def __init__(self) -> None:
        self._given_up: dict[Message, None] = {}
        self._published_again: dict[Message, None] = {}

    def give_up(self, message: Message) -> bool:
        """Note that a message is given up; False if its event was published again meanwhile.

        That publishing stored nothing, so that the message has to be delivered again.
        """
        if message in self._published_again:
            del self._published_again[message]
            return False
        _add(self._given_up, message)
        return True

    def publish_again(self, message: Message) -> bool:
        """Note that a stored event is published again; whether its message was given up.

        If it was, the event has to be stored again. If not, the message was handled or will be, and
        should it be given up later, `give_up` returns False.
        """
        if message in self._given_up:
            return True
        _add(self._published_again, message)
        return False


def _add(known: dict[Message, None], message: Message) -> None:
    known[message] = None
    if len(known) > _MAX_KNOWN:
        del known[next(iter(known))]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Settles the duplicates of one publisher."""

    connection: Connection
    publisher: Publisher
    unhandled: Unhandled
    observers: Observers

    async def settle(self, messages: Sequence[OutgoingMessage], acks: list[PubAck]) -> list[PubAck]:
        """Put new PubAcks into `acks` for messages that were no duplicates, and return it.

        Raises:
            PublishError: a message is not known to be stored.
        """
        duplicates = [index for index, ack in enumerate(acks) if ack.duplicate]
        for index in duplicates:
            acks[index] = await self._settle(messages[index], acks[index])
        if duplicates:
            _warn(messages, acks)
        return acks

    async def _settle(self, message: OutgoingMessage, ack: PubAck) -> PubAck:
        headers = message.headers or {}
        if headers and await self._is_on_another_channel(message, ack):
            headers = {**headers, MESSAGE_ID: f"{headers[MESSAGE_ID]}.{message.channel}"}
            message = replace(message, headers=headers)
            ack = await self.publisher.publish(message)
        message_id = headers.get(MESSAGE_ID)
        while ack.duplicate and not message.unclear:
            if not self.unhandled.publish_again((ack.seq, headers.get(MESSAGE_ID))):
                break
            # a new id for each copy that was given up, since that one may be given up too
            headers = {**headers, MESSAGE_ID: f"{message_id}.after.{ack.seq}"}
            message = replace(message, headers=headers)
            ack = await self.publisher.publish(message)
        if ack.duplicate and self.observers.all:
            self.observers.notify(
                DeliveryKind.DEDUPLICATED,
                message.channel,
                message.identity,
                ack.seq,
                time=message.duplicate_at,
            )
        return ack

    async def _is_on_another_channel(self, message: OutgoingMessage, ack: PubAck) -> bool:
        """Whether the stored message of which `message` is said to be a copy is on another channel.

        The same event on another channel is no duplicate.
        """
        if self.connection.nc.is_closed:
            return False
        try:
            stored = await self.connection.js.get_msg(ack.stream, ack.seq)
        except NotFoundError:
            return False
        except NatsError as error:
            reason = f"it was taken for a copy of sequence {ack.seq}, which cannot be read: {error}"
            raise PublishError(message.channel, 1, reason) from None
        return bool(stored.subject != message.subject)


def _warn(messages: Sequence[OutgoingMessage], acks: Sequence[PubAck]) -> None:
    """Log what was not stored, apart from retries whose first attempt may be the stored one."""
    pairs = zip(messages, acks, strict=True)
    found = [pair for pair in pairs if pair[1].duplicate and not pair[0].unclear]
    if not found:
        return
    message, ack = found[0]
    _logger.warning(
        "%d of %d published events were not stored, as the stream has their ids already; the "
        "first, %s on channel %r, is its sequence %d",
        len(found),
        len(messages),
        (message.headers or {}).get(MESSAGE_ID),
        message.channel,
        ack.seq,
    )
