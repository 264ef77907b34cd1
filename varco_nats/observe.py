"""What happened to each message: the events that `NatsEventBus.observe` gives.

Open this to see which moments of a message's way can be watched, and what is told about each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from varco_core.event.base import Event

_logger = logging.getLogger("varco_nats")

_new = tuple.__new__  # a sixth of the time of the class's own
_now = time.time


class DeliveryKind(StrEnum):
    """One moment in a message's way, in the order in which they can happen."""

    SENT = "sent"
    """One copy is on its way to the stream; again for each attempt."""
    UNCONFIRMED = "unconfirmed"
    """No PubAck came for a copy, which may be stored all the same, unless it was not even sent."""
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


Identity = Event | tuple[str | None, str | None]
"""What tells an event's id and type: the event itself, or both as text."""


class DeliveryEvent(NamedTuple):
    """One thing that happened to one message.

    Attributes:
        kind: what happened.
        time: when, in seconds since the epoch, by this process's clock; of what was published,
            when it was sent and when its PubAck came.
        channel: the message's channel.
        identity: what `event_id` and `event_type` are read from.
        seq: its stream sequence, None where it is not stored.
        delivery_count: which delivery this was, from 1; 0 for publishing.
        error: what was raised, for `failed`, `naked`, `dead_lettered` and `terminated`, in words
            where a handler made the dead letter itself; a `PublishError` for `unconfirmed`.
        attempt: which attempt to publish, from 1, for `sent` and `unconfirmed`.
    """

    kind: DeliveryKind
    time: float
    channel: str
    identity: Identity = (None, None)
    seq: int | None = None
    delivery_count: int = 0
    error: BaseException | str | None = None
    attempt: int = 0

    @property
    def event_id(self) -> str | None:
        """The event's id, None where the payload could not be decoded."""
        one = self.identity
        return one[0] if isinstance(one, tuple) else str(one.event_id)

    @property
    def event_type(self) -> str | None:
        """Its type name, None likewise."""
        one = self.identity
        return one[1] if isinstance(one, tuple) else one.event_type_name()

    def __repr__(self) -> str:
        place = f"{self.channel!r}, seq={self.seq}, delivery_count={self.delivery_count}"
        return f"DeliveryEvent({self.kind}, {self.event_type} {self.event_id}, {place})"


Observer = Callable[[DeliveryEvent], None]


class Observers:
    """The observers of one bus. While `all` is empty, nobody is told and nobody pays."""

    def __init__(self) -> None:
        self.all: tuple[Observer, ...] = ()

    def add(self, observer: Observer) -> Observation:
        self.all = (*self.all, observer)
        return Observation(self, observer)

    def remove(self, observer: Observer) -> None:
        """Tell it no more; of one that was added twice, once."""
        left = list(self.all)
        left.remove(observer)
        self.all = tuple(left)

    def notify(
        self,
        kind: DeliveryKind,
        channel: str,
        identity: Identity,
        seq: int | None = None,
        delivery_count: int = 0,
        error: BaseException | str | None = None,
        attempt: int = 0,
        time: float | None = None,
    ) -> None:
        """Tell every observer; one that raises is logged and disturbs nothing.

        Args:
            time: when it happened; now, if None.
        """
        when = _now() if time is None else time
        event = _new(
            DeliveryEvent, (kind, when, channel, identity, seq, delivery_count, error, attempt)
        )
        for observer in self.all:
            try:
                observer(event)
            except Exception:
                _logger.exception("observer %r failed", observer)


class Observation:
    """Handle of one observer; `cancel()` ends it, more than once does nothing."""

    def __init__(self, observers: Observers, observer: Observer) -> None:
        self._observers = observers
        self._observer = observer
        self._active = True

    def cancel(self) -> None:
        if self._active:
            self._active = False
            self._observers.remove(self._observer)

    def __repr__(self) -> str:
        return f"Observation({'active' if self._active else 'cancelled'})"
