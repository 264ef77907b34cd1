"""What is known about messages that a consumer gave up, and the dead letter that each makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from varco_core.event.dlq import DeadLetterEntry

from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage

ERROR_TYPE = "MaxDeliver"
"""The `error_type` of a dead letter that is made of a message whose error is unknown."""


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
