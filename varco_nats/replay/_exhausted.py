"""Messages that a service without a dead letter queue gave up: found, and made dead letters.

The server drops a message after a consumer's `max_deliver` deliveries; this package's bus counts
by itself and terminates it. Advisories, where a stream keeps them, say of which. Without them a
consumer's state says how many reached `max_deliver`, and nothing of terminated ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from uuid import UUID

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerInfo
from nats.js.errors import NotFoundError
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers, stream_info
from varco_nats.config import StreamSettings
from varco_nats.dlq._advisories import Advisory, advisory_subjects, kept_advisories, parse_advisory
from varco_nats.dlq._codec import entry_id_of
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterError, StreamNotFoundError
from varco_nats.history import History
from varco_nats.history._lookup import Lookup
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._plan import event_of

ERROR_TYPE = "MaxDeliver"
"""The `error_type` of a dead letter made of a message whose error is not known."""

LIMIT = 10_000
"""Messages looked for at once, by default."""

_logger = logging.getLogger("varco_nats")
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
    """What the advisory says, else the consumer's `max_deliver`."""
    certain: bool
    """True where an advisory names it; False where the consumer may have handled it."""
    given_up_at: datetime | None = None
    reason: str = ""
    """Why the bus gave it up, as an error type; "" where only the number of deliveries is known."""
    in_queue: bool = False
    """Whether the dead letter queue has it."""
    handled_by: str | None = None
    """The run whose plan had this dead letter already."""

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
        """As `message` was delivered last."""
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
    """What is known of the messages that the consumers of a channel gave up."""

    messages: tuple[ExhaustedMessage, ...]
    """In order of their sequences."""
    captured_since: datetime | None
    """From when on every one is known; None where no stream keeps the advisories."""
    unidentified: Mapping[str, int]
    """By consumer, how many more it may have given up at `max_deliver`. Of what it was delivered
    until `captured_since`, its `messages` that are not `certain` are among those."""
    gone: int
    """Messages that were given up and are no longer stored."""
    truncated: bool
    """Whether there are more than were asked for; the oldest are left out."""

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
    """The messages of `channel` that its consumers gave up; touches none of them.

    Holds no payload in memory.

    Args:
        limit: the newest so many.
        start_seq, end_seq: stream sequences, both included.
    """
    subject = settings.subject_name(channel)
    consumers = {str(one.name): one for one in await _consumers(connection, settings.stream_name)}
    info = await stream_info(connection, settings.stream_name)
    kept, since = await kept_advisories(connection, settings.stream_name)
    wanted = [
        advisory
        for advisory in sorted(kept.values(), key=lambda one: one.seq, reverse=True)
        if (start_seq or 0) <= advisory.seq <= (end_seq or advisory.seq)
        and (advisory.consumer not in consumers or _gets(consumers[advisory.consumer], subject))
    ]
    found: list[ExhaustedMessage] = []
    gone = 0
    lookup = Lookup(connection, settings.stream_name, direct=bool(info.config.allow_direct))
    async with aclosing(_messages_of(lookup, wanted)) as originals:
        async for advisory, original in originals:
            if original is None:
                gone += 1
            elif original.subject == subject:
                found.append(_certain(settings, advisory, original))
                if limit is not None and len(found) > limit:
                    break
    # a consumer does not count those that are no longer stored
    told = Counter(
        one.consumer
        for one in kept.values()
        if one.reason is None and one.seq >= info.state.first_seq
    )
    unidentified = {}
    for name, consumer in consumers.items():
        most = (consumer.num_redelivered or 0) - told[name]
        if not _gives_up(consumer, subject) or most <= 0:
            continue
        unidentified[name] = most
        if most <= (consumer.num_ack_pending or 0) or consumer.delivered is None:
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
                        found.append(_possible(settings, consumer, message))
    # the certain ones first, where there are more than were asked for
    found.sort(key=lambda one: (one.certain, one.seq), reverse=True)
    chosen = found[:limit]
    return Exhausted(
        messages=tuple(sorted(chosen, key=lambda one: (one.seq, one.consumer))),
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
    """Call `on_message` as the server says that a consumer gave a message up."""
    lookup = Lookup(connection, settings.stream_name, direct=False)

    async def on_advisory(msg: Msg) -> None:
        try:
            advisory = parse_advisory(msg.data)
        except ValueError as error:
            _logger.debug("something on %s is left out: %s", msg.subject, error)
            return
        if advisory is None:
            return
        try:
            message = await lookup.get({"seq": advisory.seq})
        except NatsError as error:
            _logger.warning("message %d, which was given up, is not read: %s", advisory.seq, error)
            return
        if message is not None:
            result = on_message(_certain(settings, advisory, message))
            if result is not None:
                await result

    return [
        await connection.nc.subscribe(subject, cb=on_advisory)
        for subject in advisory_subjects(settings.stream_name)
    ]


async def marked(found: Exhausted, store: DlqStore, log: ReplayLog) -> Exhausted:
    """The same, with what was done about each message."""
    planned: dict[UUID, str] = {}
    for replay_id in await log.runs() if found.messages else ():
        planned |= dict.fromkeys(await log.keys(replay_id) or (), replay_id)
    queued: set[UUID] = set()
    with suppress(NotFoundError):  # there may be no queue yet
        queued = await store.existing([one.entry_id for one in found])
    messages = [
        replace(one, in_queue=one.entry_id in queued, handled_by=planned.get(one.entry_id))
        for one in found
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
            f"message {message.seq} of stream {message.stream!r} is no longer stored, and cannot "
            "be made a dead letter"
        )
    return original


async def _messages_of(
    lookup: Lookup, advisories: list[Advisory]
) -> AsyncGenerator[tuple[Advisory, StoredMessage | None]]:
    """The message of each, None if it is no longer stored."""
    for some in batched(advisories, _LOOKUPS_AT_ONCE):
        found = await asyncio.gather(*(lookup.get({"seq": one.seq}) for one in some))
        for pair in zip(some, found, strict=True):
            yield pair


async def _consumers(connection: Connection, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []

    async def page() -> list[ConsumerInfo]:
        return await connection.js.consumers_info(stream, offset=len(found))

    try:
        while more := await with_leader(connection, stream, page):
            found += more
    except NotFoundError:
        raise StreamNotFoundError(stream) from None
    return found


def _gets(info: ConsumerInfo, subject: str) -> bool:
    filters = info.config.filter_subjects or [info.config.filter_subject or ">"]
    return any(covers(one, subject) for one in filters)


def _gives_up(info: ConsumerInfo, subject: str) -> bool:
    config = info.config
    return (
        (config.max_deliver or -1) > 0
        and config.ack_policy == AckPolicy.EXPLICIT
        and _gets(info, subject)
    )


def _certain(
    settings: StreamSettings, advisory: Advisory, message: StoredMessage
) -> ExhaustedMessage:
    return _exhausted(
        settings, message, advisory.consumer, advisory.deliveries, advisory.time, advisory.reason
    )


def _possible(
    settings: StreamSettings, info: ConsumerInfo, message: StoredMessage
) -> ExhaustedMessage:
    return _exhausted(settings, message, str(info.name), int(info.config.max_deliver or 0))


def _exhausted(
    settings: StreamSettings,
    message: StoredMessage,
    consumer: str,
    num_delivered: int,
    given_up_at: datetime | None = None,
    reason: str | None = None,
) -> ExhaustedMessage:
    stream = settings.stream_name
    event_id, event_type = event_of(message.data)
    return ExhaustedMessage(
        entry_id=entry_id_of(stream, consumer, message.seq, message.data),
        channel=settings.channel_from_subject(message.subject),
        stream=stream,
        seq=message.seq,
        consumer=consumer,
        time_ns=message.time_ns,
        event_id=event_id,
        event_type=event_type,
        num_delivered=num_delivered,
        certain=given_up_at is not None,
        given_up_at=given_up_at,
        reason=reason or "",
    )
