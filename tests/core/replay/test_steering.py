"""Canaries, and runs that are watched, paused, slowed down and cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import Broken, is_, service_with, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.config import NatsDeliverySemantics
from varco_nats.observe import DeliveryEvent, DeliveryKind
from varco_nats.replay import (
    Canary,
    ReplayControl,
    Replayer,
    ReplayOutcome,
    ReplayProgress,
    ReplayState,
)
from varco_nats.replay._run.canary import seconds_to_wait
from varco_nats.replay._run.pace import Pace

# Canary


async def test_canary_that_comes_back_stops_the_run(make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with service_with(settings) as (dlq, bus, replayer):
        await push(dlq, *map(entry, range(20)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        plan = await replayer.plan()
        report = await replayer.run(plan, canary=Canary(3, wait_seconds=20))
        assert report.state is ReplayState.CANARY_FAILED
        assert report.counts == {ReplayOutcome.REPLAYED: 3, ReplayOutcome.NOT_TRIED: 17}
        assert 1 <= len(report.came_back) <= 3
        assert "of the first 3 came back dead" in report.why
        await until(lambda: is_(dlq.count(), 20))
        service.repaired = True
        plan = await replayer.plan(again=True)
        report = await replayer.run(plan, canary=Canary(3, wait_seconds=0.3))
        assert report.counts == {ReplayOutcome.REPLAYED: 20}
        await until(lambda: len(service.handled) == 20)
    assert sorted(service.handled, key=int) == [str(number) for number in range(20)]


async def test_canary_as_large_as_the_plan_is_watched(make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with service_with(settings, target=settings.model_copy()) as (dlq, bus, replayer):
        await push(dlq, *map(entry, range(3)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        report = await replayer.run(await replayer.plan(), canary=3)
        assert report.state is ReplayState.CANARY_FAILED
        assert report.came_back
        [record] = await replayer.log()
        assert (record.canary, record.came_back) == (Canary(3), report.came_back)


async def test_canary_ends_when_all_consumers_are_done_with_it(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=2)
    service = Broken()
    service.repaired = True
    async with service_with(settings) as (dlq, bus, replayer):
        await push(dlq, *map(entry, range(10)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        report = await replayer.run(await replayer.plan(), canary=Canary(2, wait_seconds=3600))
        assert report.counts == {ReplayOutcome.REPLAYED: 10}
        await until(lambda: len(service.handled) == 10)


def test_canary_waits_for_as_long_as_a_message_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = NatsEventBusSettings()  # gives a message up after 1 + 2 + 4 + 8 s
    assert 15 < seconds_to_wait(Canary(), settings) < 60
    assert seconds_to_wait(Canary(), settings.model_copy(update={"max_deliver": 10**9})) == 300
    once = settings.model_copy(update={"delivery_semantics": NatsDeliverySemantics.AT_MOST_ONCE})
    assert seconds_to_wait(Canary(), once) < 15
    caplog.clear()
    assert seconds_to_wait(Canary(wait_seconds=20), settings) == 20
    assert not caplog.messages
    assert seconds_to_wait(Canary(wait_seconds=2), settings) == 2
    assert "watched for 2 s, but the bus gives a message up only after 15 s" in caplog.text


async def test_canary_that_is_refused_stops_the_run(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    async with NatsEventBus(settings):
        pass  # makes the stream
    config = (await nc.jetstream().stream_info(settings.stream_name)).config
    await nc.jetstream().update_stream(config, max_msg_size=100)
    await push(dlq, *map(entry, range(5)))
    await nc.jetstream().update_stream(config, max_msgs=1, discard="new", max_msg_size=-1)
    await nc.jetstream().publish(settings.subject_name("full"), b"")
    report = await replayer.run(
        await replayer.plan(), canary=Canary(2, wait_seconds=0), confirm="nobody"
    )
    assert report.state is ReplayState.CANARY_FAILED
    assert report.counts == {ReplayOutcome.FAILED: 2, ReplayOutcome.NOT_TRIED: 3}


# Watching and steering


async def test_progress_and_observers(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(5)))
    told: list[ReplayProgress] = []
    seen: list[DeliveryEvent] = []
    observation = replayer.observe(seen.append)
    report = await replayer.run(await replayer.plan(), progress=told.append, confirm="nobody")
    observation.cancel()
    assert told[0].phase == "preparing"
    assert (told[-1].phase, told[-1].done, told[-1].total) == ("done", 5, 5)
    assert [event.kind for event in seen] == [DeliveryKind.REPLAYED] * 5
    assert [event.seq for event in seen] == [row.seq for row in report.rows]
    assert {event.event_type for event in seen} == {"order.placed"}


async def test_pause_resume_and_cancel(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, *map(entry, range(50)))
    control, told = ReplayControl(), list[Any]()
    first = asyncio.Event()
    replayer.observe(lambda event: first.set())
    run = asyncio.create_task(
        replayer.run(
            await replayer.plan(), rate=100, control=control, progress=told.append, confirm="nobody"
        )
    )
    await first.wait()
    control.pause()
    assert repr(control) == "ReplayControl(paused)"
    await until(lambda: told[-1].phase == "paused")
    await until(lambda: is_(dlq.count(), 50 - told[-1].done))
    assert (await replayer.log())[0].state is ReplayState.RUNNING
    control.resume()
    at = told[-1].done
    await until(lambda: told[-1].done > at)
    await asyncio.to_thread(control.cancel)
    report = await run
    assert report.state is ReplayState.CANCELLED
    replayed = len(report.of(ReplayOutcome.REPLAYED))
    assert replayed + len(report.of(ReplayOutcome.NOT_TRIED)) == 50
    assert await dlq.count() == 50 - replayed
    assert len(await stored(settings)) == replayed
    assert (await replayer.log())[0].state is ReplayState.CANCELLED


def test_pace() -> None:
    rate = Pace(rate=10)
    assert rate.wait(100.0, 0) == 0
    rate.sent()
    assert rate.wait(100.0, 0) == pytest.approx(0.1)
    rate.restart()
    assert rate.wait(200.0, 0) == 0
    at_once = 0
    while rate.wait(300.0, 0) <= 0:  # nothing could be sent for 100 s
        rate.sent()
        at_once += 1
    assert at_once <= 3
    speed = Pace(speed=2)
    assert speed.wait(0.0, 5_000_000_000) == 0
    speed.sent()
    assert speed.wait(0.5, 9_000_000_000) == pytest.approx(1.5)
    assert Pace().wait(1.0, 5) == 0
