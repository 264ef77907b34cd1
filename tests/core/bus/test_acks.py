"""Confirmed acks, many at once: what is handled and what comes again when one is lost."""

from __future__ import annotations

import asyncio
import re

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.helpers import ALL_SEMANTICS, Durable, Handled
from tests.events import OrderPlaced, orders
from tests.processes import consumer_process
from tests.proxy import REQUESTS, Proxy
from tests.waiting import until
from varco_nats._nats.delivery import MessageDelivery, clock
from varco_nats.bus import NatsEventBus
from varco_nats.bus._acks import OpenAck, RunAhead
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.observe import DeliveryEvent, DeliveryKind
from varco_nats.server import LocalNats

CONFIRMATION = re.compile(rb"MSG \S+ \d+ 0\r\n\r\n")


class Through:
    """A bus behind a proxy: what it handles, and which of its acks are confirmed."""

    def __init__(self, settings: NatsEventBusSettings, proxy: Proxy) -> None:
        url = proxy.url_for(settings.servers)
        self.bus = NatsEventBus(settings.model_copy(update={"servers": url}))
        self.handled = Handled(self.bus).orders
        self.acked: list[int | None] = []
        self.bus.observe(self._observe)

    def _observe(self, event: DeliveryEvent) -> None:
        if event.kind is DeliveryKind.ACKED:
            self.acked.append(event.seq)


async def test_lost_confirmations_hold_up_nothing_and_are_asked_for_again(
    make_settings: MakeSettings, nc: Client, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(
        delivery_semantics="exactly_once", publish_timeout_seconds=0.5, publish_attempts=1000
    )
    through = Through(settings, proxy)
    async with NatsEventBus(settings) as producer, through.bus:
        proxy.lose = CONFIRMATION
        await producer.publish_many(orders(50))
        await until(lambda: len(through.handled) == 50)
        await until(lambda: Durable(nc, settings).is_settled(50))
        assert through.acked == []
        proxy.lose = None
        await until(lambda: len(through.acked) == 50)
        assert sorted(map(str, through.acked)) == sorted(str(seq) for seq in range(1, 51))
    assert through.handled == [str(number) for number in range(50)]
    assert "not confirmed" not in caplog.text


async def test_ack_that_is_never_confirmed_is_told(
    make_settings: MakeSettings, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(
        delivery_semantics="exactly_once", publish_timeout_seconds=0.1, publish_attempts=2
    )
    through = Through(settings, proxy)
    async with NatsEventBus(settings) as producer, through.bus:
        proxy.lose = CONFIRMATION
        await producer.publish_many(orders(3))
        await until(lambda: caplog.text.count("its ack was not confirmed; it may come again") == 3)
        assert through.handled == ["0", "1", "2"]
        assert through.acked == []


async def test_stop_waits_for_open_confirmations(
    make_settings: MakeSettings, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(
        delivery_semantics="exactly_once", publish_timeout_seconds=0.3, publish_attempts=1000
    )
    through = Through(settings, proxy)
    async with NatsEventBus(settings) as producer, through.bus:
        proxy.lose = CONFIRMATION
        await producer.publish_many(orders(5))
        await until(lambda: len(through.handled) == 5)
        stopping = asyncio.create_task(through.bus.stop())
        await until(lambda: through.bus._consumers == {})
        proxy.lose = None
        await stopping
    assert sorted(map(str, through.acked)) == ["1", "2", "3", "4", "5"]
    assert "not confirmed" not in caplog.text


async def test_stop_waits_no_longer_than_the_drain_timeout_for_confirmations(
    make_settings: MakeSettings, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(delivery_semantics="exactly_once", drain_timeout_seconds=0.3)
    through = Through(settings, proxy)
    async with NatsEventBus(settings) as producer, through.bus:
        proxy.lose = CONFIRMATION
        await producer.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: through.handled == ["1"])
    assert caplog.text.count("its ack was not confirmed; it may come again") == 1


async def test_killed_before_its_acks_arrived_all_come_again(
    make_settings: MakeSettings, nc: Client, proxy: Proxy
) -> None:
    settings = make_settings(delivery_semantics="exactly_once", ack_wait_seconds=1)
    through = settings.model_copy(update={"servers": proxy.url_for(settings.servers)})
    async with NatsEventBus(settings) as producer:
        async with consumer_process(through) as victim:
            await until(Durable(nc, settings).waiting)
            proxy.stall(REQUESTS)
            await producer.publish_many(orders(2))  # as many as it has asked for
            await victim.wait_for("after 1")
            await victim.kill()
            proxy.disconnect()
        async with NatsEventBus(settings) as survivor:
            handled = Handled(survivor)
            await until(lambda: sorted(handled.orders) == ["0", "1"])


@pytest.mark.parametrize(("seconds", "count", "lost"), [(0.0, 3000, 257), (0.4, 8, 1)])
async def test_killed_at_most_once_loses_no_more_than_was_acknowledged_ahead(
    make_settings: MakeSettings, nc: Client, seconds: float, count: int, lost: int
) -> None:
    """A round trip's worth: of slow handlers, the message that is handled just now."""
    settings = make_settings(delivery_semantics="at_most_once", ack_wait_seconds=5)
    durable = Durable(nc, settings)
    async with NatsEventBus(settings) as producer:
        await producer.publish_many(orders(count))
        async with consumer_process(settings, seconds=seconds) as victim:
            await victim.wait_for_count("during", count // 4)
            await victim.kill()
        async with NatsEventBus(settings) as survivor:
            handled = Handled(survivor)
            await until(lambda: durable.is_settled(count))
    before = [line.split()[1] for line in victim.lines if line.startswith("during")]
    assert not set(before) & set(handled.orders)
    assert count - len(before) - len(handled.orders) <= lost


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_consuming_goes_on_after_its_server_was_killed_in_the_middle(
    semantics: NatsDeliverySemantics,
) -> None:
    with LocalNats() as own:
        settings = NatsEventBusSettings(
            servers=own.url,
            durable_name="svc",
            delivery_semantics=semantics,
            ack_wait_seconds=2,
            publish_timeout_seconds=1,
            publish_attempts=20,
        )
        bus = NatsEventBus(settings)
        handled = Handled(bus)
        async with NatsEventBus(settings) as producer:
            await producer.publish_many(orders(2000))
            async with bus:
                await until(lambda: len(handled.orders) > 100)
                await asyncio.to_thread(own.kill)
                await asyncio.to_thread(own.restart)
                await producer.publish(OrderPlaced(order_id="last"), channel="orders")
                await until(lambda: "last" in handled.orders)
                if semantics is not NatsDeliverySemantics.AT_MOST_ONCE:
                    await until(lambda: len(set(handled.orders)) == 2001)


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
async def test_short_ack_wait_starves_nothing_and_asks_moderately(
    make_settings: MakeSettings,
    nc: Client,
    caplog: pytest.LogCaptureFixture,
    semantics: NatsDeliverySemantics,
) -> None:
    settings = make_settings(delivery_semantics=semantics, ack_wait_seconds=0.1)
    requests = 0

    async def count(msg: object) -> None:
        nonlocal requests
        requests += 1

    bus = NatsEventBus(settings)
    handled = Handled(bus)
    async with bus:
        asked = f"$JS.API.CONSUMER.MSG.NEXT.{settings.stream_name}.*"
        await nc.subscribe(asked, cb=count)
        began = clock()
        await until(lambda: requests > 20)  # idle
        for number in range(10):
            await bus.publish(OrderPlaced(order_id=str(number)), channel="orders")
            await until(
                lambda: len(set(handled.orders)) + caplog.text.count("is not handled") > number  # noqa: B023
            )
        assert requests < 100 * (clock() - began) + 100
        await until(lambda: Durable(nc, settings).is_settled(10))


def handler_of(ahead: RunAhead, round_trip: float, handling: float, times: int) -> None:
    """One handler whose acks take `round_trip` seconds, and handling `handling`."""
    for index in range(times):
        ack = OpenAck(MessageDelivery("orders", "events", index, 1, None, "svc"), index)
        ack.sent_at = clock() - round_trip
        ahead.sent(ack)
        ack.confirmed = True
        ahead.settled(ack)
        ahead.handled(handling)


@pytest.mark.parametrize(
    ("round_trip", "handling", "count"),
    [(0.001, 1.0, 0), (0.1, 1.0, 0), (1.0, 0.1, 10), (1.0, 0.0001, 256)],
)
def test_acks_run_ahead_by_a_round_trip(round_trip: float, handling: float, count: int) -> None:
    ahead = RunAhead(handlers=1)
    assert ahead.count == 0
    handler_of(ahead, round_trip, handling, 1000)
    assert ahead.count in (count, count + 1) if count < 256 else ahead.count == 256


def test_ack_that_is_never_confirmed_does_not_measure_a_round_trip() -> None:
    ahead = RunAhead(handlers=1)
    ahead.handled(0.001)
    ack = OpenAck(MessageDelivery("orders", "stream", 1, 1, None, "svc"), 1)
    ack.sent_at = clock() - 5
    ahead.sent(ack)
    ack.confirmed = False
    ahead.settled(ack)
    assert ahead.count == 0
