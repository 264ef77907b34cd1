"""Messages that a service without a dead letter queue gave up, from a notebook."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from varco_core.event.base import Event
from varco_nats_widgets import Lab

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, orders
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import DeadLetterError, ReplayRefusedError


@pytest.fixture
def settings(make_settings: MakeSettings) -> NatsEventBusSettings:
    return make_settings(max_deliver=2, nak_delay_seconds=0)


class Service:
    """Cannot handle some orders until it is repaired."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken
        self.handled: Counter[str] = Counter()

    def on_order(self, event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        if event.order_id in self.broken:
            raise ValueError("cannot")
        self.handled[event.order_id] += 1


async def streams(nc: Client) -> set[str]:
    return {str(info.config.name) for info in await nc.jetstream().streams_info()}


async def test_what_a_service_gave_up_is_found_later_dead_lettered_and_replayed_once(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    service = Service({"7", "100"})
    async with NatsEventBus(settings) as bus:
        before = await streams(nc)
        with pytest.warns(UserWarning, match=r"lab\.capture_exhausted\(\)"):
            assert (await lab.aio.exhausted("orders")).empty
        assert await streams(nc) == before  # looking makes none
        await lab.aio.capture_exhausted()
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        await bus.publish_many(orders(300))
        await until(lambda: service.handled.total() == 298)

        async def found() -> bool:
            return len(await lab.aio.exhausted("orders")) == 2

        await until(found)
        frame = await lab.aio.exhausted("orders")
        assert frame.index.tolist() == [8, 101]
        assert frame["reason"].tolist() == ["ValueError"] * 2
        assert frame["certain"].all()
        assert not frame["in_queue"].any()
        assert frame["consumer"].unique().tolist() == [settings.durable_for("orders")]
        assert frame["deliveries"].tolist() == [2, 2]
        assert (frame["given_up_at"] > frame["stored_at"]).all()
        whole = frame.attrs["completeness"]
        assert (whole["unidentified"], whole["gone"], whole["truncated_by"]) == ({}, 0, None)

        ids = await lab.aio.dead_letter(frame, note="the gateway was down")
        assert await lab.aio.dead_letter([101, 8], channel="orders") == ids  # stored once
        assert (await lab.aio.exhausted("orders"))["in_queue"].all()
        letters = lab.dead_letters
        table = await letters.aio.frame()
        assert len(table) == 2
        table = table.loc[ids]  # they are stored side by side, in any order
        assert table["data.order_id"].tolist() == ["7", "100"]
        assert table["error_message"].str.endswith(": the gateway was down").all()
        assert table["first_failed_at"].isna().all()  # of two failures only the last is known

        service.broken.clear()
        plan = await letters.aio.plan(ids)
        report = await letters.aio.run(plan, canary=None, word="nobody")
        assert report.counts == {"replayed": 2}
        await until(lambda: service.handled.total() == 300)
        assert set(service.handled.values()) == {1}
        frame = await lab.aio.exhausted("orders")
        assert frame["handled_by"].tolist() == [report.replay_id] * 2
        with pytest.raises(ReplayRefusedError, match=r"2 of these 2 messages .* again=True"):
            await lab.aio.dead_letter(frame)
        await nc.jetstream().delete_msg(settings.stream_name, 8)
        with pytest.raises(DeadLetterError, match=r"1 of 2 messages .* no longer stored"):
            await lab.aio.dead_letter(frame, again=True)
        async with NatsDLQ(settings) as dlq:
            assert [str(entry.entry_id) for entry in await dlq.list_entries()] == [ids[1]]


async def test_what_nothing_captured_is_offered_and_marked_as_not_certain(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    js = nc.jetstream()
    async with NatsEventBus(settings) as bus:
        await bus.publish_many(orders(20))
    await js.add_consumer(
        settings.stream_name,
        ConsumerConfig(durable_name="plain", ack_policy=AckPolicy.EXPLICIT, max_deliver=2),
    )
    sub = await js.pull_subscribe_bind("plain", stream=settings.stream_name)
    for message in [*await sub.fetch(20, timeout=5)]:
        await (message.nak() if message.metadata.sequence.stream == 3 else message.ack())
    [again] = await sub.fetch(1, timeout=5)
    await again.nak()

    async def given_up() -> bool:
        with pytest.raises(TimeoutError):  # the server gives up when it is asked for more
            await sub.fetch(1, timeout=0.1)
        return not (await sub.consumer_info()).num_ack_pending

    await until(given_up)
    with pytest.warns(UserWarning, match="only how many"):
        frame = await lab.aio.exhausted("orders", limit=19)
    assert frame.index.tolist() == list(range(2, 21))
    assert not frame["certain"].any()
    whole = frame.attrs["completeness"]
    assert (whole["unidentified"], whole["truncated_by"]) == ({"plain": 1}, "limit")

    [entry_id] = await lab.aio.dead_letter(frame.loc[[3]])
    async with NatsDLQ(settings) as dlq:
        [entry] = await dlq.list_entries()
    assert (str(entry.entry_id), entry.source_ref) == (entry_id, f"{settings.stream_name}:3")
    assert "'plain' may have given it up after 2 deliveries" in entry.error_message


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        ([1], {}, "need channel="),
        ([1, 2, 99], {"channel": "orders"}, "3 of these messages .* given up by no consumer"),
        ("frame", {}, "no column consumer, deliveries"),
    ],
)
async def test_wrong_rows_are_refused(
    rows: Any, options: dict[str, Any], problem: str, lab: Lab, settings: NatsEventBusSettings
) -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish_many(orders(2))
    given = await lab.aio.frame("orders") if rows == "frame" else rows
    with pytest.raises(ValueError, match=problem):
        await lab.aio.dead_letter(given, **options)
    assert await lab.aio.dead_letter([], channel="orders") == []
