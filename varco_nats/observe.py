"""The events by which `NatsEventBus.observe` reports what happens to each message.

Open this to see which steps in a message's way can be observed, and what is known of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple, Protocol

from varco_core.event.base import Event

from varco_nats._log import logger as _logger

_new = tuple.__new__  # takes a sixth of the time of the class's own
_now = time.time


class DeliveryKind(StrEnum):
    """The steps in a message's way, in the order in which they can happen."""

    SENT = "sent"
    """A copy is on its way to the stream; reported for each attempt."""
    UNCONFIRMED = "unconfirmed"
    """No PubAck came for a copy, which may be stored nevertheless, unless it was not even sent."""
    PUBLISHED = "published"
    """Stored: its PubAck came, with the stream sequence."""
    DEDUPLICATED = "deduplicated"
    """Not stored again: its message id was used within the duplicate window."""
    REPLAYED = "replayed"
    """An event that was read from the dead letter queue was stored again."""
    DELIVERED = "delivered"
    """Received by a consumer, and its handlers are about to run; see `delivery_count`."""
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
"""An event, of which id and type are read when asked for, or id and type as text."""


class DeliveryEvent(NamedTuple):
    """One thing that happened to one message.

    Attributes:
        kind: what happened.
        time: when it happened, in seconds since 1970, by this process's clock; for `published`,
            when the PubAck came.
        channel: the message's channel.
        identity: where `event_id` and `event_type` are read from.
        seq: its stream sequence, None if it is not stored.
        delivery_count: the number of this delivery, from 1; 0 for publishing.
        error: the exception, for `failed`, `naked`, `dead_lettered` and `terminated`, or its text
            if a handler stored the dead letter itself; a `PublishError` for `unconfirmed`.
        attempt: the number of this attempt to publish, from 1, for `sent` and `unconfirmed`.
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
        """The event's id, None if the payload could not be decoded."""
        identity = self.identity
        return identity[0] if isinstance(identity, tuple) else str(identity.event_id)

    @property
    def event_type(self) -> str | None:
        """The name of the event's type, None if the payload could not be decoded."""
        identity = self.identity
        return identity[1] if isinstance(identity, tuple) else identity.event_type_name()

    def __repr__(self) -> str:
        place = f"{self.channel!r}, seq={self.seq}, delivery_count={self.delivery_count}"
        return f"DeliveryEvent({self.kind}, {self.event_type} {self.event_id}, {place})"


Observer = Callable[[DeliveryEvent], None]


class _Outgoing(Protocol):
    """What observers are told of a message that is being published."""

    channel: str
    identity: Identity


class Observers:
    """The observers of one bus; while `all` is empty, no event is made."""

    def __init__(self) -> None:
        self.all: tuple[Observer, ...] = ()

    def add(self, observer: Observer) -> Observation:
        self.all = (*self.all, observer)
        return Observation(self, observer)

    def remove(self, observer: Observer) -> None:
        """Stop calling `observer`; one that was added twice is still called once."""
        remaining = list(self.all)
        remaining.remove(observer)
        self.all = tuple(remaining)

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
        """Call every observer; what one raises is logged and has no other effect.

        Args:
            time: when it happened; None is now.
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

    def notify_each(
        self, steps: Iterable[tuple[DeliveryKind, _Outgoing, int | None]], attempt: int = 0
    ) -> None:
        """Do the same for what has just happened to many messages at once, each in its turn.

        It costs less than a call and a look at the clock for each.

        Args:
            steps: in order, what happened, to which message, and its sequence.
        """
        when = _now()
        for kind, message, seq in steps:
            channel, identity = message.channel, message.identity
            event = _new(DeliveryEvent, (kind, when, channel, identity, seq, 0, None, attempt))
            for observer in self.all:
                try:
                    observer(event)
                except Exception:
                    _logger.exception("observer %r failed", observer)


class Observation:
    """The handle of one observer; `cancel()` ends its calls, and may be called again."""

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
