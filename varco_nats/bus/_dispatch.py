"""Which handlers an event has, and running them in order under the error policy."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence

from varco_core.event.base import CHANNEL_ALL, ErrorPolicy, Event, EventMiddleware, Subscription

from varco_nats._log import logger as _logger
from varco_nats._nats.delivery import current_delivery
from varco_nats._varco_core import SubscriptionEntry
from varco_nats.errors import DeadLetterError

EventHandler = Callable[[Event], Awaitable[None] | None]
EventFilter = Callable[[Event], bool]
Next = Callable[[Event, str], Awaitable[None]]


class BusSubscription(Subscription):
    """A subscription that calls its bus back when it is cancelled."""

    __slots__ = ("_on_cancel",)

    def __init__(self, entry: SubscriptionEntry, on_cancel: Callable[[], None]) -> None:
        super().__init__(entry)
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        if not self.is_cancelled:
            super().cancel()
            self._on_cancel()


class Dispatcher:
    """The subscriptions of one bus; `dispatch` runs the handlers of one event."""

    def __init__(self, error_policy: ErrorPolicy, middleware: Sequence[EventMiddleware]) -> None:
        self._error_policy = error_policy
        self._entries: list[SubscriptionEntry] = []
        self._channels: set[str] = set()
        self._matching: dict[tuple[type[Event], str], list[SubscriptionEntry]] = {}
        self.dispatch: Next = self._run_handlers
        for step in reversed(middleware):
            self.dispatch = _wrap(step, self.dispatch)

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: EventHandler,
        channel: str,
        event_filter: EventFilter | None,
        priority: int,
        on_cancel: Callable[[], None],
    ) -> BusSubscription:
        entry = SubscriptionEntry(event_type, channel, handler, event_filter, priority)
        self._entries.append(entry)
        self._changed()

        def cancelled() -> None:
            self._entries.remove(entry)
            self._changed()
            on_cancel()

        return BusSubscription(entry, cancelled)

    def _changed(self) -> None:
        self._matching.clear()
        self._channels = {entry.channel for entry in self._entries} - {CHANNEL_ALL}

    def __len__(self) -> int:
        return len(self._entries)

    def channels(self) -> set[str]:
        """The concrete channels that have a subscription."""
        return set(self._channels)

    def wants(self, channel: str) -> bool:
        """Whether `channel` itself has a subscription."""
        return channel in self._channels

    def _entries_for(self, event: Event, channel: str) -> list[SubscriptionEntry]:
        key = (type(event), channel)
        entries = self._matching.get(key)
        if entries is None:
            name = event.event_type_name()
            entries = [
                entry
                for entry in self._entries
                if entry.channel in (CHANNEL_ALL, channel)
                and (
                    isinstance(event, entry.event_type)
                    if isinstance(entry.event_type, type)
                    else entry.event_type == name
                )
            ]
            entries.sort(key=lambda entry: -entry.priority)  # equal priorities keep their order
            self._matching[key] = entries
        return entries

    async def _run_handlers(self, event: Event, channel: str) -> None:
        errors: list[Exception] = []
        for entry in self._entries_for(event, channel):
            try:
                if entry.cancelled or (entry.filter is not None and not entry.filter(event)):
                    continue
                result = entry.handler(event)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                _note_failure(entry)
                if self._error_policy is ErrorPolicy.FAIL_FAST:
                    raise
                if self._error_policy is ErrorPolicy.FIRE_FORGET and not isinstance(
                    error, DeadLetterError
                ):
                    _logger.warning(
                        "handler %r failed on channel %r and was ignored (FIRE_FORGET)",
                        entry.handler,
                        channel,
                        exc_info=True,
                    )
                else:
                    errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(
                f"{len(errors)} handlers failed for {type(event).__name__} on {channel!r}", errors
            )


def _note_failure(entry: SubscriptionEntry) -> None:
    delivery = current_delivery.get()
    if delivery is not None and not delivery.failed_handler:
        delivery.failed_handler = getattr(entry.handler, "__qualname__", repr(entry.handler))


def _wrap(middleware: EventMiddleware, following: Next) -> Next:
    async def step(event: Event, channel: str) -> None:
        await middleware(event, channel, following)

    return step
