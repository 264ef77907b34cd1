"""Streams that an operator made for the channels in use, and not for all that might be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig
from varco_core.health import HealthStatus

from tests.conftest import MakeSettings
from tests.core.helpers import Handled, dlq_stream, entry
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsStreamManager, Replayer
from varco_nats._nats.stream import overlap
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    ChannelNotCapturedError,
    PublishError,
    PublishManyError,
    StreamMismatchError,
)
from varco_nats.health import NatsHealthCheck
from varco_nats.history import History
from varco_nats.replay import ReplayOutcome

ORDER = OrderPlaced(order_id="1")


async def make_stream(
    nc: Client, settings: NatsEventBusSettings, subjects: Sequence[str] = ("orders", "payments")
) -> None:
    """The stream of `settings`, as an operator makes it, for `subjects` under its prefix."""
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[f"{settings.subject_prefix}.{subject}" for subject in subjects],
            allow_direct=True,
        )
    )


async def change_subjects(
    nc: Client, settings: NatsEventBusSettings, subjects: Sequence[str]
) -> None:
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    wanted = [f"{settings.subject_prefix}.{subject}" for subject in subjects]
    await js.update_stream(config.evolve(subjects=wanted))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("p.>", "p.orders", True),
        ("p.*", "p.>", True),
        ("p.*", "p.orders.eu", False),
        ("p.*.eu", "p.orders.*", True),
        ("p.orders", "p.payments", False),
        ("p", "p.>", False),
        ("q.>", "p.>", False),
        (">", "p.>", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@pytest.mark.parametrize("subjects", [("orders", "payments"), ("*",)])
async def test_the_channels_that_the_stream_captures_are_used(
    settings: NatsEventBusSettings, nc: Client, subjects: Sequence[str]
) -> None:
    await make_stream(nc, settings, subjects)
    async with NatsEventBus(settings) as bus:
        handled = Handled(bus)
        await bus.publish(ORDER, channel="orders")
        await bus.publish_many([(ORDER, "orders"), (ORDER, "payments")])
        await until(lambda: handled.orders == ["1", "1"])
        health = await NatsHealthCheck(settings, bus=bus).check()
    assert health.status is HealthStatus.HEALTHY
    async with History(settings) as history:
        assert await history.names() == ["orders", "payments"]
        assert [message.seq async for message in history.read()] == [1, 2, 3]
    assert (await NatsHealthCheck(settings).check()).status is HealthStatus.HEALTHY


async def test_publishing_where_nothing_is_stored_fails_at_once(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_attempts=20, publish_timeout_seconds=60)
    await make_stream(nc, settings)
    prefix, stream = settings.subject_prefix, settings.stream_name
    async with NatsEventBus(settings) as bus:
        async with asyncio.timeout(30):
            with pytest.raises(PublishError) as caught:
                await bus.publish(ORDER, channel="refunds")
            with pytest.raises(PublishError, match="refunds"):
                await bus.publish_many([(ORDER, "orders"), (ORDER, "refunds")])
        reason = caught.value.__cause__
        assert isinstance(reason, ChannelNotCapturedError)
        assert reason.channel == "refunds"
        assert reason.subject == f"{prefix}.refunds"
        assert reason.found == [f"{prefix}.orders", f"{prefix}.payments"]
        for part in (stream, "refunds", *reason.found, f"nats stream edit {stream}"):
            assert part in str(caught.value)
        assert caught.value.attempts == 0
        info = await nc.jetstream().stream_info(stream)
        assert info.state.messages == 0
        # an administrator adds it, and the bus needs no restart
        await change_subjects(nc, settings, ["orders", "refunds"])
        await bus.publish(ORDER, channel="refunds")


async def test_a_channel_that_the_stream_no_longer_captures_is_refused(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_attempts=50)
    await make_stream(nc, settings)
    async with NatsEventBus(settings) as bus:
        await bus.publish_many([(ORDER, "orders"), (ORDER, "payments")])
        await change_subjects(nc, settings, ["orders"])
        async with asyncio.timeout(30):
            with pytest.raises(PublishManyError, match="not be used until") as caught:
                await bus.publish_many([(ORDER, "orders"), (ORDER, "payments"), (ORDER, "orders")])
        [failure] = caught.value.failures
        assert (failure.index, failure.error.attempts, caught.value.stored) == (1, 1, 2)
        assert isinstance(failure.error.__cause__, ChannelNotCapturedError)


async def test_another_stream_does_not_get_what_is_published(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    """Its subject may be captured, though not by the stream of the bus."""
    await make_stream(nc, settings, ["orders"])
    other = f"{settings.stream_name}-billing"
    await nc.jetstream().add_stream(name=other, subjects=[f"{settings.subject_prefix}.payments"])
    async with NatsEventBus(settings) as bus:
        with pytest.raises(PublishError, match="payments"):
            await bus.publish(ORDER, channel="payments")
    assert (await nc.jetstream().stream_info(other)).state.messages == 0


async def test_subscribing_where_nothing_arrives_is_an_error(
    settings: NatsEventBusSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await make_stream(nc, settings, ["payments"])
    bus = NatsEventBus(settings)
    handled = Handled(bus)
    with pytest.raises(ChannelNotCapturedError, match="'orders'"):
        await bus.start()
    early = NatsEventBus(settings)
    async with early:
        late = Handled(early)
        await until(lambda: "orders" in early.consumer_errors)
        assert isinstance(early.consumer_errors["orders"], ChannelNotCapturedError)
        assert "cannot consume channel 'orders'" in caplog.text
        health = await NatsHealthCheck(settings, bus=early).check()
        assert health.status is HealthStatus.DEGRADED
        assert "nats stream edit" in str(health.detail)
        await change_subjects(nc, settings, ["payments", "orders"])
        await early.publish(ORDER, channel="orders")
        await until(lambda: late.orders == ["1"])
        assert early.consumer_errors == {}
    assert handled.orders == []


async def test_a_stream_for_other_subjects_alone_is_refused(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[f"{settings.subject_prefix}-other.>"]
    )
    with pytest.raises(StreamMismatchError, match="other"):
        await NatsEventBus(settings).start()


async def test_channels_are_declared_listed_and_deleted(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await make_stream(nc, settings)
    admin = NatsChannelManagerSettings(
        servers=settings.servers,
        stream_name=settings.stream_name,
        subject_prefix=settings.subject_prefix,
    )
    async with NatsStreamManager(admin) as manager:
        await nc.jetstream().publish(settings.subject_name("payments"), b"{}")
        await manager.declare_channel("orders")
        with pytest.raises(ChannelNotCapturedError, match="refunds"):
            await manager.declare_channel("refunds")
        assert await manager.list_channels() == ["orders", "payments"]
        assert not await manager.channel_exists("refunds")
        assert await manager.channel_exists("payments")
        await manager.delete_channel("payments")
        assert await manager.list_channels() == ["orders"]
        await change_subjects(nc, settings, ["orders", "refunds"])
        await manager.declare_channel("refunds")
        assert await manager.list_channels() == ["orders", "refunds"]


async def test_replays_go_where_the_stream_captures(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await make_stream(nc, settings, ["orders"])
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await dlq.push(entry(1))
        await dlq.push(entry(2, channel="refunds"))
        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert report.counts == {ReplayOutcome.REPLAYED: 1, ReplayOutcome.FAILED: 1}
        assert [left.channel for left in await dlq.list_entries()] == ["refunds"]


# ---- where dead letters are --------------------------------------------------------------


async def test_dead_letters_may_lie_where_the_stream_captures_nothing(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await make_stream(nc, settings)
    root = f"{settings.subject_prefix}.dead"
    async with NatsDLQ(settings, dlq_subject=root) as dlq, NatsEventBus(settings) as bus:
        await bus.publish(ORDER, channel="orders")
        await dlq.push(entry(1))
        assert [found.error_message for found in await dlq.list_entries()] == ["failure 1"]
    info = await nc.jetstream().stream_info(dlq_stream(settings))
    assert info.config.subjects == [f"{root}.>", root]
    assert info.config.retention == RetentionPolicy.WORK_QUEUE


async def test_dead_letters_that_the_event_stream_captures_are_refused_by_the_server(
    settings: NatsEventBusSettings,
) -> None:
    root = f"{settings.subject_prefix}.dead"
    async with NatsEventBus(settings):
        with pytest.raises(StreamMismatchError, match=r"overlap.*dlq_subject") as caught:
            await NatsDLQ(settings, dlq_subject=root).start()
    assert caught.value.stream == dlq_stream(settings)
    assert settings.stream_name in str(caught.value)


async def test_a_bus_says_that_a_dead_letter_stream_has_its_subjects(
    settings: NatsEventBusSettings,
) -> None:
    async with NatsDLQ(settings, dlq_subject=f"{settings.subject_prefix}.dead"):
        with pytest.raises(StreamMismatchError, match=r"-dlq, which overlap.*dlq_subject"):
            await NatsEventBus(settings).start()


async def test_a_stream_of_the_released_package_cannot_get_subjects_of_the_events(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await make_stream(nc, settings, ["orders", "dead.orders"])
    old = f"{settings.subject_prefix}.__dlq__"
    await nc.jetstream().add_stream(name=dlq_stream(settings), subjects=[old])
    with pytest.raises(StreamMismatchError, match="which overlap"):
        await NatsDLQ(settings, dlq_subject=f"{settings.subject_prefix}.dead").start()
