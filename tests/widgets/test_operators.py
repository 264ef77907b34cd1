"""A `Lab` on a stream that an operator made for some channels, and on one of another domain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab

from tests.conftest import MakeSettings
from tests.core.helpers import entry
from tests.events import OrderPlaced
from tests.leaf_nodes import Domains, ack_settings, hub_and_leaf
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ChannelNotCapturedError, PublishError

ORDER = OrderPlaced(order_id="1")


async def test_a_stream_that_captures_some_channels(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    subjects = [settings.subject_name(channel) for channel in ("orders", "payments")]
    await nc.jetstream().add_stream(name=settings.stream_name, subjects=subjects)
    record = await lab.aio.record()
    await lab.bus.publish_many([(ORDER, "orders"), (ORDER, "payments"), (ORDER, "orders")])
    assert (await lab.aio.channels())["messages"].to_dict() == {"orders": 2, "payments": 1}
    assert (await lab.aio.frame(["orders", "payments"])).index.tolist() == [1, 2, 3]
    assert (await lab.aio.frame("payments")).index.tolist() == [2]
    live = await lab.aio.live(["orders", "payments"], last="1h")
    await live.aio.wait(3)
    live.stop()
    handled: list[str] = []
    lab.bus.subscribe(OrderPlaced, lambda event: handled.append("1"), channel="orders")
    await until(lambda: len(handled) == 2)
    await until(lambda: len(record.frame) >= 3)
    record.stop()
    with pytest.raises(ChannelNotCapturedError, match="refunds"):
        lab.bus.subscribe(OrderPlaced, lambda event: None, channel="refunds")
    with pytest.raises(PublishError, match="refunds"):
        await lab.bus.publish(ORDER, channel="refunds")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domains]:
    [*_, newest] = ack_settings().values()
    with hub_and_leaf(tmp_path_factory.mktemp("jetstream"), newest) as domains:
        yield domains


async def test_a_stream_of_another_domain(servers: Domains, make_settings: MakeSettings) -> None:
    """A lab on a leaf node shows what a service on the hub does."""
    there = make_settings(servers=servers.leaf.url, jetstream_domain="hub")
    here = make_settings(servers=servers.hub.url)
    async with NatsEventBus(here) as service, NatsDLQ(here) as dlq:
        handled: list[str] = []
        service.subscribe(OrderPlaced, lambda event: handled.append("1"), channel="orders")
        await service.publish(ORDER, channel="orders")
        await dlq.push(entry(1))
        with Lab(there) as lab:
            record = await lab.aio.record("orders")
            await lab.bus.publish(ORDER, channel="orders")
            await until(lambda: len(handled) == 2)
            assert (await lab.aio.channels())["messages"].to_dict() == {"orders": 2}
            assert (await lab.aio.frame("orders")).index.tolist() == [1, 2]
            assert (await lab.aio.consumers("orders")).index.tolist() == ["svc-orders"]
            assert there.stream_name in (await lab.aio.streams()).index
            live = await lab.aio.live("orders", last="1h")
            await live.aio.wait(2)
            live.stop()
            dead = await lab.aio.dead_letters()
            assert len(await dead.aio.frame()) == 1
            await until(lambda: "acked" in set(record.frame["kind"]))
            record.stop()
