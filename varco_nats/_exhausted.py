"""Messages that a service without a dead letter queue gave up: found, and made dead letters.

A consumer with `max_deliver` on the server drops a message after that many deliveries. The server
then says so once, in an advisory; later only the consumer's state tells: its ack floor stays
before the first such message, and `num_redelivered` counts them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerInfo
from nats.js.errors import NotFoundError
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._client import Connection, jetstream_errors
from varco_nats._delivery import Delivery
from varco_nats._direct import StoredMessage
from varco_nats._dlq_codec import entry_id_of
from varco_nats._lookup import Lookup
from varco_nats._stream import covers
from varco_nats.config import StreamSettings
from varco_nats.errors import StreamNotFoundError
from varco_nats.history import History

ERROR_TYPE = "MaxDeliver"
"""The `error_type` of dead letters that are made of such messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADVISORIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"


@dataclass(frozen=True, slots=True)
class ExhaustedMessage:
    """A stored message that reached `max_deliver` in a consumer, or may have."""

    entry_id: UUID
    """Of the dead letter that it makes; always the same for the same message and consumer."""
    channel: str
    stream: str
    consumer: str
    message: StoredMessage
    num_delivered: int
    """The consumer's `max_deliver`, or what its advisory says."""
    certain: bool
    """False where the consumer's state does not tell it from one that was acknowledged."""
    handled_by: str | None = None
    """The run whose plan had this dead letter already."""

    def entry(self) -> DeadLetterEntry:
        """The dead letter that it makes."""
        stored_at = _EPOCH + timedelta(microseconds=self.message.time_ns // 1000)
        return DeadLetterEntry(
            entry_id=self.entry_id,
            event=None,
            channel=self.channel,
            handler_name=self.consumer,
            error_type=ERROR_TYPE,
            error_message=(
                f"consumer {self.consumer!r} gave it up after {self.num_delivered} deliveries"
            ),
            attempts=self.num_delivered,
            first_failed_at=stored_at,
            last_failed_at=datetime.now(UTC),
            source_ref=f"{self.stream}:{self.message.seq}",
            payload=self.message.data,
        )

    def delivery(self) -> Delivery:
        """As the message was delivered last."""
        return Delivery(
            self.channel,
            self.stream,
            self.message.seq,
            self.num_delivered,
            self.message.headers,
            self.consumer,
            payload=self.message.data,
        )


async def find_exhausted(
    connection: Connection, settings: StreamSettings, channel: str
) -> list[ExhaustedMessage]:
    """The messages of `channel` that its consumers gave up; touches none of them."""
    subject = settings.subject_name(channel)
    found = []
    async with History(settings, connection=connection) as history:
        for info in await _consumers(connection, settings.stream_name):
            floor, delivered = info.ack_floor, info.delivered
            if floor is None or delivered is None or not _gives_up(info, subject):
                continue
            first, last = floor.stream_seq + 1, delivered.stream_seq
            reading = history.read(channel, start_seq=first, end_seq=last)
            async with aclosing(reading) as messages:
                left = [message async for message in messages]
            for message, certain in zip(left, _certain(info, len(left)), strict=True):
                found.append(_exhausted(settings, channel, info, message, certain))
    return found


async def _consumers(connection: Connection, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    with jetstream_errors(connection):
        try:
            while page := await connection.js.consumers_info(stream, offset=len(found)):
                found += page
        except NotFoundError:
            raise StreamNotFoundError(stream) from None
    return found


def _gives_up(info: ConsumerInfo, subject: str) -> bool:
    config = info.config
    filters = config.filter_subjects or [config.filter_subject or ">"]
    return (
        (config.max_deliver or -1) > 0
        and config.ack_policy == AckPolicy.EXPLICIT
        and any(covers(one, subject) for one in filters)
    )


def _certain(info: ConsumerInfo, left: int) -> Sequence[bool]:
    """For each message between ack floor and last delivery, whether it was given up for sure."""
    waiting = info.num_ack_pending or 0
    given_up = (info.num_redelivered or 0) - waiting
    if waiting:  # any of them may still be with the service
        return [False] * left
    if given_up >= left:
        return [True] * left
    return [index == 0 for index in range(left)]  # what holds the ack floor back


def _exhausted(
    settings: StreamSettings,
    channel: str,
    info: ConsumerInfo,
    message: StoredMessage,
    certain: bool,
) -> ExhaustedMessage:
    stream, consumer = settings.stream_name, str(info.name)
    return ExhaustedMessage(
        entry_id=entry_id_of(stream, consumer, message.seq, message.data),
        channel=channel,
        stream=stream,
        consumer=consumer,
        message=message,
        num_delivered=int(info.config.max_deliver or 0),
        certain=certain,
    )


async def watch_exhausted(
    connection: Connection,
    settings: StreamSettings,
    on_message: Callable[[ExhaustedMessage], Awaitable[None] | None],
) -> Subscription:
    """Call `on_message` as the server says that a consumer gave a message up."""
    lookup = Lookup(connection, settings.stream_name, direct=False)

    async def on_advisory(msg: Msg) -> None:
        advisory: dict[str, Any] = json.loads(msg.data)
        with suppress(NatsError):
            message = await lookup.get({"seq": advisory["stream_seq"]})
            if message is None:
                return
            consumer = advisory["consumer"]
            result = on_message(
                ExhaustedMessage(
                    entry_id=entry_id_of(settings.stream_name, consumer, message.seq, message.data),
                    channel=settings.channel_from_subject(message.subject),
                    stream=settings.stream_name,
                    consumer=consumer,
                    message=message,
                    num_delivered=advisory["deliveries"],
                    certain=True,
                )
            )
            if result is not None:
                await result

    return await connection.nc.subscribe(f"{_ADVISORIES}.{settings.stream_name}.*", cb=on_advisory)
