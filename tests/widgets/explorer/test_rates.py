"""Live rates, and that looking disturbs nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import nats
import numpy as np
import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets._session import worker
from varco_nats_widgets._session.worker import pause_after

from tests.waiting import until
from tests.widgets.explorer.helpers import explore, orders, publish
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings


async def test_watching_renews_channels_and_rates(lab: Lab) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders")
    explorer.watch()
    await publish(lab, 1, channel="payments")
    await until(lambda: explorer.channels.index.tolist() == ["orders", "payments"])
    await until(lambda: "orders" in explorer.rates)
    times, values = explorer.rates["orders"]
    assert len(times) == len(values) >= 1
    assert values[0] > 0
    explorer.watch(False)


async def test_what_nobody_sees_is_not_renewed(
    lab: Lab, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker, "_HIDDEN_SECONDS", 0.05)
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    asked = await nc.subscribe(f"$JS.API.STREAM.INFO.{lab.settings.stream_name}")
    channels = explorer.view().channels
    await asked.next_msg(5)
    await asked.next_msg(5)
    for view, seen in (("one", True), ("two", True), ("one", False)):
        channels._on_message({"type": "sight", "view": view, "seen": seen})
    while asked.pending_msgs:
        await asked.next_msg()
    await asked.next_msg(5)  # one of two still sees it
    channels._on_message({"type": "sight", "view": "two", "seen": False})
    await until(lambda: not explorer._worker._visible.is_set())
    with contextlib.suppress(nats.errors.TimeoutError):  # what was under way ends
        while True:
            await asked.next_msg(0.5)
    await publish(lab, 1, channel="payments")
    assert explorer.channels.index.tolist() == ["orders"]
    channels._on_message({"type": "sight", "view": "three", "seen": True})
    await until(lambda: explorer.channels.index.tolist() == ["orders", "payments"])
    # the rates follow the channels
    await until(lambda: any(np.isnan(rate) for rate in explorer.rates["orders"][1]))
    explorer.close()


def test_a_costly_look_is_rare() -> None:
    assert pause_after(0.01) == 2
    assert pause_after(3) == pause_after(60) == 30


@pytest.fixture
async def service(settings: NatsEventBusSettings) -> AsyncIterator[list[Event]]:
    handled: list[Event] = []
    async with NatsEventBus(settings) as bus:
        bus.subscribe(Event, lambda event: handled.append(event), channel="orders")
        yield handled


async def test_looking_disturbs_no_service_and_leaves_nothing(
    settings: NatsEventBusSettings, service: list[Event], nc: Client
) -> None:
    js = nc.jetstream()
    with await asyncio.to_thread(Lab, settings) as lab:
        async with NatsEventBus(settings.model_copy(update={"durable_name": "other"})) as bus:
            await bus.publish_many(orders(*range(1, 101)))
        explorer = await explore(lab, "orders", page_size=5)
        explorer.watch()
        await explorer.aio.tail()
        await explorer.aio.filter(condition="number == 3")
        await explorer.aio.describe()
        await explorer.aio.open(3)
        await explorer.aio.older()
        await until(lambda: len(service) == 100)
        info = await js.consumer_info(settings.stream_name, settings.durable_for("orders"))
        assert info.num_redelivered == 0
        explorer.close()
    names = {info.name for info in await js.consumers_info(settings.stream_name)}
    assert names == {settings.durable_for("orders")}
