"""The bus of a `Lab`: usable from any thread and any event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from varco_core.event.base import (
    CHANNEL_ALL,
    CHANNEL_DEFAULT,
    AbstractEventBus,
    Event,
    Subscription,
)

from varco_nats._nats.puback import PubAck
from varco_nats.errors import NotAnEventError
from varco_nats_widgets._session.handle import Handle

if TYPE_CHECKING:
    from varco_nats.observe import Observation, Observer


class LabBus(AbstractEventBus):
    """The bus of a `Lab`, usable from any thread and any event loop.

    That of a read-only lab publishes nothing, and takes no handlers, which would consume through a
    durable and acknowledge; to see what arrives there is `lab.live`.

    Handlers run on the lab's thread: a blocking one holds up the others, and in one it is
    `await lab.aio.frame(...)`, not `lab.frame(...)`.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._session = handle.session

    @property
    def __lab_handle__(self) -> Handle:
        return self._handle

    def __repr__(self) -> str:
        return f"LabBus({self._session.label}{', read-only' if self._session.read_only else ''})"

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        """See `NatsEventBus.publish`."""
        self._session.check_may_change("lab.bus.publish()")
        _checked([(event, channel)])
        await self._session.call(self._session.bus().publish(event, channel=channel))

    async def publish_acked(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> PubAck:
        """See `NatsEventBus.publish_acked`."""
        self._session.check_may_change("lab.bus.publish_acked()")
        _checked([(event, channel)])
        return await self._session.call(self._session.bus().publish_acked(event, channel=channel))

    async def publish_many(self, events: list[tuple[Event, str]]) -> None:
        """See `NatsEventBus.publish_many`."""
        self._session.check_may_change("lab.bus.publish_many()")
        await self._session.call(self._session.bus().publish_many(_checked(events)))

    async def publish_many_acked(self, events: Sequence[tuple[Event, str]]) -> list[PubAck]:
        """See `NatsEventBus.publish_many_acked`."""
        self._session.check_may_change("lab.bus.publish_many_acked()")
        acks = self._session.bus().publish_many_acked(_checked(events))
        return await self._session.call(acks)

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: Callable[[Event], Awaitable[None] | None],
        *,
        channel: str = CHANNEL_ALL,
        filter: Callable[[Event], bool] | None = None,  # noqa: A002 - varco's signature
        priority: int = 0,
    ) -> Subscription:
        """See `NatsEventBus.subscribe`. It starts at the channel's first message.

        Raises:
            InvalidChannelError: the channel is neither `CHANNEL_ALL` nor a channel name.
            ReadOnlyError: the lab only looks.
        """
        self._session.check_may_change("lab.bus.subscribe()")
        bus = self._session.bus()
        if not self._session.loop.is_current:
            self._session.call(self._session.expire_durable(channel)).wait()
        return bus.subscribe(event_type, handler, channel=channel, filter=filter, priority=priority)

    async def drain(self, timeout: float = 30.0) -> None:
        """Wait until the handlers have handled everything their channels hold.

        Raises:
            TimeoutError: they have not, after `timeout` seconds.
        """
        await self._session.call(self._session.drain(timeout))

    def observe(self, observer: Observer) -> Observation:
        """See `NatsEventBus.observe`; `observer` is called on the lab's thread."""
        return self._session.bus().observe(observer)


def _checked[E](events: Iterable[tuple[E, str]]) -> list[tuple[E, str]]:
    """All of these, which may come from a generator.

    Raises:
        NotAnEventError: one of them is no event.
    """
    found = list(events)
    for event, channel in found:
        if not isinstance(event, Event):
            raise NotAnEventError(
                event,
                f"lab.publish({channel!r}, …) publishes a dict, text or bytes, and events too",
            )
    return found
