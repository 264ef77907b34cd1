"""Our bus and queue in the place of those that varco-core keeps in memory.

They need no `start()`, and each has streams of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from contextvars import Context
from typing import Any

from varco_core.event.base import CHANNEL_DEFAULT, DispatchMode, Event, Subscription
from varco_core.event.dlq import InMemoryDeadLetterQueue
from varco_core.event.memory import InMemoryEventBus

from varco_nats._nats.delivery import current_delivery
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.observe import DeliveryEvent, DeliveryKind

_SETTLED = {DeliveryKind.ACKED, DeliveryKind.DEAD_LETTERED, DeliveryKind.TERMINATED}
_PATIENCE = 10  # seconds for what was published to be handled
_opened: list[Bus | Queue] = []


def _own_streams() -> NatsEventBusSettings:
    name = f"t-{uuid.uuid4().hex[:10]}"
    return NatsEventBusSettings(
        servers=os.environ["VARCO_TEST_NATS_URL"],
        stream_name=name,
        subject_prefix=name,
        max_deliver=1,  # the bus in memory delivers once
        drain_timeout_seconds=_PATIENCE,
    )


class Bus(NatsEventBus):
    """`InMemoryEventBus` on NATS: `publish` returns when the event was handled.

    Args:
        dispatch_mode: with `BACKGROUND`, `publish` does not wait; `drain` does.
        options: those of both.
    """

    def __init__(self, *, dispatch_mode: DispatchMode = DispatchMode.SYNC, **options: Any) -> None:
        super().__init__(_own_streams(), **options)
        self.emitted: list[tuple[Event, str]] = []
        self._waits = dispatch_mode is DispatchMode.SYNC
        self._made: list[tuple[str, Subscription]] = []
        self._sent: set[int] = set()
        self._settled: set[int] = set()
        self._progress = asyncio.Event()
        self.observe(self._note)
        _opened.append(self)

    def _note(self, event: DeliveryEvent) -> None:
        if event.kind in _SETTLED and event.seq is not None:
            self._settled.add(event.seq)
            self._progress.set()

    def subscribe(self, *args: Any, channel: str = "*", **options: Any) -> Subscription:
        subscription = super().subscribe(*args, channel=channel, **options)
        self._made.append((channel, subscription))
        return subscription

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        self.emitted.append((event, channel))
        # not in the context of the test, which may be that of a tenant
        await asyncio.create_task(self.start(), context=Context())
        ack = await self.publish_acked(event, channel=channel)
        heard = {channel for channel, made in self._made if not made.is_cancelled}
        if channel in heard:
            self._sent.add(ack.seq)
            # a handler that publishes is not waited for by itself
            if self._waits and current_delivery.get() is None:
                await self.drain()

    async def publish_many(self, events: list[tuple[Event, str]]) -> None:
        for event, channel in events:
            await self.publish(event, channel=channel)

    async def drain(self) -> None:
        """Wait until what was published has been handled or given up."""
        async with asyncio.timeout(_PATIENCE):
            while not self._sent <= self._settled:
                self._progress.clear()
                await self._progress.wait()


class Queue(NatsDLQ):
    """`InMemoryDeadLetterQueue` on NATS; it has no limit of entries."""

    def __init__(self, *, max_size: int = 0) -> None:
        super().__init__(_own_streams())
        _opened.append(self)

    def __init_subclass__(cls) -> None:
        # a test's own version of what the queue in memory once had not: ours is to be tested
        for name in ("list_entries", "delete_where"):
            if name in vars(cls):
                delattr(cls, name)


def replace() -> None:
    """Put ours where varco-core has its own, for everything that is imported from now on."""
    ours = {InMemoryEventBus: Bus, InMemoryDeadLetterQueue: Queue}
    for module in [m for name, m in sys.modules.items() if name.startswith("varco_core")]:
        for theirs, our in ours.items():
            if vars(module).get(theirs.__name__) is theirs:
                setattr(module, theirs.__name__, our)


async def close_all() -> None:
    """Stop what a test has opened, unless its event loop is gone."""
    while _opened:
        opened = _opened.pop()
        if opened._loop in (None, asyncio.get_running_loop()):
            await opened.stop()
