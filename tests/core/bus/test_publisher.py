"""What cannot be published: too large, not allowed, no room; said at once and as what it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_core.event.serializer import JsonEventSerializer

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, orders
from varco_nats.bus import NatsEventBus, _publisher
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import (
    InvalidChannelError,
    PayloadTooLargeError,
    PermissionDeniedError,
    PublishError,
    PublishManyError,
)
from varco_nats.replay import Replayer, ReplayOutcome
from varco_nats.server import LocalNats

HEADERS = len("NATS/1.0\r\nNats-Msg-Id: 00000000-0000-0000-0000-000000000000\r\n\r\n")


def order_of(size: int) -> OrderPlaced:
    """An event that is `size` bytes when it is sent."""
    event = OrderPlaced(order_id="")
    return event.model_copy(
        update={"order_id": "x" * (size - len(JsonEventSerializer().serialize(event)))}
    )


# Too large


@pytest.mark.parametrize(
    ("semantics", "headers"),
    [(NatsDeliverySemantics.AT_LEAST_ONCE, 0), (NatsDeliverySemantics.EXACTLY_ONCE, HEADERS)],
)
async def test_the_server_counts_headers_and_so_does_the_bus(
    make_settings: MakeSettings, nc: Client, semantics: NatsDeliverySemantics, headers: int
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    room = nc.max_payload - headers
    async with NatsEventBus(settings) as bus:
        for size in (room + 1, room + 60, nc.max_payload + 1):
            with pytest.raises(PayloadTooLargeError, match="headers included") as caught:
                await bus.publish(order_of(size), channel="orders")
            assert (caught.value.size, caught.value.limit) == (size + headers, nc.max_payload)
            with pytest.raises(PayloadTooLargeError):
                await bus.publish_many([*orders(3), (order_of(size), "orders")])
        ack = await bus.publish_acked(order_of(room), channel="orders")
        assert ack.seq == 1  # and of what was refused nothing was sent


async def test_a_subject_that_the_server_would_not_take(make_settings: MakeSettings) -> None:
    prefix = make_settings().subject_prefix
    settings = make_settings(subject_prefix=f"{prefix}.{'ü' * 400}", channel_prefix="ö" * 400)
    async with NatsEventBus(settings) as bus:
        with pytest.raises(InvalidChannelError, match="makes a subject of") as caught:
            await bus.publish(OrderPlaced(order_id="1"), channel="😀" * 450)
        assert caught.value.channel == "😀" * 450
        channel = "😀" * 333
        assert len(settings.subject_name(channel).encode()) in range(2900, 3001)
        handled: list[Event] = []
        bus.subscribe(OrderPlaced, handled.append, channel=channel)
        ack = await bus.publish_acked(OrderPlaced(order_id="2"), channel=channel)
        assert ack.seq == 1


# Not allowed


@pytest.fixture(scope="module")
def strict_server() -> Iterator[LocalNats]:
    """One whose login `service` may publish to channels `orders` and `Secret` only.

    The other may publish anywhere but to `secret`.
    """
    allow = ["$JS.API.>", "$JS.ACK.>", "*.orders", "*.Secret"]
    users = ", ".join(
        f"{{ user: {name}, password: x, permissions: {{ publish: {json.dumps(publish)} }} }}"
        for name, publish in {
            "service": {"allow": allow},
            "anywhere_but_secret": {"deny": ["*.secret"]},
        }.items()
    )
    with LocalNats(token=None, config=f"authorization {{ users: [ {users} ] }}") as server:
        yield server


@pytest.fixture
def strict_settings(strict_server: LocalNats, make_settings: MakeSettings) -> NatsEventBusSettings:
    return make_settings(
        servers=strict_server.url, connect_kwargs={"user": "service", "password": "x"}
    )


@pytest.mark.parametrize("channel", ["secret", 'Se"c\\ret', "sécret"])
async def test_a_refused_publish_is_told_at_once_and_as_such(
    strict_settings: NatsEventBusSettings, channel: str
) -> None:
    settings = strict_settings.model_copy(update={"publish_timeout_seconds": 1000})
    async with NatsEventBus(settings) as bus:
        with pytest.raises(
            PublishError, match="after 1 attempt: the NATS server does not"
        ) as caught:
            await bus.publish(OrderPlaced(order_id="1"), channel=channel)
        cause = caught.value.__cause__
        assert isinstance(cause, PermissionDeniedError)
        assert cause.operation == "publish"
        assert cause.subject == cause.allow == settings.subject_name(channel)
        assert repr(cause.subject) in str(caught.value)


async def test_in_a_batch_only_the_refused_subjects_fail(
    strict_settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = strict_settings.model_copy(update={"publish_timeout_seconds": 1000})
    channels = ["orders", "secret", "Secret", "other"]
    events = [pair for channel in channels for pair in orders(1000, channel)]
    events = [events[number % 4 * 1000 + number // 4] for number in range(4000)]
    async with NatsEventBus(settings) as bus:
        with caplog.at_level(logging.WARNING), pytest.raises(PublishManyError) as caught:
            await bus.publish_many(events)
        refused = {failure.index for failure in caught.value.failures}
        assert refused == {i for i, (_, channel) in enumerate(events) if channel in channels[1::2]}
        assert caught.value.stored == 2000
        for failure in caught.value.failures:
            assert isinstance(failure.error.__cause__, PermissionDeniedError)
            assert failure.error.attempts == 1
        assert (await bus.publish_acked(OrderPlaced(order_id="1"), channel="orders")).seq == 2001
    assert caplog.messages == []  # who published was told


async def test_answers_to_refused_messages_that_come_late_are_not_logged(
    strict_settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with NatsEventBus(strict_settings) as bus:
        with pytest.raises(PublishError):
            await bus.publish(OrderPlaced(order_id="1"), channel="secret")
        assert bus._connection is not None
        nc = bus._connection.nc
        with caplog.at_level(logging.WARNING):
            await nc.publish(strict_settings.subject_name("secret"), b"as those on their way")
            await nc.flush()
            assert caplog.messages == []
            await nc.publish(strict_settings.subject_name("another"), b"of which nobody was told")
            await nc.flush()
            assert len(caplog.messages) == 1


async def test_a_refused_replay_fails_at_once_and_the_others_go_on(
    strict_settings: NatsEventBusSettings,
) -> None:
    prefix = strict_settings.subject_prefix
    login = {"user": "anywhere_but_secret", "password": "x"}
    settings = strict_settings.model_copy(
        update={"publish_timeout_seconds": 1000, "connect_kwargs": login}
    )
    async with NatsEventBus(settings), NatsDLQ(settings) as dlq, Replayer(settings) as replayer:
        for channel in ("orders", "secret", "orders", "secret"):
            await dlq.push(DeadLetterEntry(channel=channel, payload=b"{}"))
        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert [row.outcome for row in report.rows] == [
            ReplayOutcome.REPLAYED,
            ReplayOutcome.FAILED,
            ReplayOutcome.REPLAYED,
            ReplayOutcome.FAILED,
        ]
        assert f"does not let this login publish to '{prefix}.secret'" in report.rows[1].why
        assert await dlq.count() == 2


# No room


async def test_a_server_without_room_says_so(make_settings: MakeSettings) -> None:
    with LocalNats(max_store_bytes=100_000) as full:
        async with NatsEventBus(make_settings(servers=full.url)) as bus:
            events: list[tuple[Event, str]] = [(order_of(20_000), "orders") for _ in range(8)]
            with pytest.raises(PublishManyError, match="max_file_store") as caught:
                await bus.publish_many(events)
            assert 0 < caught.value.stored < 8
            assert {failure.error.attempts for failure in caught.value.failures} == {1}


async def test_a_full_stream_says_so(settings: NatsEventBusSettings, nc: Client) -> None:
    await nc.jetstream().add_stream(
        name=settings.stream_name,
        subjects=[settings.wildcard_subject()],
        max_bytes=100_000,
        discard="new",
    )
    async with NatsEventBus(settings) as bus:
        events: list[tuple[Event, str]] = [(order_of(20_000), "orders") for _ in range(8)]
        with pytest.raises(
            PublishManyError, match=r"max_bytes of the stream.*maximum bytes exceeded"
        ):
            await bus.publish_many(events)


async def test_silence_may_mean_a_full_disk(make_settings: MakeSettings, nc: Client) -> None:
    """A server whose disk is full takes messages and says nothing, as with this stream."""
    settings = make_settings(publish_timeout_seconds=0.3, publish_attempts=1)
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[settings.wildcard_subject()], no_ack=True
    )
    async with NatsEventBus(settings) as bus:
        with pytest.raises(PublishError, match=r"no PubAck within 0\.3 s; .*out of disk"):
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_who_never_gives_up_may(
    make_settings: MakeSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_publisher, "_LONGEST_DELAY", 0.0)
    settings = make_settings(publish_attempts=1100)
    async with NatsEventBus(settings) as bus:
        await nc.jetstream().delete_stream(settings.stream_name)
        with pytest.raises(PublishError, match="after 1100 attempts"):
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")
