"""varco's inbox on an `exactly_once` bus: what it publishes again, and what a producer does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.base import ErrorPolicy, Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import InMemoryDeadLetterQueue
from varco_core.service.inbox import InboxEntry, InboxPoller, InboxRepository
from varco_core.service.outbox import OutboxEntry, OutboxRelay

from tests.conftest import MakeSettings
from tests.core.helpers import Durable
from tests.core.outbox import Rows
from tests.events import OrderPlaced, orders
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.server import LocalNats


@pytest.fixture
def settings(make_settings: MakeSettings) -> NatsEventBusSettings:
    """Of a service that gives a message up at its first failure."""
    return make_settings(delivery_semantics=NatsDeliverySemantics.EXACTLY_ONCE, max_deliver=1)


class Inbox(InboxRepository):
    """An inbox in memory."""

    def __init__(self) -> None:
        self.entries: dict[UUID, InboxEntry] = {}

    async def save(self, entry: InboxEntry) -> None:
        self.entries[entry.entry_id] = entry

    async def mark_processed(self, entry_id: UUID) -> None:
        now = datetime.now(UTC)
        self.entries[entry_id] = replace(self.entries[entry_id], processed_at=now)

    async def get_unprocessed(self, *, limit: int = 100) -> list[InboxEntry]:
        return self.unprocessed[:limit]

    @property
    def unprocessed(self) -> list[InboxEntry]:
        return [entry for entry in self.entries.values() if entry.processed_at is None]


def consumer(inbox: Inbox, handle: Callable[[], Awaitable[None] | None]) -> EventConsumer:
    """Calls `handle` for each order that it is given."""

    class Consumer(EventConsumer):
        @listen(OrderPlaced, channel="orders", inbox=inbox)
        async def on_order(self, event: OrderPlaced) -> None:
            if (result := handle()) is not None:
                await result

    return Consumer()


class Failing:
    """Raises for the first calls."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ValueError("not yet")


async def stored(nc: Client, settings: NatsEventBusSettings) -> int:
    return (await nc.jetstream().stream_info(settings.stream_name)).state.messages


@pytest.mark.parametrize("policy", [ErrorPolicy.COLLECT_ALL, ErrorPolicy.FIRE_FORGET])
async def test_inbox_repeats_what_its_handler_failed_until_it_is_handled(
    policy: ErrorPolicy, settings: NatsEventBusSettings, nc: Client
) -> None:
    inbox, handle = Inbox(), Failing(3)
    async with NatsEventBus(settings, error_policy=policy) as bus:
        consumer(inbox, handle).register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        async with InboxPoller(inbox=inbox, bus=bus, poll_interval=0.01):
            await until(lambda: handle.calls == 4 and not inbox.unprocessed)
        last = await stored(nc, settings)
        await until(lambda: Durable(nc, settings).is_settled(last))
    assert handle.calls == 4


async def test_retry_of_the_same_call_stores_nothing_again_that_was_given_up(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    handle = Failing(1)
    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, lambda event: handle(), channel="orders")
        message = bus._message(OrderPlaced(order_id="1"), "orders", {})
        publisher, duplicates = bus._publishing("a test")
        first = await publisher.publish(message)
        await until(lambda: Durable(nc, settings).is_settled(1))
        message.unclear = True  # its PubAck did not come in time
        [ack] = await duplicates.settle([message], [first._replace(duplicate=True)])
    assert (ack.seq, ack.duplicate, handle.calls) == (1, True, 1)
    assert await stored(nc, settings) == 1


async def test_what_was_given_up_is_forgotten_with_its_stream(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    handle, js = Failing(1), nc.jetstream()
    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, lambda event: handle(), channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
        config = (await js.stream_info(settings.stream_name)).config
        await js.delete_stream(settings.stream_name)
        await js.add_stream(config)
        event = OrderPlaced(order_id="2")
        acks = [await bus.publish_acked(event, channel="orders") for _ in range(2)]
    assert [(ack.seq, ack.duplicate) for ack in acks] == [(1, False), (1, True)]
    assert await stored(nc, settings) == 1


async def test_inbox_that_publishes_while_the_handler_is_about_to_fail(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    inbox, calls = Inbox(), 0

    async def fail_late() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await until(lambda: not inbox.unprocessed)  # the poller has been there
            raise ValueError("too late for the poller")

    async with NatsEventBus(settings) as bus:
        consumer(inbox, fail_late).register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        async with InboxPoller(inbox=inbox, bus=bus, poll_interval=0.01):
            await until(lambda: Durable(nc, settings).is_settled(1))
    assert calls == 2
    assert await stored(nc, settings) == 1


async def test_event_that_went_to_the_dead_letters_is_not_stored_again(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    inbox, handle, dlq = Inbox(), Failing(1), InMemoryDeadLetterQueue()
    async with NatsEventBus(settings, dlq=dlq) as bus:
        consumer(inbox, handle).register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(dlq.entries) == 1)
        async with InboxPoller(inbox=inbox, bus=bus, poll_interval=0.01):
            await until(lambda: not inbox.unprocessed)
    assert await stored(nc, settings) == 1


async def test_poller_with_a_bus_of_its_own_repeats_what_another_process_gave_up(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    inbox, handle = Inbox(), Failing(1)
    async with NatsEventBus(settings) as bus:
        consumer(inbox, handle).register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
    at_least_once = {"delivery_semantics": NatsDeliverySemantics.AT_LEAST_ONCE}
    async with (
        NatsEventBus(settings) as restarted,
        NatsEventBus(settings.model_copy(update=at_least_once)) as repeating,
        InboxPoller(inbox=inbox, bus=repeating, poll_interval=0.01),
    ):
        consumer(inbox, handle).register_to(restarted)
        await until(lambda: handle.calls == 2 and not inbox.unprocessed)
    assert await stored(nc, settings) == 2


async def test_outbox_after_a_crash_stores_nothing_twice_and_says_so(
    settings: NatsEventBusSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    rows, handled = Rows(), list[Event]()
    row = OutboxEntry.from_event(OrderPlaced(order_id="1"), channel="orders")
    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, handled.append, channel="orders")
        async with OutboxRelay(outbox=rows, bus=bus, poll_interval=0.01):
            await rows.save(row)
            await until(lambda: not rows.rows)
            await until(lambda: Durable(nc, settings).is_settled(1))
            assert "were not stored" not in caplog.text
            await rows.save(row)  # as if it had died before it deleted it
            await until(lambda: not rows.rows)
        assert await stored(nc, settings) == 1
    assert len(handled) == 1
    assert (
        "1 of 1 published events were not stored, as the stream has their ids already; the "
        f"first, {handled[0].event_id} on channel 'orders', is its sequence 1"
    ) in caplog.text


async def test_duplicates_of_one_call_are_one_warning(
    settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    events = orders(5)
    async with NatsEventBus(settings) as bus:
        await bus.publish_many(events[:3])
        caplog.clear()
        await bus.publish_many(events)
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("3 of 5 published events were not stored")


async def test_retry_of_the_same_call_is_no_warning(
    settings: NatsEventBusSettings, server: LocalNats, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(server.port) as proxy:
        changes = {
            "servers": proxy.url_for(server.url),
            "publish_timeout_seconds": 0.5,
            "publish_attempts": 20,
        }
        async with NatsEventBus(settings.model_copy(update=changes)) as bus:
            proxy.drop(ANSWERS)
            event: Event = OrderPlaced(order_id="1")
            publishing = asyncio.create_task(bus.publish_acked(event, channel="orders"))
            told = asyncio.Event()
            bus.observe(lambda each: told.set() if each.kind == "unconfirmed" else None)
            async with asyncio.timeout(10):
                await told.wait()
            proxy.drop()
            assert (await publishing).duplicate
    assert "were not stored" not in caplog.text
