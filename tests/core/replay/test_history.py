"""Replaying what a channel holds to another channel."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.replay.helpers import has_run, publish, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsEventBus, NatsEventBusSettings
from varco_nats.errors import ReplayHeldError, ReplayRefusedError
from varco_nats.history import StoredMessage
from varco_nats.observe import DeliveryEvent
from varco_nats.replay import ReplayControl, Replayer, ReplayKind, ReplayOutcome, ReplayState
from varco_nats.server import LocalNats


def order_ids(messages: list[StoredMessage]) -> list[str]:
    return [json.loads(message.data)["order_id"] for message in messages]


async def test_history_goes_to_another_channel_in_order(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    await publish(settings, 30)
    plan = await replayer.plan_history("orders", to="copy", start_seq=3, end_seq=27, note="try")
    assert (plan.kind, len(plan)) == (ReplayKind.HISTORY, 25)
    report = await replayer.run(plan)
    assert report.counts == {ReplayOutcome.REPLAYED: 25}
    copied = await stored(settings, "copy")
    assert order_ids(copied) == [str(number) for number in range(2, 27)]
    assert copied[0].headers is not None
    assert copied[0].headers["Varco-Replay-Of"] == f"{settings.stream_name}:3"
    assert (await replayer.log())[0].note == "try"


async def test_history_to_the_live_channel_wants_a_word(
    settings: NatsEventBusSettings, make_settings: MakeSettings, replayer: Replayer
) -> None:
    await publish(settings, 3)
    for to in (None, "orders"):
        with pytest.raises(ReplayRefusedError, match="live=True"):
            await replayer.plan_history("orders", to=to)
    # the same server by another name
    alias = settings.model_copy(
        update={"servers": settings.servers.replace("127.0.0.1", "localhost")}
    )
    async with Replayer(settings, target=alias) as other:
        with pytest.raises(ReplayRefusedError, match="live=True"):
            await other.plan_history("orders")
    plan = await replayer.plan_history("orders", live=True)
    assert (await replayer.run(plan)).counts == {ReplayOutcome.REPLAYED: 3}
    assert len(await stored(settings)) == 6


async def test_history_to_a_sandbox_with_a_transform(settings: NatsEventBusSettings) -> None:
    await publish(settings, 10)

    def transform(payload: dict[str, Any]) -> dict[str, Any] | None:
        return None if payload["order_id"] == "4" else {**payload, "total": 2}

    async with LocalNats() as sandbox:
        target = NatsEventBusSettings(servers=sandbox.url)
        async with Replayer(settings, target=target) as replayer:
            plan = await replayer.plan_history("orders", transform=transform)
            report = await replayer.run(plan)
            assert report.counts == {ReplayOutcome.REPLAYED: 9, ReplayOutcome.SKIPPED: 1}
            copied = await stored(target)
    assert {json.loads(message.data)["total"] for message in copied} == {2}
    assert len(copied) == 9


async def test_history_repeated_stores_nothing_twice_unless_told_to(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(duplicate_window_seconds=0.2)
    await publish(settings, 20)
    async with Replayer(settings) as replayer:
        stop = ReplayControl()
        seen = 0

        def count(event: DeliveryEvent) -> None:
            nonlocal seen
            seen += 1
            if seen == 5:
                stop.cancel()

        observation = replayer.observe(count)
        plan = await replayer.plan_history("orders", to="copy")
        first = await replayer.run(plan, control=stop, in_flight=1)
        observation.cancel()
        assert first.state is ReplayState.CANCELLED
        await asyncio.sleep(0.4)  # the server forgets the message ids
        second = await replayer.run(await replayer.plan_history("orders", to="copy"))
        assert second.counts == {ReplayOutcome.DUPLICATE: seen, ReplayOutcome.REPLAYED: 20 - seen}
        assert order_ids(await stored(settings, "copy")) == [str(n) for n in range(20)]
        again = await replayer.run(await replayer.plan_history("orders", to="copy", again=True))
        assert again.counts == {ReplayOutcome.REPLAYED: 20}


async def test_history_that_differs_is_another_replay(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=0.2)
    target = make_settings(
        duplicate_window_seconds=0.2,
        stream_name=f"{settings.stream_name}-2",
        subject_prefix=f"{settings.subject_prefix}-2",
    )
    await publish(settings, 5)
    async with Replayer(settings, target=target) as replayer:
        await replayer.run(await replayer.plan_history("orders"))
        await asyncio.sleep(0.4)  # the server forgets the message ids
        doubled = await replayer.plan_history("orders", transform=lambda p: {**p, "total": 2})
        for outcome in (ReplayOutcome.REPLAYED, ReplayOutcome.DUPLICATE):
            assert (await replayer.run(doubled)).counts == {outcome: 5}
        record = (await replayer.log())[0]
        assert record.history["channel"] == "orders"
        assert (record.history["first_seq"], record.history["last_seq"]) == (1, 5)

        await nc.jetstream().purge_stream(target.stream_name)
        gone = await replayer.run(await replayer.plan_history("orders"))
        assert gone.counts == {ReplayOutcome.SKIPPED: 5}
        assert "stored it, and the messages of that time are gone" in gone.rows[0].why

        await nc.jetstream().delete_stream(settings.stream_name)
        await publish(settings, 5)  # other messages with the same sequences
        assert (await replayer.run(await replayer.plan_history("orders"))).counts == {
            ReplayOutcome.REPLAYED: 5
        }


async def test_history_replayed_by_two_at_once_is_refused(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    await publish(settings, 10)
    plan, control = await replayer.plan_history("orders", to="copy"), ReplayControl()
    control.pause()
    run = asyncio.create_task(replayer.run(plan, control=control))
    await until(lambda: has_run(replayer))
    with pytest.raises(ReplayHeldError, match="ada@"):
        await replayer.run(plan)
    control.resume()
    assert (await run).counts == {ReplayOutcome.REPLAYED: 10}
    assert len(await stored(settings, "copy")) == 10
    states = [record.state for record in await replayer.log()]
    assert states == [ReplayState.STOPPED, ReplayState.DONE]


async def test_history_keeps_its_order_where_the_stream_is_away_for_a_moment(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_attempts=30)
    await publish(settings, 40)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    away = [settings.subject_name("orders")]
    seen: list[DeliveryEvent] = []
    async with Replayer(settings) as replayer:
        replayer.observe(seen.append)
        plan = await replayer.plan_history("orders", to="copy")
        run = asyncio.create_task(replayer.run(plan, rate=100))
        await until(lambda: len(seen) >= 5)
        await js.update_stream(config, subjects=away)
        await asyncio.sleep(0.1)  # in which some are refused
        await js.update_stream(config)
        report = await run
    assert report.counts == {ReplayOutcome.REPLAYED: 40}
    assert order_ids(await stored(settings, "copy")) == [str(number) for number in range(40)]


async def test_history_at_its_pace(settings: NatsEventBusSettings, replayer: Replayer) -> None:
    async with NatsEventBus(settings) as bus:
        for number in range(3):
            await bus.publish(OrderPlaced(order_id=str(number)), channel="orders")
            await asyncio.sleep(0.2)
    first, *_, last = await stored(settings)
    plan = await replayer.plan_history("orders", to="copy")
    began = time.time_ns()
    await replayer.run(plan, speed=1.0)
    *_, copied = await stored(settings, "copy")
    # from the beginning, as a busy machine stores the first copy late and the last one in time
    assert copied.time_ns - began >= last.time_ns - first.time_ns
