"""A lab and its bus."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from nats.aio.client import Client
from varco_core.event.base import CHANNEL_ALL, Event
from varco_core.event.producer import BusEventProducer
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab, load

from tests.waiting import until
from tests.widgets.dead_letters.helpers import entry
from tests.widgets.lab.helpers import (
    Backwards,
    LabOrder,
    LabPayment,
    Warehouse,
    orders,
    server_pid,
)
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import (
    UnknownChannelError,
)


def test_quick_start_in_plain_python() -> None:
    lab = Lab()
    pid = server_pid(lab)
    assert repr(lab) == "Lab(local server)"
    assert repr(lab.bus) == "LabBus(local server)"
    assert lab.bus is lab.bus
    assert len(lab.channels()) == 0
    warehouse = Warehouse()
    warehouse.register_to(lab.bus)

    async def publish() -> None:
        await lab.bus.publish_many(orders(*range(50)))
        await lab.bus.drain()

    asyncio.run(publish())

    assert warehouse.packed == list(range(50))
    assert warehouse.threads == {"Lab(local server)"}
    frame = lab.frame("orders")
    assert frame["number"].tolist() == list(range(50))
    assert frame.attrs["completeness"] == {
        "expected": 50,
        "loaded": 50,
        "filtered": 0,
        "gaps": 0,
        "truncated_by": None,
    }
    lab.close()
    lab.close()
    assert repr(lab) == "Lab(local server, closed)"
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    with pytest.raises(RuntimeError, match="Lab is closed"):
        lab.channels()


async def test_a_lab_reads_and_writes_with_the_serializer_of_its_settings(
    settings: NatsEventBusSettings, other: str, tmp_path: Path
) -> None:
    service = settings.model_copy(update={"serializer": Backwards()})
    async with NatsDLQ(service) as dlq, NatsEventBus(service, dlq=dlq) as bus:
        await bus.publish_many([*orders(1, 2), *orders(0, channel="eu.orders")])
        await dlq.push(entry(7, event=LabOrder(number=7)))
    with Lab(service, decoders={"eu.*": "text"}) as lab:
        warehouse = Warehouse()
        warehouse.register_to(lab.bus)
        await lab.bus.publish_many(orders(3))
        await lab.bus.drain()
        assert warehouse.packed == [1, 2, 3]
        frame = await lab.aio.frame("orders")
        assert frame["number"].tolist() == [1, 2, 3]
        assert frame.attrs["decoders"] == {"orders": "Backwards"}
        assert (await lab.aio.export("orders", tmp_path / "o.csv")).rows == 3
        assert load(tmp_path / "o.csv")["number"].tolist() == [1, 2, 3]
        assert (await lab.aio.frame("eu.orders"))["value"].tolist()[0].endswith("{")
        # what others stored, in streams that are none of the service's
        assert (await lab.aio.frame(stream=other))["v"].dropna().tolist() == [1, 2]
        letters = await lab.dead_letters.aio.frame()
        assert letters["data.number"].tolist() == [7]
    with Lab(settings.model_copy(update={"serializer": JsonEventSerializer()})) as lab:
        assert lab._session.decoding.is_plain


async def test_every_method_has_an_awaitable_twin(lab: Lab) -> None:
    await lab.bus.publish(LabOrder(number=1), channel="orders")
    assert (await lab.aio.frame("orders"))["number"].tolist() == [1]
    assert (await lab.aio.channels()).index.tolist() == ["orders"]
    plain = {n for n in dir(Lab) if not n.startswith("_")} - {"aio", "bus", "settings"}
    assert {n for n in dir(lab.aio) if not n.startswith("_")} == plain
    await lab.aio.close()
    assert "closed" in repr(lab)


async def test_varcos_own_producer_works_on_the_bus(lab: Lab) -> None:
    await BusEventProducer(lab.bus)._produce(LabOrder(number=3), channel="orders")
    (ack,) = await lab.bus.publish_many_acked(orders(4))
    assert ack.seq == 2
    assert (await lab.bus.publish_acked(LabOrder(number=5), channel="orders")).seq == 3
    assert lab.frame("orders")["number"].tolist() == [3, 4, 5]


async def test_handlers_may_use_the_bus_and_look(lab: Lab) -> None:
    seen: list[object] = []
    done = threading.Event()

    async def on_order(event: Event) -> None:
        assert isinstance(event, LabOrder)
        lab.bus.subscribe(LabPayment, lambda payment: seen.append(payment), channel=CHANNEL_ALL)
        await lab.bus.publish(LabPayment(order=event.number), channel="payments")
        seen.append(len(await lab.aio.frame("payments")))
        try:
            lab.frame("payments")
        except RuntimeError as error:
            seen.append(str(error))
        done.set()

    lab.bus.subscribe(LabOrder, on_order, channel="orders")
    await lab.bus.publish(LabOrder(number=1), channel="orders")
    assert await asyncio.to_thread(done.wait, 10)
    await lab.bus.drain()
    assert seen[0] == 1
    assert "await the twin under .aio" in str(seen[1])


async def test_cancelled_subscription_hears_no_more(lab: Lab) -> None:
    warehouse = Warehouse()
    (subscription,) = warehouse.register_to(lab.bus)
    await lab.bus.publish_many(orders(1))
    await lab.bus.drain()
    subscription.cancel()
    await lab.bus.publish_many(orders(2))
    assert warehouse.packed == [1]


async def test_drain_says_what_is_not_handled(lab: Lab) -> None:
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(event: Event) -> None:
        loops.append(asyncio.get_running_loop())
        await release.wait()

    lab.bus.subscribe(LabOrder, slow, channel="orders")
    await lab.bus.publish_many(orders(1, 2))
    with pytest.raises(TimeoutError, match=r"2 messages of channel 'orders'.*0\.2 s"):
        await lab.bus.drain(0.2)
    loops[0].call_soon_threadsafe(release.set)
    await lab.bus.drain()


async def test_takes_nothing_from_a_service(settings: NatsEventBusSettings, nc: Client) -> None:
    service, explorer = Warehouse(), Warehouse()
    async with NatsEventBus(settings) as bus:
        service.register_to(bus)
        lab = await asyncio.to_thread(Lab, settings)
        explorer.register_to(lab.bus)
        assert lab.settings.durable_name.startswith("lab-")
        await bus.publish_many(orders(*range(20)))
        await lab.bus.drain()
        assert len(await lab.aio.frame("orders")) == 20
        js = nc.jetstream()
        names = {info.name for info in await js.consumers_info(settings.stream_name)}
        assert names == {"svc-orders", lab.settings.durable_for("orders")}
        own = await js.consumer_info(settings.stream_name, lab.settings.durable_for("orders"))
        assert own.config.inactive_threshold == 600
        await until(lambda: len(service.packed) == 20)
        await asyncio.to_thread(lab.close)
        names = {info.name for info in await js.consumers_info(settings.stream_name)}
        assert names == {"svc-orders"}
    assert service.packed == explorer.packed == list(range(20))


async def test_looking_creates_nothing_on_the_server(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    with Lab(settings) as lab:
        assert len(lab.channels()) == 0
        with pytest.raises(UnknownChannelError, match="holds no messages"):
            lab.frame("orders")
        streams = [info.config.name for info in await nc.jetstream().streams_info()]
        assert settings.stream_name not in streams
