"""Connections of the queue, and the queue in a service and its container."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from nats.aio.client import Client
from providify import DIContainer, Provider
from varco_core.event.base import Event
from varco_core.event.cloudevents import CloudEventsJsonSerializer, CloudEventsSettings
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import AbstractDeadLetterQueue
from varco_core.event.redrive import DlqRedriver

from tests.conftest import MakeSettings
from tests.core.helpers import dlq_stream, entry
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ, NatsDLQConfiguration
from varco_nats.errors import NotStartedError, ServerUnreachableError, SettingsError
from varco_nats.server import LocalNats

# Connecting


async def test_connects_by_itself_once_for_concurrent_first_uses(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    dlq = NatsDLQ(settings)
    await asyncio.gather(*(dlq.push(entry(number)) for number in range(20)))
    assert await dlq.count() == 20
    await dlq.stop()
    await dlq.stop()
    with pytest.raises(NotStartedError, match=r"count\(\)"):
        await dlq.count()
    await dlq.start()
    assert await dlq.count() == 20
    await dlq.stop()


def test_one_object_works_on_one_event_loop_after_another(server: LocalNats) -> None:
    name = f"t-{uuid4().hex}"
    dlq = NatsDLQ(NatsEventBusSettings(servers=server.url, stream_name=name, subject_prefix=name))

    async def push_and_count() -> int:
        await dlq.start()
        await dlq.push(entry())
        count = await dlq.count()
        await dlq.stop()
        return count

    assert asyncio.run(push_and_count()) == 1
    assert asyncio.run(push_and_count()) == 2


async def test_unreachable_server_is_an_error_that_says_so(make_settings: MakeSettings) -> None:
    with pytest.raises(ServerUnreachableError):
        await NatsDLQ(make_settings(servers="nats://127.0.0.1:1")).list_entries()


def test_names_that_nats_does_not_take_are_refused() -> None:
    settings = NatsEventBusSettings()
    with pytest.raises(SettingsError, match=r"dlq_stream.*dlq_durable.*dlq_subject") as caught:
        NatsDLQ(settings, dlq_stream="a.b", dlq_durable="", dlq_subject="a.>")
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsError, match="the stream of the events"):
        NatsDLQ(settings, dlq_stream="varco-events")


def test_repr_has_no_secrets() -> None:
    shown = repr(NatsDLQ(NatsEventBusSettings(servers="nats://user:secret@host:4222")))

    assert "secret" not in shown
    assert "user" not in shown
    assert "host:4222" in shown


# In a service


async def test_listen_with_dlq_stores_the_failed_event(
    settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    class Failing(EventConsumer):
        @listen(OrderPlaced, dlq=dlq)
        async def on_order(self, event: OrderPlaced) -> None:
            raise ValueError("cannot")

    event = OrderPlaced(order_id="1")
    async with NatsEventBus(settings) as bus:
        Failing().register_to(bus)
        bus.subscribe(OrderPlaced, lambda _: None, channel="orders")
        await bus.publish(event, channel="orders")

        async def stored() -> bool:
            return await dlq.count() == 1

        await until(stored)
    (stored_entry,) = await dlq.list_entries()
    assert stored_entry.event == event
    assert (stored_entry.channel, stored_entry.error_message) == ("orders", "cannot")
    assert stored_entry.source_ref == f"{settings.stream_name}:1"


async def test_listen_with_dlq_keeps_the_event_as_it_came(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    class Failing(EventConsumer):
        @listen(OrderPlaced, channel="orders", dlq=dlq)
        async def on_order(self, event: OrderPlaced) -> None:
            await dlq.push(entry(event=OrderPlaced(order_id="another")))
            raise ValueError("cannot")

    body = b'{"__event_type__":"order.placed", "order_id": "1", "currency": "EUR"}'
    async with NatsEventBus(settings) as bus:
        Failing().register_to(bus)
        await nc.jetstream().publish(settings.subject_name("orders"), body)

        async def stored() -> bool:
            return await dlq.count() == 2

        await until(stored)
    js = nc.jetstream()
    another, came = [
        json.loads((await js.get_msg(dlq_stream(settings), seq)).data or b"") for seq in (1, 2)
    ]
    assert json.loads(another["event_payload"])["order_id"] == "another"
    assert (came["event_payload"], came["payload"]) == (body.decode(), None)


async def test_cloudevents_that_fail_are_kept_and_redriven(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=1)
    serializer = CloudEventsJsonSerializer(CloudEventsSettings(source="/orders"))
    handled: list[Event] = []
    fails = True

    async def handler(event: Event) -> None:
        if fails:
            raise RuntimeError("no stock")
        handled.append(event)

    async with (
        NatsDLQ(settings, serializer=serializer) as dlq,
        NatsEventBus(settings, serializer=serializer, dlq=dlq) as bus,
    ):
        bus.subscribe(OrderPlaced, handler, channel="orders")
        event = OrderPlaced(order_id="1")
        await bus.publish(event, channel="orders")
        await until(dlq.count)
        fails = False
        report = await DlqRedriver(dlq, bus).redrive_batch()
        assert report.succeeded == 1
        await until(lambda: handled == [event])
        assert await dlq.count() == 0
    for seq in (1, 2):  # the replay too is one on the wire
        stored = await nc.jetstream().get_msg(settings.stream_name, seq)
        envelope = json.loads(stored.data or b"")
        assert envelope["source"] == "/orders"
        assert envelope["data"]["order_id"] == "1"


async def test_container_gives_one_started_dlq_and_stops_it(
    settings: NatsEventBusSettings,
) -> None:
    @Provider(singleton=True)
    def bound() -> NatsEventBusSettings:
        return settings

    container = DIContainer()
    container.provide(bound)
    await container.ainstall(NatsDLQConfiguration)
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    assert isinstance(dlq, NatsDLQ)
    assert await container.aget(AbstractDeadLetterQueue) is dlq
    await dlq.push(entry())
    assert await dlq.count() == 1

    await container.ashutdown()
    with pytest.raises(NotStartedError):
        await dlq.count()


async def test_container_without_settings_reads_the_environment(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARCO_NATS_SERVERS", settings.servers)
    monkeypatch.setenv("VARCO_NATS_STREAM_NAME", settings.stream_name)
    monkeypatch.setenv("VARCO_NATS_SUBJECT_PREFIX", settings.subject_prefix)
    container = DIContainer()
    await container.ainstall(NatsDLQConfiguration)
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    assert settings.stream_name in repr(dlq)
    await container.ashutdown()
