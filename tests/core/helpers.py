"""Dead letters, and what the server and a bus say, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client
from nats.js.errors import NotFoundError, ServiceUnavailableError
from varco_core.event.base import Event
from varco_core.event.dlq import AbstractDeadLetterQueue, DeadLetterEntry

from tests.events import OrderPlaced
from varco_nats._nats.delivery import MessageDelivery, current_delivery
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings

ALL_SEMANTICS = list(NatsDeliverySemantics)
REDELIVERING = [NatsDeliverySemantics.AT_LEAST_ONCE, NatsDeliverySemantics.EXACTLY_ONCE]
START = datetime(2026, 1, 1, tzinfo=UTC)
"""When the entry 0 failed; each later one failed a minute later."""


def entry(number: int = 0, **changes: object) -> DeadLetterEntry:
    made = DeadLetterEntry(
        event=OrderPlaced(order_id=str(number)),
        channel="orders",
        handler_name="Shop.on_order",
        error_type="ValueError",
        error_message=f"failure {number}",
        attempts=3,
        first_failed_at=START + timedelta(minutes=number),
        last_failed_at=START + timedelta(minutes=number),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def push(queue: AbstractDeadLetterQueue, *entries: DeadLetterEntry) -> list[DeadLetterEntry]:
    for each in entries:
        await queue.push(each)
    return list(entries)


def dlq_stream(settings: NatsEventBusSettings) -> str:
    return f"{settings.stream_name}-dlq"


@contextmanager
def inside_a_delivery() -> Iterator[None]:
    """As while a handler runs, where a push that fails raises."""
    token = current_delivery.set(
        MessageDelivery("orders", "a-stream", 7, 1, None, "svc-orders", b"{}")
    )
    try:
        yield
    finally:
        current_delivery.reset(token)


class Handled:
    """What a bus handles."""

    def __init__(self, bus: NatsEventBus) -> None:
        self.orders: list[str] = []
        bus.subscribe(OrderPlaced, self._handle, channel="orders")

    def _handle(self, event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        self.orders.append(event.order_id)


class Durable:
    """What the server says of durable `svc-orders`."""

    def __init__(self, nc: Client, settings: NatsEventBusSettings) -> None:
        self._js = nc.jetstream()
        self._stream = settings.stream_name

    async def is_settled(self, seq: int) -> bool:
        """Whether all messages up to `seq` are acknowledged or terminated for good."""
        try:
            info = await self._info()
        except (NotFoundError, ServiceUnavailableError):  # it opens, or a leader is elected
            return False
        return info.ack_floor.stream_seq >= seq and info.num_ack_pending == 0

    async def unacked(self) -> int:
        """How many messages are delivered and not acknowledged."""
        return int((await self._info()).num_ack_pending)

    async def waiting(self) -> int:
        """How many pull requests are open."""
        try:
            return int((await self._info()).num_waiting)
        except NotFoundError:  # it opens in the background
            return 0

    async def _info(self) -> Any:
        return await self._js.consumer_info(self._stream, "svc-orders")
