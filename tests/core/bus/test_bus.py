"""Publishing, subscribing and the life of a bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError
from varco_core.event.base import CHANNEL_ALL, ErrorPolicy, Event, EventMiddleware
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.producer import BusEventProducer

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, OrderShipped, orders
from tests.processes import consumer_process
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.bus._consumer import ChannelConsumer
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import (
    AuthenticationError,
    ConsumerMismatchError,
    InvalidChannelError,
    JetStreamUnavailableError,
    NotStartedError,
    PayloadTooLargeError,
    PublishError,
    PublishManyError,
    ServerUnreachableError,
    StreamMismatchError,
    StreamNotFoundError,
)
from varco_nats.server import LocalNats

BAD_CHANNELS = ["x.>", "x.*", "*", ">", "", "  ", "a b", ".a", "a.", "a..b", "a\tb", "a\r\nPUB"]


async def test_quick_start(settings: NatsEventBusSettings) -> None:
    placed: list[OrderPlaced] = []

    class Orders(EventConsumer):
        @listen(OrderPlaced, channel="orders")
        async def on_order(self, event: OrderPlaced) -> None:
            placed.append(event)

    async with NatsEventBus(settings) as bus:
        Orders().register_to(bus)
        event = OrderPlaced(order_id="1")
        await BusEventProducer(bus)._produce(event, channel="orders")
        await until(lambda: placed == [event])


async def test_messages_published_before_the_consumer_existed_are_delivered(
    settings: NatsEventBusSettings,
) -> None:
    handled: list[Event] = []
    async with NatsEventBus(settings) as producer:
        await producer.publish_many(orders(10))
    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, handled.append, channel="orders")
    async with bus:
        await until(lambda: len(handled) == 10)


async def test_handlers_of_a_channel_run_in_order_one_at_a_time(
    settings: NatsEventBusSettings,
) -> None:
    trace: list[str] = []

    async def handle(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        trace.append(f"begin {event.order_id}")
        await asyncio.sleep(0)
        trace.append(f"end {event.order_id}")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish_many(orders(50))
        await until(lambda: len(trace) == 100)
    assert trace == [f"{step} {number}" for number in range(50) for step in ("begin", "end")]


async def test_concurrency_runs_handlers_side_by_side(make_settings: MakeSettings) -> None:
    running, most = 0, 0

    async def handle(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await until(lambda: most == 4)
        running -= 1

    async with NatsEventBus(make_settings(concurrency=4)) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish_many(orders(8))
        await until(lambda: most == 4 and running == 0)


async def test_matching_by_class_parent_name_filter_and_channel(
    settings: NatsEventBusSettings,
) -> None:
    seen: dict[str, list[str]] = {}

    def note(name: str) -> Callable[[Event], None]:
        seen[name] = []
        return lambda event: seen[name].append(type(event).__name__)

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, note("class"), channel="orders")
    bus.subscribe(Event, note("parent"), channel="orders")
    bus.subscribe("order.shipped", note("name"), channel="orders")
    bus.subscribe(
        OrderPlaced,
        note("filter"),
        channel="orders",
        filter=lambda event: event.order_id == "2",  # type: ignore[attr-defined]
    )
    bus.subscribe(Event, note("all channels"), channel=CHANNEL_ALL)
    bus.subscribe(Event, note("other channel"), channel="other")
    async with bus:
        for event in (
            OrderPlaced(order_id="1"),
            OrderPlaced(order_id="2"),
            OrderShipped(order_id="1"),
        ):
            await bus.publish(event, channel="orders")
        await until(lambda: len(seen["all channels"]) == 3)
    assert seen == {
        "class": ["OrderPlaced", "OrderPlaced"],
        "parent": ["OrderPlaced", "OrderPlaced", "OrderShipped"],
        "name": ["OrderShipped"],
        "filter": ["OrderPlaced"],
        "all channels": ["OrderPlaced", "OrderPlaced", "OrderShipped"],
        "other channel": [],
    }


async def test_channel_all_opens_no_consumer(settings: NatsEventBusSettings, nc: Client) -> None:
    bus = NatsEventBus(settings)
    bus.subscribe(Event, lambda event: None, channel=CHANNEL_ALL)
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        assert await nc.jetstream().consumers_info(settings.stream_name) == []


async def test_priority_and_middleware_order(settings: NatsEventBusSettings) -> None:
    trace: list[str] = []

    class Note(EventMiddleware):
        def __init__(self, name: str) -> None:
            self.name = name

        async def __call__(
            self,
            event: Event,
            channel: str,
            next: Callable[[Event, str], Awaitable[None]],  # noqa: A002 - varco's signature
        ) -> None:
            trace.append(f"{self.name}>")
            await next(event, channel)
            trace.append(f"<{self.name}")

    bus = NatsEventBus(settings, middleware=[Note("outer"), Note("inner")])
    bus.subscribe(OrderPlaced, lambda event: trace.append("low"), channel="orders", priority=-1)
    bus.subscribe(OrderPlaced, lambda event: trace.append("high"), channel="orders", priority=9)
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(trace) == 6)
    assert trace == ["outer>", "inner>", "high", "low", "<inner", "<outer"]


@pytest.mark.parametrize(
    ("policy", "calls"),
    [
        (ErrorPolicy.COLLECT_ALL, ["first", "second"] * 2),
        (ErrorPolicy.FAIL_FAST, ["first"] * 2),
        (ErrorPolicy.FIRE_FORGET, ["first", "second"]),
    ],
)
async def test_error_policies(
    make_settings: MakeSettings, policy: ErrorPolicy, calls: list[str]
) -> None:
    made: list[str] = []

    def first(event: Event) -> None:
        made.append("first")
        raise ValueError("first fails")

    bus = NatsEventBus(make_settings(max_deliver=2), error_policy=policy)
    bus.subscribe(OrderPlaced, first, channel="orders")
    bus.subscribe(OrderPlaced, lambda event: made.append("second"), channel="orders")
    bus.subscribe(OrderShipped, lambda event: made.append("end"), channel="orders")
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(made) == len(calls))
        await bus.publish(OrderShipped(order_id="1"), channel="orders")
        await until(lambda: made[-1] == "end")
    assert made == [*calls, "end"]


async def test_cancelled_subscription_closes_its_consumer_and_loses_nothing(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    handled: list[Event] = []
    async with NatsEventBus(settings) as bus:
        subscription = bus.subscribe(OrderPlaced, handled.append, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(handled) == 1)
        subscription.cancel()

        async def nobody_pulls() -> bool:
            info = await nc.jetstream().consumer_info(settings.stream_name, "svc-orders")
            return info.num_waiting == 0

        await until(nobody_pulls)
        await bus.publish(OrderPlaced(order_id="2"), channel="orders")
        bus.subscribe(OrderPlaced, handled.append, channel="orders")
        await until(lambda: len(handled) == 2)
    assert [event.order_id for event in handled] == ["1", "2"]  # type: ignore[attr-defined]


async def test_nothing_lost_or_handled_twice_across_stop_and_start_under_load(
    settings: NatsEventBusSettings,
) -> None:
    count = 3000
    handled: list[str] = []

    async def handle(event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        handled.append(event.order_id)
        await asyncio.sleep(0)

    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, handle, channel="orders")
    async with NatsEventBus(settings) as producer:
        publishing = asyncio.create_task(producer.publish_many(orders(count)))
        for target in (200, 700, 1500, count):
            async with bus:
                await until(lambda target=target: len(handled) >= target)  # type: ignore[misc]
        await publishing
    assert sorted(handled, key=int) == [str(number) for number in range(count)]


async def test_row_2_processes_with_one_durable_name_share_a_channel(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with (
        NatsEventBus(settings) as producer,
        consumer_process(settings, seconds=0.05) as one,
        consumer_process(settings, seconds=0.05) as two,
    ):
        await producer.publish_many(orders(40))

        await asyncio.gather(one.wait_for_count("after", 10), two.wait_for_count("after", 10))

        async def all_acked() -> bool:
            info = await nc.jetstream().consumer_info(settings.stream_name, "svc-orders")
            return info.ack_floor.stream_seq == 40

        await until(all_acked)
        await one.terminate()
        await two.terminate()
    handled = [line.split()[1] for line in one.lines + two.lines if line.startswith("after")]
    assert sorted(handled, key=int) == [str(number) for number in range(40)]


@pytest.mark.parametrize("channel", BAD_CHANNELS)
async def test_row_7_bad_channels_are_refused_and_nothing_is_sent(
    settings: NatsEventBusSettings, nc: Client, channel: str
) -> None:
    async with NatsEventBus(settings) as bus:
        event = OrderPlaced(order_id="1")
        with pytest.raises(InvalidChannelError, match="channel"):
            await bus.publish(event, channel=channel)
        with pytest.raises(InvalidChannelError):
            await bus.publish_many([(event, "orders"), (event, channel)])
        if channel != CHANNEL_ALL:
            with pytest.raises(InvalidChannelError):
                bus.subscribe(OrderPlaced, lambda event: None, channel=channel)
        info = await nc.jetstream().stream_info(settings.stream_name)
    assert info.state.messages == 0


async def test_row_8_similar_channels_each_have_their_own_durable(
    settings: NatsEventBusSettings,
) -> None:
    channels = ["orders.eu", "orders_eu", "orders-eu", "orders.é", "orders.è"]
    handled: list[str] = []
    async with NatsEventBus(settings) as bus:
        for channel in channels:
            bus.subscribe(
                OrderPlaced,
                lambda event, channel=channel: handled.append(channel),  # type: ignore[misc]
                channel=channel,
            )
            await bus.publish(OrderPlaced(order_id="1"), channel=channel)
        await until(lambda: len(handled) == len(channels))
    assert sorted(handled) == sorted(channels)


async def test_row_10_subscribing_while_start_runs(settings: NatsEventBusSettings) -> None:
    handled: list[str] = []
    bus = NatsEventBus(settings)

    def subscribe(channel: str) -> None:
        bus.subscribe(OrderPlaced, lambda event: handled.append(channel), channel=channel)

    async def more() -> None:
        for number in range(20):
            subscribe(f"late-{number}")
            await asyncio.sleep(0)

    subscribe("early")
    await asyncio.gather(bus.start(), more())
    try:
        channels = ["early", *(f"late-{number}" for number in range(20))]
        await bus.publish_many([(OrderPlaced(order_id="1"), channel) for channel in channels])
        await until(lambda: sorted(handled) == sorted(channels))
    finally:
        await bus.stop()


async def test_subscription_cancelled_while_start_runs_leaves_the_message_to_others(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    """A consumer left open would take the message and hand it back for ever."""
    bus = NatsEventBus(settings)
    async with NatsEventBus(settings) as producer:
        await producer.publish(OrderPlaced(order_id="1"), channel="orders")
    bus.subscribe(OrderPlaced, lambda event: None, channel="other")
    subscription = bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
    starting = asyncio.create_task(bus.start())
    try:
        await until(lambda: bool(bus._consumers), every=0)
        subscription.cancel()
        await starting

        async def nobody_pulls() -> bool:
            consumers = await nc.jetstream().consumers_info(settings.stream_name)
            waiting = {info.name: info.num_waiting for info in consumers}
            return waiting["svc-other"] == 1 and not waiting.get("svc-orders")

        await until(nobody_pulls)
    finally:
        await bus.stop()


async def test_stop_closes_the_connection_though_consuming_broke(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: ChannelConsumer) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ChannelConsumer, "_report_progress", broken)
    ended = asyncio.Event()

    async def handle(event: Event) -> None:
        await ended.wait()

    bus = NatsEventBus(settings.model_copy(update={"ack_wait_seconds": 0.1}))
    bus.subscribe(OrderPlaced, handle, channel="orders")
    await bus.start()
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    await until(lambda: "orders" in bus.consumer_errors)
    ended.set()
    await bus.stop()
    assert "started=False" in repr(bus)
    assert bus._connection is None


async def test_row_11_failure_of_a_late_subscribe_surfaces_and_is_retried(
    settings: NatsEventBusSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    js = nc.jetstream()
    handled: list[Event] = []
    async with NatsEventBus(settings) as bus:
        await js.add_consumer(
            settings.stream_name,
            ConsumerConfig(
                durable_name="svc-orders", filter_subject=settings.subject_name("somewhere-else")
            ),
        )
        bus.subscribe(OrderPlaced, handled.append, channel="orders")
        await until(lambda: "orders" in bus.consumer_errors)
        assert isinstance(bus.consumer_errors["orders"], ConsumerMismatchError)
        assert any(
            record.levelno == logging.ERROR and "svc-orders" in record.message
            for record in caplog.records
        )
        await js.delete_consumer(settings.stream_name, "svc-orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(handled) == 1)
        assert bus.consumer_errors == {}


async def test_conflicting_durable_fails_start(settings: NatsEventBusSettings, nc: Client) -> None:
    async with NatsEventBus(settings):
        pass
    await nc.jetstream().add_consumer(
        settings.stream_name,
        ConsumerConfig(durable_name="svc-orders", filter_subject=settings.subject_name("other")),
    )
    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
    with pytest.raises(ConsumerMismatchError, match="durable_name"):
        await bus.start()


async def test_deleted_durable_is_created_again_where_it_was(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    handled: list[str] = []
    async with NatsEventBus(settings) as bus:
        bus.subscribe(
            OrderPlaced,
            lambda event: handled.append(event.order_id),  # type: ignore[attr-defined]
            channel="orders",
        )
        await bus.publish_many(orders(3))
        await until(lambda: len(handled) == 3)
        await nc.jetstream().delete_consumer(settings.stream_name, "svc-orders")
        await bus.publish(OrderPlaced(order_id="last"), channel="orders")
        await until(lambda: "last" in handled)
    assert handled == ["0", "1", "2", "last"]


async def test_bus_survives_a_killed_and_restarted_server(tmp_path: object) -> None:
    handled: list[str] = []
    with LocalNats() as own:
        settings = NatsEventBusSettings(servers=own.url, durable_name="svc")
        async with NatsEventBus(settings) as bus:
            bus.subscribe(
                OrderPlaced,
                lambda event: handled.append(event.order_id),  # type: ignore[attr-defined]
                channel="orders",
            )
            await bus.publish(OrderPlaced(order_id="before"), channel="orders")
            await until(lambda: handled == ["before"])
            await asyncio.to_thread(own.kill)
            publishing = asyncio.create_task(
                bus.publish(OrderPlaced(order_id="during"), channel="orders")
            )
            await asyncio.to_thread(own.restart)
            await publishing
            await until(lambda: "during" in handled)


async def test_bus_stops_cleanly_when_its_server_is_gone() -> None:
    with LocalNats() as own:
        settings = NatsEventBusSettings(
            servers=own.url,
            drain_timeout_seconds=0.2,
            publish_timeout_seconds=0.2,
            publish_attempts=1,
        )
        bus = NatsEventBus(settings)
        bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
        await bus.start()
        assert bus._connection is not None
        connection = bus._connection
        await asyncio.to_thread(own.kill)
        await until(lambda: not connection.is_connected)
        publishing = asyncio.create_task(bus.publish_acked(OrderPlaced(order_id="1")))
        await asyncio.sleep(0)
        # written into nats-py's buffer, which it would try to send on closing
        await connection.nc.publish("somewhere", b"unsent")
        await bus.stop()
        with pytest.raises(PublishError, match="not known to be stored"):
            await publishing
        assert "started=False" in repr(bus)


# Bad input


async def test_publish_before_start_and_after_stop(settings: NatsEventBusSettings) -> None:
    bus = NatsEventBus(settings)
    with pytest.raises(NotStartedError, match="start"):
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    async with bus:
        pass
    with pytest.raises(NotStartedError):
        await bus.publish_many(orders(2))


async def test_server_that_is_not_there() -> None:
    settings = NatsEventBusSettings(servers="nats://user:secret@127.0.0.1:1")
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1") as caught:
        await NatsEventBus(settings).start()
    assert "secret" not in str(caught.value)


async def test_wrong_password() -> None:
    config = 'authorization { user: "bob", password: "right" }'
    with LocalNats(token=None, config=config) as own:
        settings = NatsEventBusSettings(servers=f"nats://bob:wrong@127.0.0.1:{own.port}")
        with pytest.raises(AuthenticationError, match="refused the login") as caught:
            await NatsEventBus(settings).start()
    assert "wrong" not in str(caught.value)


async def test_server_without_jetstream() -> None:
    with LocalNats(jetstream=False) as own:
        bus = NatsEventBus(NatsEventBusSettings(servers=own.url))
        with pytest.raises(JetStreamUnavailableError, match="JetStream"):
            await bus.start()


async def test_stream_with_other_subjects(settings: NatsEventBusSettings, nc: Client) -> None:
    await nc.jetstream().add_stream(name=settings.stream_name, subjects=["something.else"])
    with pytest.raises(StreamMismatchError, match=r"something\.else") as caught:
        await NatsEventBus(settings).start()
    assert caught.value.stream == settings.stream_name


async def test_subjects_that_another_stream_has(settings: NatsEventBusSettings, nc: Client) -> None:
    other = f"{settings.stream_name}-other"
    await nc.jetstream().add_stream(name=other, subjects=[f"{settings.subject_prefix}.a"])
    with pytest.raises(StreamMismatchError, match=other):
        await NatsEventBus(settings).start()


async def test_subjects_that_an_older_dead_letter_queue_has(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    """The released package kept dead letters under the bus's own prefix."""
    await nc.jetstream().add_stream(
        name=f"{settings.stream_name}-dlq", subjects=[f"{settings.subject_prefix}.__dlq__"]
    )
    with pytest.raises(StreamMismatchError, match="start a NatsDLQ once"):
        await NatsEventBus(settings).start()
    async with NatsDLQ(settings), NatsEventBus(settings):
        pass


async def test_missing_stream_without_auto_create(make_settings: MakeSettings) -> None:
    with pytest.raises(StreamNotFoundError, match="auto_create_stream"):
        await NatsEventBus(make_settings(auto_create_stream=False)).start()


async def test_event_larger_than_max_payload(settings: NatsEventBusSettings, nc: Client) -> None:
    large = OrderPlaced(order_id="x" * (nc.max_payload + 1))
    async with NatsEventBus(settings) as bus:
        with pytest.raises(PayloadTooLargeError, match="max_payload"):
            await bus.publish(large, channel="orders")
        with pytest.raises(PayloadTooLargeError):
            await bus.publish_many([*orders(1), (large, "orders")])
        info = await nc.jetstream().stream_info(settings.stream_name)
    assert info.state.messages == 0


async def test_publish_to_a_full_stream_says_why_and_which(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await nc.jetstream().add_stream(
        name=settings.stream_name,
        subjects=[settings.wildcard_subject()],
        max_msgs=3,
        discard="new",
    )
    async with NatsEventBus(settings) as bus:
        with pytest.raises(PublishManyError, match="maximum messages exceeded") as caught:
            await bus.publish_many(orders(5))
        assert [failure.index for failure in caught.value.failures] == [3, 4]
        assert caught.value.stored == 3
        with pytest.raises(PublishError, match="maximum messages exceeded"):
            await bus.publish(OrderPlaced(order_id="6"), channel="orders")


async def test_publish_when_the_stream_is_gone(make_settings: MakeSettings, nc: Client) -> None:
    settings = make_settings(publish_attempts=2)
    async with NatsEventBus(settings) as bus:
        await nc.jetstream().delete_stream(settings.stream_name)
        with pytest.raises(PublishError, match="after 2 attempts: no stream captures"):
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_a_stream_whose_folder_cannot_be_made_at_the_moment(own_server: LocalNats) -> None:
    """As after the only stream was deleted, while the server removes the folder of all streams."""
    folder = own_server.store_dir / "jetstream" / "$G" / "streams"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    async with NatsEventBus(NatsEventBusSettings(servers=own_server.url)) as bus:
        assert "Stream create failed" in own_server.log_tail()  # after which it removed the file
        await bus.publish(OrderPlaced(order_id="1"))


async def test_restart_and_double_start(settings: NatsEventBusSettings) -> None:
    bus = NatsEventBus(settings)
    await bus.start()
    await bus.start()
    await bus.stop()
    await bus.stop()
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_failed_start_leaves_nothing_and_can_be_repeated(make_settings: MakeSettings) -> None:
    before = asyncio.all_tasks()
    bus = NatsEventBus(make_settings(auto_create_stream=False))
    with pytest.raises(StreamNotFoundError):
        await bus.start()
    await until(lambda: asyncio.all_tasks() == before)
    with pytest.raises(StreamNotFoundError):
        await bus.start()


async def test_stop_leaves_no_task(settings: NatsEventBusSettings) -> None:
    before = asyncio.all_tasks()
    bus = NatsEventBus(settings)
    bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    await until(lambda: asyncio.all_tasks() == before)


async def test_row_14_no_secret_in_reprs(server: LocalNats) -> None:
    settings = NatsEventBusSettings(
        servers="nats://user:secret@host:4222,nats://token-secret@other:4222",
        connect_kwargs={"password": "secret"},
    )
    for text in (repr(settings), str(settings), repr(NatsEventBus(settings))):
        assert "secret" not in text
        assert "nats://host:4222" in text


async def test_plain_client_reads_what_the_bus_wrote(
    settings: NatsEventBusSettings, server: LocalNats
) -> None:
    """The wire format: subject, and JSON with the type under `__event_type__`."""
    event = OrderPlaced(order_id="1")
    async with NatsEventBus(settings) as bus:
        ack = await bus.publish_acked(event, channel="orders.eu")
    client = await nats.connect(server.url)
    stored = await client.jetstream().get_msg(settings.stream_name, ack.seq)
    await client.close()
    assert stored.subject == f"{settings.subject_prefix}.orders.eu"
    assert b'"__event_type__": "order.placed"' in (stored.data or b"")


async def test_subscription_of_a_stopped_consumer_object_is_gone(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    class Orders(EventConsumer):
        def __init__(self, bus: NatsEventBus) -> None:
            self._bus = bus

        @listen(OrderPlaced, channel="orders")
        async def on_order(self, event: OrderPlaced) -> None: ...

    async with NatsEventBus(settings) as bus:
        consumer = Orders(bus)
        await consumer.start()

        async def exists() -> bool:
            try:
                await nc.jetstream().consumer_info(settings.stream_name, "svc-orders")
            except NotFoundError:
                return False
            return True

        await until(exists)
        await consumer.stop()
        await until(lambda: "subscriptions=0" in repr(bus))
