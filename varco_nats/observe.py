"""What happened to each message: the events that `NatsEventBus.observe` gives.

Open this to see which moments of a message's way can be watched, and what is told about each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_logger = logging.getLogger("varco_nats")


class DeliveryKind(StrEnum):
    """One moment in a message's way, in the order in which they can happen."""

    SENT = "sent"
    """One copy is on its way to the stream; again for each attempt."""
    UNCONFIRMED = "unconfirmed"
    """No PubAck came for a copy that was sent; it may be stored all the same."""
    PUBLISHED = "published"
    """Stored; its PubAck came, with the stream sequence."""
    DEDUPLICATED = "deduplicated"
    """Not stored again: its message id was seen inside the duplicate window."""
    REPLAYED = "replayed"
    """An event that came out of the dead letter queue was stored again."""
    DELIVERED = "delivered"
    """Taken by a consumer, its handlers about to run; see `delivery_count`."""
    HANDLED = "handled"
    """All handlers succeeded."""
    FAILED = "failed"
    """A handler raised, or the payload could not be decoded."""
    ACKED = "acked"
    """Acknowledged: it will not come again."""
    NAKED = "naked"
    """Handed back: it will come again."""
    DEAD_LETTERED = "dead_lettered"
    """Stored in the dead letter queue."""
    TERMINATED = "terminated"
    """Given up: it will not come again and no dead letter was kept."""


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One thing that happened to one message.

    Attributes:
        kind: what happened.
        time: when, in seconds since the epoch, by this process's clock.
        channel: the message's channel.
        event_id: the event's id, None where the payload could not be decoded.
        event_type: its type name, None likewise.
        seq: its stream sequence, None where it is not stored.
        delivery_count: which delivery this was, from 1; 0 for publishing.
        error: what was raised, for `failed`, `naked`, `dead_lettered` and `terminated`; a
            `PublishError` for `unconfirmed`.
        attempt: which attempt to publish, from 1, for `sent` and `unconfirmed`.
    """

    kind: DeliveryKind
    time: float
    channel: str
    event_id: str | None = None
    event_type: str | None = None
    seq: int | None = None
    delivery_count: int = 0
    error: BaseException | None = None
    attempt: int = 0


Observer = Callable[[DeliveryEvent], None]


class Observation:
    """Handle of one observer; `cancel()` ends it, more than once does nothing."""

    def __init__(self, observers: list[Observer], observer: Observer) -> None:
        self._observers = observers
        self._observer = observer

    def cancel(self) -> None:
        if self._observer in self._observers:
            self._observers.remove(self._observer)

    def __repr__(self) -> str:
        return f"Observation({'active' if self._observer in self._observers else 'cancelled'})"


class Observers:
    """The observers of one bus; false when there are none, so that nobody pays for nothing."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def __bool__(self) -> bool:
        return bool(self._observers)

    def add(self, observer: Observer) -> Observation:
        self._observers.append(observer)
        return Observation(self._observers, observer)

    def notify(
        self,
        kind: DeliveryKind,
        channel: str,
        *,
        event_id: str | None = None,
        event_type: str | None = None,
        seq: int | None = None,
        delivery_count: int = 0,
        error: BaseException | None = None,
        attempt: int = 0,
    ) -> None:
        """Tell every observer; one that raises is logged and disturbs nothing."""
        event = DeliveryEvent(
            kind, time.time(), channel, event_id, event_type, seq, delivery_count, error, attempt
        )
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception:
                _logger.exception("observer %r failed", observer)
