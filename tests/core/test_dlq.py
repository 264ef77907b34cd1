"""The dead letter queue on a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from providify import DIContainer, Provider
from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import (
    AbstractDeadLetterQueue,
    DeadLetterEntry,
    DeadLetterSource,
    InMemoryDeadLetterQueue,
)
from varco_core.event.redrive import DlqRedriver
from varco_core.event.serializer import JsonEventSerializer

from tests.core.test_dlq_codec import ENTRY_ID, LEGACY
from tests.events import OrderPlaced
from tests.faults import Proxy
from tests.waiting import until
from varco_nats._nats import direct, provenance
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.delivery import Delivery, current_delivery
from varco_nats._nats.direct import StoredMessage, read_messages
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ, NatsDLQConfiguration, _store
from varco_nats.dlq._codec import encode, entry_id_of
from varco_nats.errors import (
    ConsumerMismatchError,
    DeadLetterError,
    DeadLetterTooLargeError,
    NotStartedError,
    ServerUnreachableError,
    SettingsError,
    StreamMismatchError,
    StreamNotFoundError,
)
from varco_nats.server import LocalNats

MakeSettings = Callable[..., NatsEventBusSettings]
START = datetime(2026, 1, 1, tzinfo=UTC)
AWKWARD = ["", "*", ">", "orders", "orders.eu", "a b", "..", "50%", "ünï", "\n"]


@pytest.fixture
async def dlq(settings: NatsEventBusSettings) -> AsyncIterator[NatsDLQ]:
    async with NatsDLQ(settings) as queue:
        yield queue


@pytest.fixture
async def connection(settings: NatsEventBusSettings) -> AsyncIterator[Connection]:
    opened = await connect(settings, name="test")
    yield opened
    await opened.close()


def entry(number: int = 0, **changes: object) -> DeadLetterEntry:
    made = DeadLetterEntry(
        event=OrderPlaced(order_id=str(number)),
        channel="orders",
        handler_name="Consumer.on_order",
        error_type="ValueError",
        error_message=f"failure {number}",
        attempts=3,
        first_failed_at=START + timedelta(minutes=number),
        last_failed_at=START + timedelta(minutes=number),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def push_all(queue: AbstractDeadLetterQueue, entries: list[DeadLetterEntry]) -> None:
    for one in entries:
        await queue.push(one)


@contextmanager
def inside_a_delivery() -> Iterator[None]:
    """As while a handler runs, where a push that fails raises."""
    token = current_delivery.set(Delivery("orders", "a-stream", 7, 1, None, "svc-orders", b"{}"))
    try:
        yield
    finally:
        current_delivery.reset(token)


def dlq_stream(settings: NatsEventBusSettings) -> str:
    return f"{settings.stream_name}-dlq"


async def make_legacy_stream(
    nc: Client, settings: NatsEventBusSettings, subject: str | None = None
) -> list[UUID]:
    """The stream and durable as the released package makes them, with three entries in it."""
    js = nc.jetstream()
    subject = subject or f"{settings.subject_prefix}.__dlq__"
    await js.add_stream(
        StreamConfig(
            name=dlq_stream(settings), subjects=[subject], retention=RetentionPolicy.WORK_QUEUE
        )
    )
    await js.add_consumer(
        dlq_stream(settings),
        ConsumerConfig(
            durable_name="__varco_dlq_relay__", filter_subject=subject, ack_wait=30, max_deliver=-1
        ),
    )
    ids = [uuid4() for _ in range(3)]
    for entry_id in ids:
        await js.publish(subject, LEGACY.replace(str(ENTRY_ID).encode(), str(entry_id).encode()))
    return ids


# What the released package gets wrong


@pytest.mark.parametrize("first", ["bus", "dlq"])
async def test_peer_01_bus_and_dlq_start_on_one_server_in_either_order(
    first: str, server: LocalNats, nc: Client
) -> None:
    settings = NatsEventBusSettings(servers=server.url)  # all names by default
    bus, dlq = NatsEventBus(settings), NatsDLQ(settings)
    try:
        for part in [bus, dlq] if first == "bus" else [dlq, bus]:
            await part.start()
        await dlq.push(entry())
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        assert await dlq.count() == 1
    finally:
        await bus.stop()
        await dlq.stop()
        for stream in ("varco-events", "varco-events-dlq"):
            await nc.jetstream().delete_stream(stream)


async def test_peer_03_redrive_in_the_duplicate_window_is_stored_again(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(
        delivery_semantics=NatsDeliverySemantics.EXACTLY_ONCE, duplicate_window_seconds=120
    )
    async with NatsEventBus(settings) as bus, NatsDLQ(settings) as dlq:
        event = OrderPlaced(order_id="1")
        await bus.publish(event, channel="orders")
        await dlq.push(entry(event=event))

        report = await DlqRedriver(dlq, bus).redrive_batch()

        assert (report.succeeded, report.failed) == (1, 0)
        info = await nc.jetstream().stream_info(settings.stream_name)
        assert info.state.messages == 2
        assert await dlq.count() == 0


async def test_peer_03_a_redrive_that_died_before_its_ack_is_stored_once_when_repeated(
    make_settings: Callable[..., NatsEventBusSettings], nc: Client
) -> None:
    """Its second PubAck is a duplicate, which no retry of the original can be."""
    settings = make_settings(delivery_semantics="exactly_once")
    placed = OrderPlaced(order_id="1")
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus:
        original = await bus.publish_acked(placed, channel="orders")
        await dlq.push(DeadLetterEntry(event=placed, channel="orders"))
        [first] = await dlq.list_entries()
        [again] = await dlq.list_entries()  # another process, after the first one was killed
        assert first.event is not None
        assert again.event is not None
        replay = await bus.publish_acked(first.event, channel="orders")
        repeated = await bus.publish_acked(again.event, channel="orders")
        assert [replay.duplicate, repeated.duplicate] == [False, True]
        assert original.seq < replay.seq == repeated.seq
        report = await DlqRedriver(dlq, bus).redrive_batch()
        assert (report.succeeded, await dlq.count()) == (1, 0)
        info = await nc.jetstream().stream_info(settings.stream_name)
    assert info.state.messages == 2


async def test_peer_04_entry_of_an_unknown_event_class_comes_back_with_its_payload(
    settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    class Passing(Event):
        __event_type__ = "test.passing"
        order_id: str

    await dlq.push(entry(event=Passing(order_id="7")))
    del Event._registry["test.passing"]  # as in a process that did not import it

    (popped,) = await dlq.pop_batch()
    assert popped.event is None
    assert popped.payload is not None
    assert json.loads(popped.payload)["order_id"] == "7"
    assert await dlq.get(popped.entry_id) == popped
    assert await dlq.count() == 1


@pytest.mark.parametrize("payload", [b"", b"\xff\x00\r\n", b'{"a": 1}', bytes(range(256)) * 1000])
async def test_peer_05_payload_only_entry_is_stored_byte_for_byte(
    payload: bytes, dlq: NatsDLQ
) -> None:
    pushed = entry(event=None, payload=payload, source=DeadLetterSource.OUTBOX_RELAY)
    await dlq.push(pushed)

    assert await dlq.get(pushed.entry_id) == pushed
    assert await dlq.list_entries() == [pushed]
    assert await dlq.pop_batch() == [pushed]


async def test_peer_06_source_source_ref_and_tenant_id_are_stored(dlq: NatsDLQ) -> None:
    pushed = entry(source=DeadLetterSource.JOB, source_ref="job-9", tenant_id="acme")
    await dlq.push(pushed)

    assert await dlq.pop_batch() == [pushed]


async def test_peer_13_dlq_is_browsable_without_consuming_it(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    pushed = [entry(number, channel=f"orders.{number % 2}") for number in range(4)]
    await push_all(dlq, pushed)

    assert NatsDLQ.supports_random_access
    assert await dlq.list_entries() == pushed
    assert await dlq.get(pushed[2].entry_id) == pushed[2]
    assert await dlq.count_by_channel() == {"orders.0": 2, "orders.1": 2}
    assert await dlq.count() == 4
    assert await nc.jetstream().consumers_info(dlq_stream(settings)) == []
    assert await dlq.delete_where(channel="orders.0") == 2
    assert await dlq.pop_batch() == [pushed[1], pushed[3]]


# Storing


async def test_entry_comes_back_as_it_was_pushed(dlq: NatsDLQ) -> None:
    pushed = [entry(number, channel=channel) for number, channel in enumerate(AWKWARD)]
    await push_all(dlq, pushed)

    assert await dlq.list_entries() == pushed
    assert await dlq.pop_batch(limit=50) == pushed
    assert await dlq.count_by_channel() == dict.fromkeys(AWKWARD, 1)
    for one in pushed:
        assert await dlq.list_entries(channel=one.channel) == [one]
        assert await dlq.get(one.entry_id) == one


async def test_names_on_the_wire(make_settings: MakeSettings, nc: Client) -> None:
    settings = make_settings(channel_prefix="dev.")
    async with NatsDLQ(settings) as dlq:
        pushed = entry()
        await dlq.push(pushed)
        assert await dlq.count_by_channel() == {"orders": 1}

    js = nc.jetstream()
    config = (await js.stream_info(dlq_stream(settings))).config
    assert config.retention == RetentionPolicy.WORK_QUEUE
    assert config.storage == StorageType.FILE
    assert config.allow_direct
    assert config.subjects == [f"{settings.subject_prefix}-dlq.>"]
    message = await js.get_msg(dlq_stream(settings), 1)
    assert message.subject == f"{settings.subject_prefix}-dlq.{pushed.entry_id}.dev.orders"


async def test_other_names_can_be_chosen(settings: NatsEventBusSettings, nc: Client) -> None:
    name = f"{settings.stream_name}-other"
    async with NatsDLQ(
        settings, dlq_subject=f"{name}.dead", dlq_stream=name, dlq_durable="relay"
    ) as dlq:
        pushed = entry()
        await dlq.push(pushed)
        assert await dlq.pop_batch() == [pushed]

    js = nc.jetstream()
    assert (await js.stream_info(name)).config.subjects == [f"{name}.dead.>"]
    assert [c.name for c in await js.consumers_info(name)] == ["relay"]


async def test_push_of_the_same_entry_stores_it_once(dlq: NatsDLQ) -> None:
    pushed = entry()
    await asyncio.gather(*(dlq.push(pushed) for _ in range(5)))
    await dlq.push(replace(pushed, channel="another"))

    assert await dlq.count() == 1
    await dlq.ack(pushed.entry_id)
    await dlq.push(pushed)  # a new failure of what was acknowledged
    assert await dlq.count() == 1


async def test_push_in_a_handler_raises_when_nothing_can_be_stored(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(publish_attempts=1, publish_timeout_seconds=0.2)
    with LocalNats() as server:
        dlq = NatsDLQ(settings.model_copy(update={"servers": server.url}))
        await dlq.start()
        server.kill()
        with inside_a_delivery(), pytest.raises(DeadLetterError, match="not known to be stored"):
            await dlq.push(entry())
        await dlq.stop()
    with inside_a_delivery(), pytest.raises(DeadLetterError, match="no NATS server answered"):
        await NatsDLQ(make_settings(servers="nats://127.0.0.1:1")).push(entry())


async def test_push_is_tried_again_across_a_server_restart(make_settings: MakeSettings) -> None:
    settings = make_settings(publish_attempts=10, publish_timeout_seconds=1)
    with LocalNats() as server:
        async with NatsDLQ(settings.model_copy(update={"servers": server.url})) as dlq:
            server.kill()
            pushes = asyncio.gather(*(dlq.push(entry(number)) for number in range(10)))
            await asyncio.to_thread(server.restart)
            await pushes
            assert await dlq.count() == 10


async def test_push_makes_a_stream_anew_that_was_deleted(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    await nc.jetstream().delete_stream(dlq_stream(settings))
    await dlq.push(entry())

    assert await dlq.count() == 1


async def test_entry_larger_than_max_payload_is_compressed_or_refused(dlq: NatsDLQ) -> None:
    compressible = entry(event=OrderPlaced(order_id='"x' * 700_000))
    await dlq.push(compressible)
    assert await dlq.get(compressible.entry_id) == compressible

    noise = "".join(uuid4().hex for _ in range(60_000))
    with (
        inside_a_delivery(),
        pytest.raises(DeadLetterTooLargeError, match="raise max_payload") as caught,
    ):
        await dlq.push(entry(event=OrderPlaced(order_id=noise)))
    assert caught.value.size > caught.value.limit
    assert await dlq.count() == 1


async def test_the_largest_entry_is_stored_where_its_subject_makes_long_headers(
    make_settings: MakeSettings,
) -> None:
    prefix = make_settings().subject_prefix
    settings = make_settings(subject_prefix=f"{prefix}{'é' * 450}")
    async with NatsDLQ(settings) as dlq:
        store = await dlq._open("test")
        size = len(encode(entry(error_message=""), JsonEventSerializer()))
        largest = entry(error_message="x" * (store.max_size - size))
        await dlq.push(largest)
        assert await dlq.get(largest.entry_id) == largest


async def test_a_channel_too_long_for_a_subject_is_kept_in_its_entry(dlq: NatsDLQ) -> None:
    long = [f"{text} {number}" for text in ("a b" * 2000, "😀 " * 500) for number in range(2)]
    entries = [entry(channel=channel) for channel in long]
    for made in entries:
        await dlq.push(made)
    assert [one.channel for one in await dlq.list_entries()] == long
    counts = await dlq.count_by_channel()
    assert sorted(counts.values()) == [1, 1, 1, 1]
    assert all(len(name) < 150 for name in counts)
    assert await dlq.get(entries[3].entry_id) == entries[3]


async def test_event_that_cannot_be_serialized_is_an_error(settings: NatsEventBusSettings) -> None:
    class Broken(JsonEventSerializer):
        def serialize(self, value: Event) -> bytes:
            raise TypeError("no such thing")

    async with NatsDLQ(settings, serializer=Broken()) as dlq:
        with inside_a_delivery(), pytest.raises(DeadLetterError, match="no such thing"):
            await dlq.push(entry())
        await dlq.push(entry(payload=b"raw"))  # anywhere else it is kept as far as it can be
        [kept] = await dlq.list_entries()
    assert (kept.event, kept.payload) == (None, b"raw")
    assert "cannot be serialized: no such thing" in kept.error_message


async def test_push_inside_a_handler_knows_the_message(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    delivery = Delivery("orders.eu", settings.stream_name, 42, 5, {"Trace": "t"}, "svc-orders_eu")
    token = current_delivery.set(delivery)
    await dlq.push(entry(channel="*"))
    current_delivery.reset(token)

    (listed,) = await dlq.list_entries()
    assert (listed.channel, listed.source_ref) == ("orders.eu", f"{settings.stream_name}:42")
    assert await dlq.count_by_channel() == {"orders.eu": 1}
    message = await nc.jetstream().get_msg(dlq_stream(settings), 1)
    fields = json.loads(message.data or b"")
    assert (fields["headers"], fields["num_delivered"]) == ({"Trace": "t"}, 5)


# Leasing


async def test_ack_says_when_the_server_does_not_remove(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsDLQ(settings) as dlq:
        js = nc.jetstream()
        name = dlq_stream(settings)
        await js.delete_stream(name)
        subjects = [dlq.names.all_entries()]
        config = StreamConfig(name=name, subjects=subjects, deny_delete=True, allow_direct=True)
        await js.add_stream(config)
        pushed = entry()
        await dlq.push(pushed)
        with pytest.raises(DeadLetterError, match="message delete not permitted"):
            await dlq.ack(pushed.entry_id)


async def test_pop_leases_oldest_first_until_acknowledged(make_settings: MakeSettings) -> None:
    settings = make_settings(ack_wait_seconds=0.5)
    pushed = [entry(number) for number in range(5)]
    async with NatsDLQ(settings) as dlq, NatsDLQ(settings) as other:
        await push_all(dlq, pushed)
        assert await dlq.pop_batch(limit=3) == pushed[:3]
        assert await other.pop_batch(limit=10) == pushed[3:]
        assert await dlq.pop_batch() == []
        assert await dlq.count() == 5  # leased, not gone
        for one in pushed[:4]:
            await dlq.ack(one.entry_id)
        again: list[DeadLetterEntry] = []

        async def came_again() -> bool:
            again.extend(await other.pop_batch())
            return bool(again)

        await until(came_again)
        assert again == pushed[4:]


async def test_pop_shares_entries_without_repeating_any(settings: NatsEventBusSettings) -> None:
    async with NatsDLQ(settings) as first, NatsDLQ(settings) as second:
        entries = [entry(number) for number in range(300)]
        await asyncio.gather(*map(first.push, entries))
        pushed = {one.entry_id for one in entries}
        popped: list[UUID] = []

        async def drain(queue: NatsDLQ) -> None:
            while batch := await queue.pop_batch(limit=7):
                popped.extend(one.entry_id for one in batch)

        await asyncio.gather(*(drain(queue) for queue in (first, second, first, second)))
    assert len(popped) == 300
    assert set(popped) == pushed


async def test_pop_returns_what_was_just_pushed(
    settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    async with NatsDLQ(settings) as other:
        for number in range(1000):  # about one in 300 comes before the consumer knows of it
            pushed = entry(number)
            await dlq.push(pushed)
            assert await (other if number % 2 else dlq).pop_batch(limit=1) == [pushed]
            await dlq.ack(pushed.entry_id)


async def test_pop_of_an_empty_queue_returns_at_once(dlq: NatsDLQ) -> None:
    assert await dlq.pop_batch() == []
    started = time.monotonic()
    assert await dlq.pop_batch(limit=5000) == []
    assert time.monotonic() - started < 0.5


async def test_pop_takes_more_than_one_pull_request(dlq: NatsDLQ) -> None:
    await asyncio.gather(*(dlq.push(entry(number)) for number in range(2500)))

    assert len(await dlq.pop_batch(limit=2200)) == 2200
    assert len(await dlq.pop_batch(limit=2200)) == 300


async def test_pop_goes_on_when_the_durable_was_deleted(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    await push_all(dlq, [entry(0)])
    assert len(await dlq.pop_batch()) == 1
    await nc.jetstream().delete_consumer(dlq_stream(settings), "__varco_dlq_relay__")

    assert len(await dlq.pop_batch()) == 1


@pytest.mark.parametrize("limit", [0, -1])
async def test_pop_refuses_a_limit_below_one(limit: int, dlq: NatsDLQ) -> None:
    with pytest.raises(ValueError, match="limit"):
        await dlq.pop_batch(limit=limit)


async def test_pop_says_when_the_durable_cannot_be_used(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    js, stream = nc.jetstream(), dlq_stream(settings)
    await js.add_consumer(stream, ConsumerConfig(durable_name="theirs", ack_policy="explicit"))
    with pytest.raises(DeadLetterError, match="theirs"):
        await dlq.pop_batch()
    await js.delete_consumer(stream, "theirs")
    await js.add_consumer(
        stream,
        ConsumerConfig(
            durable_name="__varco_dlq_relay__", ack_policy="explicit", deliver_subject="x"
        ),
    )
    with pytest.raises(ConsumerMismatchError, match="push"):
        await dlq.pop_batch()


async def test_message_that_is_no_dead_letter_is_kept_shown_and_removable(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    root, js = f"{settings.subject_prefix}-dlq", nc.jetstream()
    await js.publish(f"{root}.by-hand", b"\xff not json")
    await js.publish(f"{root}.{uuid4()}.orders", b"[1, 2]")

    listed = await dlq.list_entries()
    assert [one.payload for one in listed] == [b"\xff not json", b"[1, 2]"]
    assert {one.error_type for one in listed} == {"UnreadableEntry"}
    assert await dlq.pop_batch() == listed
    assert await dlq.count_by_channel() == {"": 1, "orders": 1}
    assert await dlq.get(UUID(int=listed[0].entry_id.int + 1)) is None
    async with NatsDLQ(settings) as other:  # which has not seen them
        for one in listed:
            assert await other.get(one.entry_id) == one
            await other.ack(one.entry_id)
    assert await dlq.count() == 0


async def test_an_id_that_is_not_there_does_not_read_the_queue(
    dlq: NatsDLQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_all(dlq, [entry(number) for number in range(3)])
    monkeypatch.delattr(_store, "decode")
    assert await dlq.get(entry_id_of("events", "svc-orders", 7, b"{}")) is None


# Removing


async def test_ack_removes_for_good_popped_or_not(dlq: NatsDLQ) -> None:
    pushed = [entry(number) for number in range(4)]
    await push_all(dlq, pushed)
    await dlq.pop_batch(limit=2)
    await dlq.ack(pushed[0].entry_id)
    await dlq.delete(pushed[3].entry_id)
    await dlq.ack(pushed[0].entry_id)  # again
    await dlq.ack(uuid4())  # unknown

    assert await dlq.list_entries() == [pushed[1], pushed[2]]
    assert await dlq.get(pushed[0].entry_id) is None
    assert await dlq.pop_batch() == [pushed[2]]


def some_entries() -> list[DeadLetterEntry]:
    sources = list(DeadLetterSource)
    tenants = [None, "acme", "globex"]
    return [
        entry(
            number,
            channel=["orders", "orders.eu", "*"][number % 3],
            source=sources[number // 2 % 3],
            tenant_id=tenants[number // 3 % 3],
        )
        for number in range(30)
    ]


FILTERS: list[dict[str, object]] = [
    {},
    {"limit": 7},
    {"limit": 5, "offset": 4},
    {"limit": 0},
    {"offset": 100},
    {"channel": "orders"},
    {"channel": "*"},
    {"channel": "nowhere"},
    {"channel": "orders.eu", "limit": 2, "offset": 1},
    {"source": DeadLetterSource.JOB},
    {"tenant_id": "acme"},
    {"tenant_id": "acme", "source": DeadLetterSource.CONSUMER, "channel": "orders"},
    {"older_than": START + timedelta(minutes=10)},
    {"newer_than": START + timedelta(minutes=10)},
    {"newer_than": START + timedelta(minutes=10), "older_than": START + timedelta(minutes=12)},
    {"newer_than": START + timedelta(minutes=20), "tenant_id": "globex", "limit": 1},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_list_filters_as_the_in_memory_queue_does(
    filters: dict[str, object], dlq: NatsDLQ
) -> None:
    reference = InMemoryDeadLetterQueue()
    await push_all(dlq, some_entries())
    await push_all(reference, await dlq.list_entries(limit=100))

    assert await dlq.list_entries(**filters) == await reference.list_entries(**filters)  # type: ignore[arg-type]


DELETIONS: list[dict[str, object]] = [
    {"channel": "orders"},
    {"channel": "*", "limit": 2},
    {"source": DeadLetterSource.JOB},
    {"source": [DeadLetterSource.JOB, DeadLetterSource.OUTBOX_RELAY]},
    {"source": []},
    {"tenant_id": "acme", "older_than": START + timedelta(minutes=10)},
    {"older_than": START + timedelta(minutes=10)},
    {"older_than": START},
    {"older_than": START + timedelta(days=1), "limit": 11},
]


@pytest.mark.parametrize("filters", DELETIONS, ids=str)
async def test_delete_where_removes_what_the_in_memory_queue_does(
    filters: dict[str, object], dlq: NatsDLQ
) -> None:
    reference = InMemoryDeadLetterQueue()
    await push_all(dlq, some_entries())
    await push_all(reference, await dlq.list_entries(limit=100))

    assert await dlq.delete_where(**filters) == await reference.delete_where(**filters)  # type: ignore[arg-type]
    assert await dlq.list_entries(limit=100) == reference.entries


async def test_delete_where_removes_many_and_leaves_the_rest(dlq: NatsDLQ) -> None:
    channels = ["keep", "drop"]
    await asyncio.gather(
        *(dlq.push(entry(number, channel=channels[number % 2])) for number in range(2000))
    )

    assert await dlq.delete_where(channel="drop", limit=0) == 0
    assert await dlq.delete_where(channel="drop", limit=300) == 300
    assert await dlq.delete_where(channel="drop") == 700
    assert await dlq.count_by_channel() == {"keep": 1000}


async def test_delete_where_needs_a_condition(dlq: NatsDLQ) -> None:
    await dlq.push(entry())
    with pytest.raises(ValueError, match="condition"):
        await dlq.delete_where()
    with pytest.raises(ValueError, match="condition"):
        await dlq.delete_where(limit=5)

    assert await dlq.count() == 1


async def test_times_without_zone_are_taken_as_utc(dlq: NatsDLQ) -> None:
    pushed = [entry(number) for number in range(3)]
    await push_all(dlq, pushed)
    cutoff = (START + timedelta(minutes=1)).replace(tzinfo=None)

    assert await dlq.list_entries(older_than=cutoff) == pushed[:1]
    assert await dlq.list_entries(newer_than=cutoff) == pushed[2:]
    assert await dlq.delete_where(older_than=cutoff) == 1


async def test_list_refuses_negative_bounds(dlq: NatsDLQ) -> None:
    with pytest.raises(ValueError, match="negative"):
        await dlq.list_entries(limit=-1)
    with pytest.raises(ValueError, match="negative"):
        await dlq.list_entries(offset=-1)


async def test_looking_leases_nothing_and_changes_nothing(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(ack_wait_seconds=30)
    js, stream = nc.jetstream(), dlq_stream(settings)
    async with NatsDLQ(settings) as relay, NatsDLQ(settings) as looker:
        await push_all(relay, [entry(number) for number in range(10)])
        await relay.pop_batch(limit=4)
        before = (await js.stream_info(stream)).state, await js.consumers_info(stream)

        for one in await looker.list_entries():
            assert await looker.get(one.entry_id) == one
        await looker.count()
        await looker.count_by_channel()

        assert ((await js.stream_info(stream)).state, await js.consumers_info(stream)) == before
        assert len(await relay.pop_batch()) == 6


async def test_entries_read_are_marked_with_their_origin(dlq: NatsDLQ) -> None:
    pushed = entry()
    await dlq.push(pushed)
    read = [await dlq.get(pushed.entry_id), *await dlq.list_entries(), *await dlq.pop_batch()]

    assert len(read) == 3
    for one in read:
        assert one is not None
        assert one.event is not None
        assert provenance.entry_of(one.event) == pushed.entry_id
    assert pushed.event is not None
    assert provenance.entry_of(pushed.event) is None


# A stream of the released package


@pytest.mark.parametrize("subject", [None, "own"])
async def test_entries_of_the_released_package_are_read_and_removed(
    subject: str | None, settings: NatsEventBusSettings, nc: Client
) -> None:
    root = (
        f"{settings.subject_prefix}.__dlq__" if subject is None else settings.stream_name + "-own"
    )
    ids = await make_legacy_stream(nc, settings, root)
    options = {} if subject is None else {"dlq_subject": root}
    async with NatsDLQ(settings, **options) as dlq:
        new = entry(channel="orders.eu")
        await dlq.push(new)
        listed = await dlq.list_entries(channel="orders.eu")
        assert [one.entry_id for one in listed] == [*ids, new.entry_id]
        assert all(isinstance(one.event, OrderPlaced) for one in listed)
        assert await dlq.list_entries(channel="nowhere") == []
        assert await dlq.count() == 4
        assert await dlq.count_by_channel() == {"orders.eu": 4}
        assert await dlq.get(ids[1]) == listed[1]
        assert await dlq.pop_batch() == listed
        async with NatsDLQ(settings, **options) as other:
            await other.ack(ids[1])
        await dlq.ack(ids[2])
        await dlq.ack(ids[2])
        assert await dlq.list_entries() == [listed[0], new]
        assert await dlq.delete_where(channel="orders.eu") == 2
        assert await dlq.count() == 0


async def test_bus_starts_beside_a_stream_of_the_released_package(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await make_legacy_stream(nc, settings)
    async with NatsDLQ(settings), NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_stream_with_other_subjects_is_refused(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await nc.jetstream().add_stream(name=dlq_stream(settings), subjects=["something.else"])

    with pytest.raises(StreamMismatchError, match=r"something\.else"):
        await NatsDLQ(settings).start()


async def test_missing_stream_is_an_error_where_none_may_be_created(
    make_settings: MakeSettings,
) -> None:
    with pytest.raises(StreamNotFoundError):
        await NatsDLQ(make_settings(auto_create_stream=False)).start()


# Connecting


async def test_connects_by_itself_once_for_concurrent_first_uses(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    dlq = NatsDLQ(settings)
    await asyncio.gather(*(dlq.push(entry(number)) for number in range(20)))
    assert await dlq.count() == 20
    await dlq.stop()
    await dlq.stop()
    with pytest.raises(NotStartedError, match=r"count\(\)"):
        await dlq.count()
    await dlq.start()
    assert await dlq.count() == 20
    await dlq.stop()


def test_one_object_works_on_one_event_loop_after_another(server: LocalNats) -> None:
    name = f"t-{uuid4().hex}"
    dlq = NatsDLQ(NatsEventBusSettings(servers=server.url, stream_name=name, subject_prefix=name))

    async def push_and_count() -> int:
        await dlq.start()
        await dlq.push(entry())
        count = await dlq.count()
        await dlq.stop()
        return count

    assert asyncio.run(push_and_count()) == 1
    assert asyncio.run(push_and_count()) == 2


async def test_unreachable_server_is_an_error_that_says_so(make_settings: MakeSettings) -> None:
    with pytest.raises(ServerUnreachableError):
        await NatsDLQ(make_settings(servers="nats://127.0.0.1:1")).list_entries()


def test_names_that_nats_does_not_take_are_refused() -> None:
    settings = NatsEventBusSettings()
    with pytest.raises(SettingsError, match=r"dlq_stream.*dlq_durable.*dlq_subject") as caught:
        NatsDLQ(settings, dlq_stream="a.b", dlq_durable="", dlq_subject="a.>")
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsError, match="event stream captures"):
        NatsDLQ(settings, dlq_subject="varco.__dlq__")


def test_repr_has_no_secrets() -> None:
    shown = repr(NatsDLQ(NatsEventBusSettings(servers="nats://user:secret@host:4222")))

    assert "secret" not in shown
    assert "user" not in shown
    assert "host:4222" in shown


# In a service


async def test_listen_with_dlq_stores_the_failed_event(
    settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    class Failing(EventConsumer):
        @listen(OrderPlaced, dlq=dlq)
        async def on_order(self, event: OrderPlaced) -> None:
            raise ValueError("cannot")

    event = OrderPlaced(order_id="1")
    async with NatsEventBus(settings) as bus:
        Failing().register_to(bus)
        bus.subscribe(OrderPlaced, lambda _: None, channel="orders")
        await bus.publish(event, channel="orders")

        async def stored() -> bool:
            return await dlq.count() == 1

        await until(stored)
    (stored_entry,) = await dlq.list_entries()
    assert stored_entry.event == event
    assert (stored_entry.channel, stored_entry.error_message) == ("orders", "cannot")
    assert stored_entry.source_ref == f"{settings.stream_name}:1"


async def test_listen_with_dlq_keeps_the_event_as_it_came(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    class Failing(EventConsumer):
        @listen(OrderPlaced, channel="orders", dlq=dlq)
        async def on_order(self, event: OrderPlaced) -> None:
            await dlq.push(entry(event=OrderPlaced(order_id="another")))
            raise ValueError("cannot")

    body = b'{"__event_type__":"order.placed", "order_id": "1", "currency": "EUR"}'
    async with NatsEventBus(settings) as bus:
        Failing().register_to(bus)
        await nc.jetstream().publish(settings.subject_name("orders"), body)

        async def stored() -> bool:
            return await dlq.count() == 2

        await until(stored)
    js = nc.jetstream()
    another, came = [
        json.loads((await js.get_msg(dlq_stream(settings), seq)).data or b"") for seq in (1, 2)
    ]
    assert json.loads(another["event_payload"])["order_id"] == "another"
    assert (came["event_payload"], came["payload"]) == (body.decode(), None)


async def test_container_gives_one_started_dlq_and_stops_it(
    settings: NatsEventBusSettings,
) -> None:
    @Provider(singleton=True)
    def bound() -> NatsEventBusSettings:
        return settings

    container = DIContainer()
    container.provide(bound)
    await container.ainstall(NatsDLQConfiguration)
    dlq = await container.aget(AbstractDeadLetterQueue)
    assert isinstance(dlq, NatsDLQ)
    assert await container.aget(AbstractDeadLetterQueue) is dlq
    await dlq.push(entry())
    assert await dlq.count() == 1

    await container.ashutdown()
    with pytest.raises(NotStartedError):
        await dlq.count()


async def test_container_without_settings_reads_the_environment(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARCO_NATS_SERVERS", settings.servers)
    monkeypatch.setenv("VARCO_NATS_STREAM_NAME", settings.stream_name)
    monkeypatch.setenv("VARCO_NATS_SUBJECT_PREFIX", settings.subject_prefix)
    container = DIContainer()
    await container.ainstall(NatsDLQConfiguration)
    dlq = await container.aget(AbstractDeadLetterQueue)
    assert settings.stream_name in repr(dlq)
    await container.ashutdown()


# Reading stored messages


async def fill(nc: Client, stream: str, gaps: bool) -> list[StoredMessage]:
    js = nc.jetstream()
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    for number in range(300):
        headers = {"Number": str(number), "Status": "404"} if number % 2 else None
        await js.publish(f"{stream}.{number % 3}", b"%d" % number, headers=headers)
    if gaps:
        for seq in range(50, 200):
            if seq % 7:
                await js.delete_msg(stream, seq)
    return [
        StoredMessage(
            seq,
            f"{stream}.{(seq - 1) % 3}",
            0,
            b"%d" % (seq - 1),
            {"Number": str(seq - 1), "Status": "404"} if seq % 2 == 0 else None,
        )
        for seq in range(1, 301)
        if not (gaps and 50 <= seq < 200 and seq % 7)
    ]


@pytest.mark.parametrize("server_batches", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
async def test_stored_messages_are_read_whole_and_in_order(
    server_batches: bool,
    gaps: bool,
    settings: NatsEventBusSettings,
    connection: Connection,
    nc: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = settings.stream_name
    if not server_batches:  # ask as a server before 2.11 understands it
        dumps = json.dumps
        monkeypatch.setattr(
            direct.json,
            "dumps",
            lambda body: dumps({k: v for k, v in body.items() if k not in ("batch", "max_bytes")}),
        )
    stored = await fill(nc, stream, gaps)

    for subject, start in [(">", 1), (f"{stream}.1", 1), (">", 120), (">", 301), ("none.>", 1)]:
        expected = [one for one in stored if one.seq >= start and subject in (">", one.subject)]
        read = [
            one
            async for one in read_messages(
                connection, stream, subject=subject, start=start, batch=37
            )
        ]
        assert [one._replace(time_ns=0) for one in read] == expected
        assert all(one.time_ns > 1_700_000_000_000_000_000 for one in read)


async def test_reading_goes_on_after_a_server_restart(make_settings: MakeSettings) -> None:
    with LocalNats() as server:
        settings = make_settings(servers=server.url)
        reader = await connect(settings, name="reader")
        stored = await fill(reader.nc, settings.stream_name, gaps=False)
        read: list[int] = []
        async for one in read_messages(
            reader, settings.stream_name, batch=10, timeout=1, attempts=20
        ):
            read.append(one.seq)
            if len(read) == 100:
                server.kill()
                await asyncio.to_thread(server.restart)
        await reader.close()
    assert read == [one.seq for one in stored]


async def test_reading_goes_on_when_the_connection_is_cut_in_the_middle_of_a_batch(
    server: LocalNats, settings: NatsEventBusSettings, nc: Client
) -> None:
    js, stream = nc.jetstream(), settings.stream_name
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    await asyncio.gather(*(js.publish(f"{stream}.x", b"." * 8000) for _ in range(1000)))
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        reader = await connect(through, name="reader")

        async def cut() -> None:
            await until(lambda: reader.nc.stats["in_bytes"] > 1_000_000, every=0)
            proxy.cut()

        cutting = asyncio.create_task(cut())
        read = [one.seq async for one in read_messages(reader, stream, timeout=1, attempts=20)]
        await cutting
        await reader.close()
        assert proxy.connections > 1
    assert read == list(range(1, 1001))
