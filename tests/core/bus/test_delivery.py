"""The delivery table of the README, each row provoked for real."""

from __future__ import annotations

import asyncio
import json
import logging
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import DeadLetterEntry, InMemoryDeadLetterQueue

from tests.conftest import MakeSettings
from tests.core.helpers import ALL_SEMANTICS, REDELIVERING, Durable
from tests.events import OrderPlaced, orders
from tests.processes import consumer_process
from tests.proxy import ANSWERS, Proxy
from tests.waiting import side_by_side, until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import DeadLetterError, NotStartedError
from varco_nats.server import LocalNats


@pytest.mark.parametrize("stage", ["before", "during", "after"])
async def test_process_killed_around_its_handler(
    make_settings: MakeSettings, nc: Client, stage: str
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        settings = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1)
        durable = Durable(nc, settings)
        async with NatsEventBus(settings) as producer:
            await producer.publish(OrderPlaced(order_id="1"), channel="orders")
            async with consumer_process(settings, hang_at=stage) as victim:
                await victim.wait_for(f"{stage} 1")
                await victim.kill()
            async with consumer_process(settings) as survivor:
                if semantics is NatsDeliverySemantics.AT_MOST_ONCE:
                    assert await durable.is_settled(1)  # gone: nothing is left to redeliver
                    await producer.publish(OrderPlaced(order_id="2"), channel="orders")
                    await survivor.wait_for("after 2")
                    await until(lambda: durable.is_settled(2))
                    await survivor.terminate()
                    assert "before 1" not in survivor.lines
                else:
                    await survivor.wait_for("after 1")
                    await until(lambda: durable.is_settled(1))

    await side_by_side(check, ALL_SEMANTICS)


@pytest.mark.parametrize("semantics", REDELIVERING)
async def test_handler_that_raises_once_is_called_again(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    calls: list[str] = []

    async def fails_once(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        calls.append(event.order_id)
        if len(calls) == 1:
            raise ValueError("try again")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, fails_once, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
    assert calls == ["1", "1"]


@pytest.mark.parametrize("semantics", REDELIVERING)
async def test_handler_that_always_raises_without_dlq_is_terminated_and_logged(
    make_settings: MakeSettings,
    nc: Client,
    semantics: NatsDeliverySemantics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(delivery_semantics=semantics, max_deliver=3)
    calls: list[Event] = []

    def fails(event: Event) -> None:
        calls.append(event)
        raise ValueError("never works")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, fails, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
    assert len(calls) == 3
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "terminated" in errors[0].message
    assert "never works" in errors[0].message


@pytest.mark.parametrize("semantics", REDELIVERING)
async def test_handler_that_always_raises_is_dead_lettered_once(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics, max_deliver=2)

    def fails(event: Event) -> None:
        raise ValueError("never works")

    placed = OrderPlaced(order_id="1")
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(OrderPlaced, fails, channel="orders")
        await bus.publish(placed, channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
        [entry] = await dlq.list_entries()
    assert entry.event == placed
    assert entry.channel == "orders"
    assert entry.attempts == 2
    assert (entry.error_type, entry.error_message) == ("ValueError", "never works")
    assert entry.handler_name.endswith("fails")
    assert entry.source_ref == f"{settings.stream_name}:1"


async def test_dead_letter_keeps_the_event_as_it_came(
    make_settings: MakeSettings, nc: Client
) -> None:
    """With fields that this process's class does not know, and the headers."""
    settings = make_settings(max_deliver=1)
    raw = (
        b'{"__event_type__": "order.placed", "order_id": "1", "unknown": [1, 2],'
        b' "event_id": "00000000-0000-4000-8000-000000000001",'
        b' "timestamp": "2026-01-01T00:00:00Z"}'
    )

    def fails(event: Event) -> None:
        raise ValueError("never works")

    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(OrderPlaced, fails, channel="orders")
        await nc.jetstream().publish(settings.subject_name("orders"), raw, headers={"Trace": "7"})
        await until(lambda: Durable(nc, settings).is_settled(1))
        [entry] = await dlq.list_entries()
    assert isinstance(entry.event, OrderPlaced)
    stored = await nc.jetstream().get_msg(f"{settings.stream_name}-dlq", 1)
    fields = json.loads(stored.data or b"")
    assert fields["event_payload"].encode() == raw
    assert fields["payload"] is None
    assert (fields["headers"], fields["num_delivered"]) == ({"Trace": "7"}, 1)


async def test_handler_that_raises_at_most_once_is_logged_and_gone(
    make_settings: MakeSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(delivery_semantics="at_most_once")
    calls: list[str] = []

    def handle(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        calls.append(event.order_id)
        if event.order_id == "1":
            raise ValueError("no second chance")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish_many([(OrderPlaced(order_id=number), "orders") for number in ("1", "2")])
        await until(lambda: Durable(nc, settings).is_settled(2))
        await until(lambda: "2" in calls)
    assert calls == ["1", "2"]
    assert any("no second chance" in record.message for record in caplog.records)


@pytest.mark.parametrize("with_dlq", [True, False], ids=["dlq", "no dlq"])
@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_payload_that_is_not_json(
    make_settings: MakeSettings,
    nc: Client,
    semantics: NatsDeliverySemantics,
    with_dlq: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    handled: list[Event] = []
    dlq = NatsDLQ(settings)
    bus = NatsEventBus(settings, dlq=dlq if with_dlq else None)
    async with dlq, bus:
        bus.subscribe(OrderPlaced, handled.append, channel="orders")
        await nc.jetstream().publish(settings.subject_name("orders"), b"\xff not json")
        await bus.publish(OrderPlaced(order_id="2"), channel="orders")
        await until(lambda: len(handled) == 1)
        await until(lambda: Durable(nc, settings).is_settled(2))
        entries = await dlq.list_entries()
    if with_dlq and semantics is not NatsDeliverySemantics.AT_MOST_ONCE:
        [entry] = entries
        assert entry.event is None
        assert entry.payload == b"\xff not json"
        assert entry.channel == "orders"
    else:
        assert entries == []
        assert any(record.levelno == logging.ERROR for record in caplog.records)


async def test_row_9_handler_slower_than_ack_wait_is_called_once(
    make_settings: MakeSettings, nc: Client
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        settings = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1)
        calls: list[str] = []

        async def slow(event: Event) -> None:
            assert isinstance(event, OrderPlaced)
            calls.append(event.order_id)
            await asyncio.sleep(2.2)

        async with NatsEventBus(settings) as bus, NatsEventBus(settings) as second:
            bus.subscribe(OrderPlaced, slow, channel="orders")
            # two, so that one waits behind the other for longer than ack_wait as well
            await bus.publish_many(orders(2))
            await until(lambda: len(calls) == 1)
            second.subscribe(OrderPlaced, slow, channel="orders")
            await until(lambda: Durable(nc, settings).is_settled(2))
        assert sorted(calls) == ["0", "1"]

    await side_by_side(check, ALL_SEMANTICS)


class BrokenDLQ(InMemoryDeadLetterQueue):
    """A queue whose storage is away for the first pushes."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def push(self, entry: DeadLetterEntry) -> None:
        if self.failures:
            self.failures -= 1
            raise DeadLetterError("its server is away")
        await super().push(entry)


@pytest.mark.parametrize("semantics", REDELIVERING)
async def test_listen_dlq_whose_push_fails_naks_and_keeps_the_message(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    # more failures than max_deliver: giving up here would lose the message
    settings = make_settings(delivery_semantics=semantics, max_deliver=2)
    broken = BrokenDLQ(failures=4)

    class Consumer(EventConsumer):
        @listen(OrderPlaced, channel="orders", dlq=broken)
        async def on_order(self, event: OrderPlaced) -> None:
            raise ValueError("never works")

    async with NatsEventBus(settings) as bus:
        Consumer().register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
    assert broken.failures == 0
    assert len(broken.entries) == 1


async def test_listen_dlq_whose_push_fails_at_most_once_is_logged(
    make_settings: MakeSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(delivery_semantics="at_most_once")
    broken = BrokenDLQ(failures=1)

    class Consumer(EventConsumer):
        @listen(OrderPlaced, channel="orders", dlq=broken)
        async def on_order(self, event: OrderPlaced) -> None:
            raise ValueError("never works")

    async with NatsEventBus(settings) as bus:
        Consumer().register_to(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: broken.failures == 0)
    assert any("its server is away" in record.message for record in caplog.records)


@pytest.mark.parametrize("semantics", REDELIVERING)
async def test_bus_dlq_whose_push_fails_keeps_the_message(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics, max_deliver=1)
    broken = BrokenDLQ(failures=3)

    def fails(event: Event) -> None:
        raise ValueError("never works")

    async with NatsEventBus(settings, dlq=broken) as bus:
        bus.subscribe(OrderPlaced, fails, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: Durable(nc, settings).is_settled(1))
    assert len(broken.entries) == 1


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_stop_hands_back_what_was_prefetched_at_once(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    # ack_wait is far longer than the test: only handing back explains the second bus's messages
    settings = make_settings(delivery_semantics=semantics, ack_wait_seconds=60, concurrency=5)
    first: list[str] = []
    second: list[str] = []
    started = 0
    gate = asyncio.Event()

    async def waits(event: Event) -> None:
        nonlocal started
        assert isinstance(event, OrderPlaced)
        started += 1
        await gate.wait()
        first.append(event.order_id)

    def quick(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        second.append(event.order_id)

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, waits, channel="orders")
    async with bus:
        await bus.publish_many(orders(20))
        # at most once, what runs is acknowledged and nothing is held ahead of slow handlers
        wanted = 0 if semantics is NatsDeliverySemantics.AT_MOST_ONCE else 10

        async def prefetched() -> bool:
            return started == 5 and await Durable(nc, settings).unacked() == wanted

        await until(prefetched)
        stopping = asyncio.create_task(bus.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
    assert len(first) == 5  # what ran was finished
    other = NatsEventBus(settings)
    other.subscribe(OrderPlaced, quick, channel="orders")
    async with other:
        await until(lambda: len(first) + len(second) == 20)
    assert sorted(first + second, key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_a_handler_that_runs_at_stop_can_publish(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    running, gate = asyncio.Event(), asyncio.Event()

    async def ship(event: Event) -> None:
        running.set()
        await gate.wait()
        await bus.publish(OrderPlaced(order_id="2"), channel="shipped")

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, ship, channel="orders")
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await running.wait()
        stopping = asyncio.create_task(bus.stop())
        await until(lambda: "started=False" in repr(bus))
        gate.set()
        await stopping
        with pytest.raises(NotStartedError):
            await bus.publish(OrderPlaced(order_id="3"), channel="shipped")
    assert await Durable(nc, settings).is_settled(1)
    info = await nc.jetstream().stream_info(settings.stream_name)
    assert info.state.messages == 2


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_handler_that_is_free_gets_the_next_message_while_others_are_busy(
    make_settings: MakeSettings, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics, concurrency=5)
    started: list[int] = []
    gates = [asyncio.Event() for _ in range(20)]

    async def waits(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        started.append(int(event.order_id))
        await gates[int(event.order_id)].wait()

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, waits, channel="orders")
    async with bus:
        await bus.publish_many(orders(20))
        for count in range(5, 20):
            await until(lambda: len(started) == count)  # noqa: B023
            gates[started[-1]].set()
        for gate in gates:
            gate.set()


async def test_stop_cancels_a_handler_that_outlasts_the_drain_timeout(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(ack_wait_seconds=60, drain_timeout_seconds=0.2)
    started = asyncio.Event()
    handled: list[Event] = []

    async def endless(event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, endless, channel="orders")
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await started.wait()
    other = NatsEventBus(settings)
    other.subscribe(OrderPlaced, handled.append, channel="orders")
    async with other:  # well before ack_wait
        await until(lambda: len(handled) == 1)


class LostPubAck:
    """Publishes through a proxy that loses the first PubAck: stored, but the client is cut off."""

    def __init__(self, server: LocalNats, proxy: Proxy, nc: Client) -> None:
        self.proxy = proxy
        self.url = proxy.url_for(server.url)
        self._js = nc.jetstream()

    async def publish(self, bus: NatsEventBus, event: Event) -> None:
        stream = bus.config.stream_name
        self.proxy.drop(ANSWERS)
        publishing = asyncio.create_task(bus.publish(event, channel="orders"))

        async def stored() -> bool:
            return (await self._js.stream_info(stream)).state.messages > 0

        await until(stored)
        self.proxy.restore()
        await publishing


@pytest.mark.parametrize("semantics", ["at_least_once", "exactly_once"])
async def test_lost_puback_is_retried(
    make_settings: MakeSettings, server: LocalNats, nc: Client, semantics: str
) -> None:
    async with Proxy(server.port) as proxy:
        fault = LostPubAck(server, proxy, nc)
        settings = make_settings(
            servers=fault.url, delivery_semantics=semantics, publish_timeout_seconds=1
        )
        async with NatsEventBus(settings) as bus:
            await fault.publish(bus, OrderPlaced(order_id="1"))
            info = await nc.jetstream().stream_info(settings.stream_name)
    if semantics == "exactly_once":
        assert info.state.messages == 1
    else:  # more where a machine is so busy that the next PubAck is late as well
        assert info.state.messages >= 2


async def test_lost_puback_at_most_once_is_reported_and_not_sent_again(
    make_settings: MakeSettings, server: LocalNats, nc: Client
) -> None:
    async with Proxy(server.port) as proxy:
        fault = LostPubAck(server, proxy, nc)
        settings = make_settings(
            servers=fault.url, delivery_semantics="at_most_once", publish_timeout_seconds=1
        )
        async with NatsEventBus(settings) as bus:
            with pytest.raises(Exception, match="not known to be stored after 1 attempt"):
                await fault.publish(bus, OrderPlaced(order_id="1"))
            info = await nc.jetstream().stream_info(settings.stream_name)
    assert info.state.messages == 1


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_message_id_only_under_exactly_once(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    placed = OrderPlaced(order_id="1")
    async with NatsEventBus(settings) as bus:
        first = await bus.publish_acked(placed, channel="orders")
        second = await bus.publish_acked(placed, channel="orders")
        stored = await nc.jetstream().get_msg(settings.stream_name, first.seq)
    exactly_once = semantics is NatsDeliverySemantics.EXACTLY_ONCE
    assert second.duplicate is exactly_once
    assert (second.seq == first.seq) is exactly_once
    found = (stored.headers or {}).get("Nats-Msg-Id")
    assert found == (str(placed.event_id) if exactly_once else None)
    assert found is None or UUID(found)


async def test_exactly_once_keeps_the_same_event_on_two_channels(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(delivery_semantics="exactly_once")
    placed = OrderPlaced(order_id="1")
    async with NatsEventBus(settings) as bus:
        await bus.publish(placed, channel="orders")
        acks = await bus.publish_many_acked([(placed, "audit"), (placed, "audit")])
    assert [ack.duplicate for ack in acks] == [False, True]
    stored = await nc.jetstream().stream_info(settings.stream_name, subjects_filter=">")
    assert stored.state.subjects == {
        settings.subject_name("orders"): 1,
        settings.subject_name("audit"): 1,
    }
