"""Replays to other channels, streams and servers, and replays of what was replayed before."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import Broken, is_, service_with, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBusSettings
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import Replayer, ReplayOutcome
from varco_nats.server import LocalNats

# Where to


async def test_to_another_channel(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry(), entry(channel=""))
    report = await replayer.run(await replayer.plan(to="orders.retry"), confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 2}
    assert len(await stored(settings, "orders.retry")) == 2


async def test_to_another_server(dlq: NatsDLQ, settings: NatsEventBusSettings) -> None:
    await push(dlq, *map(entry, range(3)))
    async with LocalNats() as sandbox:
        target = NatsEventBusSettings(servers=sandbox.url, stream_name="sandbox")
        async with Replayer(settings, target=target) as replayer:
            assert sandbox.url not in repr(replayer)
            plan = await replayer.plan()
            report = await replayer.run(plan, confirm="nobody")
            assert report.counts == {ReplayOutcome.REPLAYED: 3}
            assert len(await stored(target)) == 3
            [record] = await replayer.log()
            assert record.target == f"sandbox on nats://127.0.0.1:{sandbox.port}"
            with pytest.raises(
                ReplayRefusedError, match="nothing says that services of the target"
            ):
                await replayer.run(plan, canary=1)
    assert await dlq.count() == 0


async def test_plan_of_another_target_is_refused(
    make_settings: MakeSettings, dlq: NatsDLQ, replayer: Replayer, settings: NatsEventBusSettings
) -> None:
    await push(dlq, entry())
    plan = await replayer.plan()
    other = settings.model_copy(update={"stream_name": f"{settings.stream_name}-2"})
    async with Replayer(settings, target=other) as elsewhere:
        with pytest.raises(ReplayRefusedError, match="another target"):
            await elsewhere.run(plan)
    assert await dlq.count() == 1


async def test_replay_stored_in_another_channel_is_not_taken_for_this_one(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    """The server's message ids know no channels."""
    [one] = await push(dlq, entry())
    await replayer.run(await replayer.plan(to="elsewhere"), confirm="nobody")
    await push(dlq, one)  # as a service does whose ack was lost
    refused = await replayer.plan()
    assert refused.to_replay == 0
    assert "replayed before by run" in refused.rows[0].why
    report = await replayer.run(await replayer.plan(again=True), confirm="nobody")
    assert report.counts == {ReplayOutcome.FAILED: 1}
    assert "stored already as" in report.rows[0].why
    assert await dlq.count() == 1
    again = await replayer.run(await replayer.plan(to="third", again=True), confirm="nobody")
    assert again.counts == {ReplayOutcome.REPLAYED: 1}
    assert len(await stored(settings, "third")) == 1


async def test_duplicate_whose_first_copy_is_gone_stays_in_the_queue(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    [one] = await push(dlq, entry())
    await replayer.run(await replayer.plan(), confirm="nobody")
    await push(dlq, one)
    await nc.jetstream().purge_stream(settings.stream_name)
    report = await replayer.run(await replayer.plan(again=True), confirm="nobody")
    assert report.counts == {ReplayOutcome.FAILED: 1}
    assert "which is gone" in report.rows[0].why
    assert await dlq.count() == 1


# Again


async def test_what_came_back_is_counted_and_replayed_only_if_told_to(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=1, delivery_semantics="exactly_once")
    service = Broken()
    async with service_with(settings) as (dlq, bus, replayer):
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: is_(dlq.count(), 1))
        first = await replayer.plan()
        await replayer.run(first)
        await until(lambda: is_(dlq.count(), 1))  # it came back

        refused = await replayer.plan()
        assert "replayed once before, last by run" in refused.rows[0].why
        assert refused.rows[0].entry_id != first.rows[0].entry_id
        service.repaired = True
        plan = await replayer.plan(again=True)
        assert (plan.rows[0].replays, plan.rows[0].headers["Varco-Replay-Count"]) == (1, "2")
        await replayer.run(plan)
        await until(lambda: service.handled == ["1"])
    assert len(await stored(settings)) == 3


async def test_publishing_an_event_of_the_queue_is_a_replay_by_the_same_rule(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with service_with(settings) as (dlq, bus, replayer):
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        for count in ("1", "2"):
            await until(lambda: is_(dlq.count(), 1))
            [one] = await dlq.list_entries()
            assert one.event is not None
            await dlq.ack(one.entry_id)
            await bus.publish(one.event, channel="orders")
            message = (await stored(settings))[-1]
            assert message.headers == {
                "Nats-Msg-Id": f"replay.{one.entry_id}",
                "Varco-Replay-Of": str(one.entry_id),
                "Varco-Replay-Count": count,
                "Varco-Delivery-Count": count,
            }
        await until(lambda: is_(dlq.count(), 1))
        assert (await replayer.plan()).rows[0].replays == 2
