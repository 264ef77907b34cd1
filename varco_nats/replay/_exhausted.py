"""Finds messages that a service without a dead letter queue gave up.

The server gives a message up after a consumer's `max_deliver` deliveries; this package's bus counts
deliveries itself and terminates the message. Where a stream keeps the advisories, they name each of
these messages. Without advisories, the state of a consumer shows how many messages reached
`max_deliver`, but nothing about terminated ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from uuid import UUID

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerInfo
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._log import logger as _logger
from varco_nats._nats.advisories import Advisory
from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import MessageDelivery, entry_id_of
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.stream import all_consumers, receives, stream_info
from varco_nats.config import StreamSettings
from varco_nats.dlq._advisories import given_up_subjects, kept_advisories, parse_given_up
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterError, StreamNotFoundError
from varco_nats.history import History
from varco_nats.history._lookup import Lookup
from varco_nats.replay._entry_filter import event_of
from varco_nats.replay._log import ReplayLog

ERROR_TYPE = "MaxDeliver"
"""The `error_type` of a dead letter that is made of a message whose error is unknown."""

LIMIT = 10_000
"""How many messages are looked for, by default."""
_LOOKUPS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class ExhaustedMessage:
    """A stored message that a consumer gave up, or may have."""

    entry_id: UUID
    """Of the dead letter that it makes; always the same for the same message and consumer."""
    channel: str
    stream: str
    seq: int
    """Its stream sequence."""
    consumer: str
    time_ns: int
    """When it was stored, in nanoseconds since 1970 UTC."""
    event_id: str | None
    event_type: str | None
    num_delivered: int
    """The number in the advisory, else the consumer's `max_deliver`."""
    certain: bool
    """True where an advisory names it; False where the consumer may have handled it."""
    given_up_at: datetime | None = None
    reason: str = ""
    """Why the bus gave it up, as an error type; "" where only the number of deliveries is known."""
    in_queue: bool = False
    """Whether the dead letter queue has it."""
    handled_by: str | None = None
    """The run that had this dead letter in its plan before."""

    def entry(self, payload: bytes, note: str = "") -> DeadLetterEntry:
        """The dead letter that it makes.

        Args:
            payload: the message's bytes.
            note: appended to the error message.
        """
        times = "delivery" if self.num_delivered == 1 else "deliveries"
        gave_up = "gave it up" if self.certain else "may have given it up"
        message = f"consumer {self.consumer!r} {gave_up} after {self.num_delivered} {times}"
        failed_at = self.given_up_at or datetime.now(UTC)
        return DeadLetterEntry(
            entry_id=self.entry_id,
            event=None,
            channel=self.channel,
            handler_name=self.consumer,
            error_type=self.reason or ERROR_TYPE,
            error_message=f"{message}; {note}" if note else message,
            attempts=self.num_delivered,
            first_failed_at=failed_at,
            last_failed_at=failed_at,
            source_ref=f"{self.stream}:{self.seq}",
            payload=payload,
        )

    def delivery(self, message: StoredMessage) -> MessageDelivery:
        """The last delivery of `message`."""
        return MessageDelivery(
            self.channel,
            self.stream,
            self.seq,
            self.num_delivered,
            message.headers,
            self.consumer,
            payload=message.data,
        )


@dataclass(frozen=True, slots=True)
class Exhausted:
    """What is known about the messages that the consumers of a channel gave up."""

    messages: tuple[ExhaustedMessage, ...]
    """In order of their sequences."""
    captured_since: datetime | None
    """Since when every one is known; None where no stream keeps the advisories."""
    unidentified: Mapping[str, int]
    """By consumer, how many more messages it may have given up at `max_deliver`. Those that it was
    delivered before `captured_since` are among its `messages` that are not `certain`."""
    gone: int
    """How many messages were given up and are no longer stored."""
    truncated: bool
    """Whether there are more than `limit`; the oldest are left out."""

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[ExhaustedMessage]:
        return iter(self.messages)


async def find_exhausted(
    connection: Connection,
    settings: StreamSettings,
    channel: str,
    *,
    limit: int | None = LIMIT,
    start_seq: int | None = None,
    end_seq: int | None = None,
) -> Exhausted:
    """The messages of `channel` that its consumers gave up; changes nothing.

    Holds no payload in memory.

    Args:
        limit: how many to return at most, the newest.
        start_seq, end_seq: stream sequences, both included.

    Raises:
        StreamNotFoundError: the stream does not exist.
    """
    subject = settings.subject_name(channel)
    info = await stream_info(connection, settings.stream_name)
    consumers = {
        str(consumer.name): consumer
        for consumer in await all_consumers(connection, settings.stream_name)
    }
    kept, since = await kept_advisories(connection, settings.stream_name)
    advisories = [
        advisory
        for advisory in sorted(kept.values(), key=lambda advisory: advisory.seq, reverse=True)
        if (start_seq or 0) <= advisory.seq <= (end_seq or advisory.seq)
        and (advisory.consumer not in consumers or receives(consumers[advisory.consumer], subject))
    ]
    found: list[ExhaustedMessage] = []
    gone = 0
    lookup = Lookup(connection, settings.stream_name, direct=bool(info.config.allow_direct))
    async with aclosing(_messages_of(lookup, advisories)) as originals:
        async for advisory, original in originals:
            if original is None:
                gone += 1
            elif original.subject == subject:
                found.append(_exhausted(settings, original, advisory))
                if limit is not None and len(found) > limit:
                    break
    # a consumer does not count those that are no longer stored
    identified = Counter(
        advisory.consumer
        for advisory in kept.values()
        if advisory.reason is None and advisory.seq >= info.state.first_seq
    )
    unidentified = {}
    for name, consumer in consumers.items():
        count = (consumer.num_redelivered or 0) - identified[name]
        if not _gives_up(consumer, subject) or count <= 0:
            continue
        unidentified[name] = count
        if count <= (consumer.num_ack_pending or 0) or consumer.delivered is None:
            continue  # they may all be on their way to be handled
        async with History(settings, connection=connection) as history:
            reading = history.read(
                channel,
                start_seq=start_seq,
                end_seq=min(consumer.delivered.stream_seq, end_seq or info.state.last_seq),
                until=since,
                newest_first=True,
                limit=None if limit is None else limit + 1,
            )
            async with aclosing(reading) as messages:
                async for message in messages:
                    if (name, message.seq) not in kept:
                        found.append(_exhausted(settings, message, consumer))
    # where there are more than `limit`, the certain ones are kept
    found.sort(key=lambda message: (message.certain, message.seq), reverse=True)
    chosen = found[:limit]
    return Exhausted(
        messages=tuple(sorted(chosen, key=lambda message: (message.seq, message.consumer))),
        captured_since=since,
        unidentified=unidentified,
        gone=gone,
        truncated=len(chosen) < len(found),
    )


async def watch_exhausted(
    connection: Connection,
    settings: StreamSettings,
    on_message: Callable[[ExhaustedMessage], Awaitable[None] | None],
) -> list[Subscription]:
    """Call `on_message` whenever an advisory says that a message was given up."""
    lookup = Lookup(connection, settings.stream_name, direct=False)

    async def on_advisory(msg: Msg) -> None:
        try:
            advisory = parse_given_up(msg.data)
        except ValueError as error:
            _logger.debug("a message on %s is ignored: %s", msg.subject, error)
            return
        if advisory is None:
            return
        try:
            message = await lookup.get({"seq": advisory.seq})
        except NatsError as error:
            _logger.warning(
                "message %d was given up and could not be read: %s", advisory.seq, error
            )
            return
        if message is not None:
            result = on_message(_exhausted(settings, message, advisory))
            if result is not None:
                await result

    return [
        await connection.nc.subscribe(subject, cb=on_advisory)
        for subject in given_up_subjects(settings.stream_name)
    ]


async def marked(found: Exhausted, store: DlqStore, log: ReplayLog) -> Exhausted:
    """The same messages, with what was done about each."""
    planned: dict[UUID, str] = {}
    for replay_id in await log.runs() if found.messages else ():
        planned |= dict.fromkeys(await log.keys(replay_id) or (), replay_id)
    queued: set[UUID] = set()
    with suppress(StreamNotFoundError):  # there may be no queue yet
        queued = await store.existing([message.entry_id for message in found])
    messages = [
        replace(
            message,
            in_queue=message.entry_id in queued,
            handled_by=planned.get(message.entry_id),
        )
        for message in found
    ]
    return replace(found, messages=tuple(messages))


async def read_original(connection: Connection, message: ExhaustedMessage) -> StoredMessage:
    """The message itself.

    Raises:
        DeadLetterError: it is no longer stored.
    """
    original = await Lookup(connection, message.stream, direct=False).get({"seq": message.seq})
    if original is None or message.entry_id != entry_id_of(
        message.stream, message.consumer, message.seq, original.data
    ):
        raise DeadLetterError(
            f"message {message.seq} of stream {message.stream!r} is no longer stored, so that it "
            "cannot be put into the dead letter queue"
        )
    return original


async def _messages_of(
    lookup: Lookup, advisories: Sequence[Advisory]
) -> AsyncGenerator[tuple[Advisory, StoredMessage | None]]:
    """Each advisory with its message, or None if that is no longer stored."""
    for batch in batched(advisories, _LOOKUPS_AT_ONCE):
        found = await asyncio.gather(*(lookup.get({"seq": advisory.seq}) for advisory in batch))
        for pair in zip(batch, found, strict=True):
            yield pair


def _gives_up(info: ConsumerInfo, subject: str) -> bool:
    """Whether the server gives up messages on `subject` for this consumer."""
    config = info.config
    return (
        (config.max_deliver or -1) > 0
        and config.ack_policy == AckPolicy.EXPLICIT
        and receives(info, subject)
    )


def _exhausted(
    settings: StreamSettings, message: StoredMessage, source: Advisory | ConsumerInfo
) -> ExhaustedMessage:
    """A message that an advisory names, or that a consumer may have given up."""
    if isinstance(source, Advisory):
        consumer, deliveries = source.consumer, source.deliveries
        given_up_at, reason = source.time, source.reason or ""
    else:
        consumer, deliveries = str(source.name), int(source.config.max_deliver or 0)
        given_up_at, reason = None, ""
    event_id, event_type = event_of(message.data)
    return ExhaustedMessage(
        entry_id=entry_id_of(settings.stream_name, consumer, message.seq, message.data),
        channel=settings.channel_from_subject(message.subject),
        stream=settings.stream_name,
        seq=message.seq,
        consumer=consumer,
        time_ns=message.time_ns,
        event_id=event_id,
        event_type=event_type,
        num_delivered=deliveries,
        certain=given_up_at is not None,
        given_up_at=given_up_at,
        reason=reason,
    )
