"""Whose a message is when a process or a network stood still: at most one handles it."""

from __future__ import annotations

import asyncio

import nats
import pytest
from nats.aio.client import Client
from varco_core.event.base import Event

from tests.conftest import MakeSettings
from tests.core.helpers import ALL_SEMANTICS, REDELIVERING, Durable, Handled
from tests.events import OrderPlaced, orders
from tests.processes import consumer_process
from tests.proxy import ANSWERS, REQUESTS, Proxy
from tests.waiting import side_by_side, until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.server import LocalCluster, LocalNats


async def test_what_a_stopped_process_had_not_read_is_handled_once(
    make_settings: MakeSettings, nc: Client
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        settings = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1.5)
        durable = Durable(nc, settings)
        async with NatsEventBus(settings) as producer, consumer_process(settings) as stopped:
            await until(durable.waiting)
            stopped.pause()
            await producer.publish(OrderPlaced(order_id="1"), channel="orders")
            await until(durable.unacked)  # in its socket
            async with NatsEventBus(settings) as other:
                handled = Handled(other)
                await until(lambda: handled.orders == ["1"])
            stopped.resume()
            await producer.publish(OrderPlaced(order_id="2"), channel="orders")
            await stopped.wait_for("after 2")
            assert "before 1" not in stopped.lines

    await side_by_side(check, ALL_SEMANTICS)


async def test_what_a_stopped_process_had_not_acknowledged_is_handled_once(
    make_settings: MakeSettings, nc: Client
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        settings = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1.5)
        async with (
            NatsEventBus(settings) as producer,
            consumer_process(settings, stop_when="received") as stopped,
        ):
            await producer.publish(OrderPlaced(order_id="1"), channel="orders")
            await stopped.wait_until_stopped()
            async with NatsEventBus(settings) as other:
                handled = Handled(other)
                await until(lambda: handled.orders == ["1"])
            stopped.resume()
            await producer.publish(OrderPlaced(order_id="2"), channel="orders")
            await stopped.wait_for("after 2")
            assert "before 1" not in stopped.lines

    await side_by_side(check, ALL_SEMANTICS)


async def test_what_waited_behind_a_handler_that_stood_still_is_handled_once(
    make_settings: MakeSettings, nc: Client
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        settings = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1.5)
        async with (
            NatsEventBus(settings) as producer,
            consumer_process(settings, stop_when="during") as stopped,
        ):
            await producer.publish(OrderPlaced(order_id="1"), channel="orders")
            await stopped.wait_until_stopped()
            await producer.publish(OrderPlaced(order_id="2"), channel="orders")
            async with NatsEventBus(settings) as other:
                handled = Handled(other)
                await until(lambda: "2" in handled.orders)
            stopped.resume()
            await producer.publish(OrderPlaced(order_id="3"), channel="orders")
            await stopped.wait_for("after 3")
            assert "before 2" not in stopped.lines

    await side_by_side(check, ALL_SEMANTICS)


async def test_what_was_acknowledged_and_confirmed_too_late_is_not_handled(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(delivery_semantics="at_most_once", ack_wait_seconds=1)
    durable = Durable(nc, settings)
    async with (
        NatsEventBus(settings) as producer,
        consumer_process(settings, stop_when="acked") as stopped,
    ):
        await producer.publish(OrderPlaced(order_id="1"), channel="orders")
        await stopped.wait_until_stopped()
        await until(lambda: durable.is_settled(1))
        await asyncio.sleep(settings.ack_wait_seconds)  # what it reads now proves nothing
        stopped.resume()
        await producer.publish(OrderPlaced(order_id="2"), channel="orders")
        await stopped.wait_for("after 2")
        assert "before 1" not in stopped.lines
        await until(lambda: durable.is_settled(2))


async def test_ack_that_was_on_its_way_for_too_long_is_no_permission_to_handle(
    make_settings: MakeSettings, server: LocalNats, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The server confirms it, though the message is another's by then."""
    direct = make_settings(delivery_semantics="at_most_once", ack_wait_seconds=1)
    durable = Durable(nc, direct)
    async with Proxy(server.port) as proxy:
        slow = direct.model_copy(update={"servers": proxy.url_for(server.url)})
        async with NatsEventBus(direct) as producer, NatsEventBus(slow) as bus:
            handled = Handled(bus)
            await until(durable.waiting)
            proxy.stall(REQUESTS)
            await producer.publish(OrderPlaced(order_id="1"), channel="orders")
            await until(durable.unacked)
            async with NatsEventBus(direct) as other:
                handled_elsewhere = Handled(other)
                await until(lambda: handled_elsewhere.orders == ["1"])
            proxy.flow()
            await until(lambda: "not handled" in caplog.text)
            await producer.publish(OrderPlaced(order_id="2"), channel="orders")
            await until(lambda: "2" in handled.orders)
    assert handled.orders == ["2"]


async def test_what_the_network_kept_for_too_long_is_handled_once(
    make_settings: MakeSettings, server: LocalNats, nc: Client
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        direct = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1)
        durable = Durable(nc, direct)
        async with Proxy(server.port) as proxy:
            slow = direct.model_copy(update={"servers": proxy.url_for(server.url)})
            async with NatsEventBus(direct) as producer, NatsEventBus(slow) as bus:
                handled = Handled(bus)
                await until(durable.waiting)
                proxy.stall(ANSWERS)
                await producer.publish(OrderPlaced(order_id="1"), channel="orders")
                await until(durable.unacked)
                async with NatsEventBus(direct) as other:
                    handled_elsewhere = Handled(other)
                    await until(lambda: handled_elsewhere.orders == ["1"])
                proxy.flow()
                await producer.publish(OrderPlaced(order_id="2"), channel="orders")
                await until(lambda: "2" in handled.orders)
        assert handled.orders == ["2"]

    await side_by_side(check, ALL_SEMANTICS)


async def test_what_waits_during_an_election_is_handled_once(cluster: LocalCluster) -> None:
    """A new leader delivers again at once what was stored longer than `ack_wait` ago."""
    settings = NatsEventBusSettings(
        servers=cluster.servers,
        durable_name="svc",
        delivery_semantics="at_most_once",
        stream_replicas=3,
        ack_wait_seconds=3,
    )
    first, second = NatsEventBus(settings), NatsEventBus(settings)
    gate, handled = asyncio.Event(), list[str]()

    async def handle(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        handled.append(event.order_id)
        await asyncio.sleep(0.002)  # longer than a round trip: nothing is acknowledged ahead
        if len(handled) == 200:
            await gate.wait()

    async with first, second, NatsEventBus(settings) as producer:
        await producer.publish_many(orders(1000))
        nc = await nats.connect(cluster.servers.split(","))
        durable = Durable(nc, settings)
        await asyncio.sleep(settings.ack_wait_seconds)  # they grow old
        first.subscribe(OrderPlaced, handle, channel="orders")
        await until(lambda: len(handled) == 200)
        held = [str(item.seq - 1) for item in first._consumers["orders"]._held.waiting]
        assert held  # unacknowledged, behind the one that is handled
        elsewhere = Handled(second)
        await until(lambda: elsewhere.orders)
        step_down = f"CONSUMER.LEADER.STEPDOWN.{settings.stream_name}.svc-orders"
        await nc.request(f"$JS.API.{step_down}", b"", timeout=5)
        await until(lambda: set(held) & set(elsewhere.orders))
        gate.set()
        await until(lambda: durable.is_settled(1000))
        await nc.close()
    assert not set(handled) & set(elsewhere.orders)


async def test_what_waits_in_a_process_without_connection_is_left_to_others(
    make_settings: MakeSettings, server: LocalNats
) -> None:
    async def check(semantics: NatsDeliverySemantics) -> None:
        direct = make_settings(semantics, delivery_semantics=semantics, ack_wait_seconds=1)
        async with Proxy(server.port) as proxy:
            away = direct.model_copy(update={"servers": proxy.url_for(server.url)})
            async with NatsEventBus(direct) as producer, NatsEventBus(away) as bus:
                begun: list[str] = []
                goes_on = asyncio.Event()

                async def handle(event: Event) -> None:
                    assert isinstance(event, OrderPlaced)
                    begun.append(event.order_id)
                    await goes_on.wait()

                bus.subscribe(OrderPlaced, handle, channel="orders")
                await until(lambda: "orders" in bus._consumers)
                consumer = bus._consumers["orders"]
                await producer.publish(OrderPlaced(order_id="1"), channel="orders")
                await producer.publish(OrderPlaced(order_id="2"), channel="orders")
                await until(lambda: begun == ["1"] and len(consumer._held.waiting) == 1)
                proxy.refuse = True
                proxy.disconnect()
                async with NatsEventBus(direct) as other:
                    handled_elsewhere = Handled(other)
                    await until(lambda: set(handled_elsewhere.orders) == {"1", "2"})
                    goes_on.set()
                    await until(lambda: not consumer._held.waiting)
                proxy.refuse = False
                await producer.publish(OrderPlaced(order_id="3"), channel="orders")
                await until(lambda: "3" in begun)
        assert begun == ["1", "3"]

    await side_by_side(check, REDELIVERING)
