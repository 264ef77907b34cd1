"""Many channels: opened side by side, idle at next to no cost, and all of them after faults."""

from __future__ import annotations

import asyncio
import re

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StorageType, StreamConfig

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from tests.proxy import Proxy, Sent
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ConsumerMismatchError
from varco_nats.server import LocalNats

CREATED = re.compile(rb"\$JS\.API\.CONSUMER\.(?:DURABLE\.)?CREATE\.")
SUBSCRIBED = re.compile(rb"(?:UN)?SUB ")
ASKED = re.compile(rb"PUB \$JS\.API\.CONSUMER\.MSG\.NEXT\.\S+ ")


class Channels:
    """A bus with as many channels, and what it handled."""

    def __init__(self, settings: NatsEventBusSettings, count: int) -> None:
        self.names = [f"orders.{number}" for number in range(count)]
        self.bus = NatsEventBus(settings)
        self.handled: set[str] = set()
        for name in self.names:
            self.bus.subscribe(OrderPlaced, self._handle, channel=name)

    def _handle(self, event: object) -> None:
        assert isinstance(event, OrderPlaced)
        self.handled.add(event.order_id)

    async def handle_one_each(self) -> None:
        self.handled.clear()
        await self.bus.publish_many([(OrderPlaced(order_id=name), name) for name in self.names])
        await until(lambda: len(self.handled) == len(self.names))


async def test_a_thousand_channels(settings: NatsEventBusSettings, nc: Client) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            storage=StorageType.MEMORY,  # the disk would take most of the time
        )
    )
    channels = Channels(settings, 1000)
    async with channels.bus:
        await channels.handle_one_each()


async def test_idle_channels_ask_again_without_new_subscriptions(
    make_settings: MakeSettings, server: LocalNats, proxy: Proxy
) -> None:
    sent = Sent(proxy)
    settings = make_settings(servers=proxy.url_for(server.url), ack_wait_seconds=1.0)
    channels = Channels(settings, 50)
    async with channels.bus:
        await until(lambda: len(sent.different(ASKED)) == 50)  # one may ask twice meanwhile
        sent.forget()
        await until(lambda: sent.count(ASKED) >= 150)
        assert sent.count(SUBSCRIBED) == 0
        await channels.handle_one_each()


async def test_start_goes_on_when_the_connection_is_cut_while_channels_open(
    make_settings: MakeSettings, server: LocalNats, proxy: Proxy
) -> None:
    sent = Sent(proxy)
    channels = Channels(make_settings(servers=proxy.url_for(server.url)), 100)
    starting = asyncio.create_task(channels.bus.start())
    try:
        await until(lambda: sent.count(CREATED) > 20, every=0)
        assert not starting.done()
        proxy.disconnect()
        await starting
        await channels.handle_one_each()
    finally:
        await channels.bus.stop()


async def test_idle_channels_are_consumed_after_the_server_was_killed(
    make_settings: MakeSettings, own_server: LocalNats
) -> None:
    settings = make_settings(servers=own_server.url, ack_wait_seconds=1.0)
    channels = Channels(settings, 50)
    async with channels.bus:
        await channels.handle_one_each()
        await asyncio.to_thread(own_server.kill)
        await until(lambda: channels.bus.connection_error is not None)
        await asyncio.to_thread(own_server.restart)
        await channels.handle_one_each()
        assert channels.bus.consumer_errors == {}


async def test_one_durable_of_many_that_is_for_something_else_fails_start(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    js = nc.jetstream()
    await js.add_stream(name=settings.stream_name, subjects=[settings.wildcard_subject()])
    channels = Channels(settings, 40)
    durable = settings.durable_for(channels.names[7])
    subject = settings.subject_name("other")
    await js.add_consumer(
        settings.stream_name, ConsumerConfig(durable_name=durable, filter_subject=subject)
    )
    with pytest.raises(ConsumerMismatchError, match=durable):
        await channels.bus.start()
    assert channels.bus._connection is None
    await js.delete_consumer(settings.stream_name, durable)
    async with channels.bus:
        await channels.handle_one_each()
