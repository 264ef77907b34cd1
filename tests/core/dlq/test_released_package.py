"""What the released package gets wrong, and the streams that it made."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource
from varco_core.event.redrive import DlqRedriver

from tests.conftest import MakeSettings
from tests.core.dlq.test_codec import ENTRY_ID, LEGACY
from tests.core.helpers import dlq_stream, entry, push
from tests.events import OrderPlaced
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import StreamMismatchError, StreamNotFoundError
from varco_nats.server import LocalNats


async def make_legacy_stream(
    nc: Client, settings: NatsEventBusSettings, subject: str | None = None
) -> list[UUID]:
    """The stream and durable as the released package makes them, with three entries in it."""
    js = nc.jetstream()
    subject = subject or f"{settings.subject_prefix}.{settings.channel_prefix}__dlq__"
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
        starts = [bus.start, dlq.start]
        for start in starts if first == "bus" else reversed(starts):
            await start()
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
    make_settings: MakeSettings, nc: Client
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
    await push(dlq, *pushed)

    assert NatsDLQ.supports_random_access
    assert await dlq.list_entries() == pushed
    assert await dlq.get(pushed[2].entry_id) == pushed[2]
    assert await dlq.count_by_channel() == {"orders.0": 2, "orders.1": 2}
    assert await dlq.count() == 4
    assert await nc.jetstream().consumers_info(dlq_stream(settings)) == []
    assert await dlq.delete_where(channel="orders.0") == 2
    assert await dlq.pop_batch() == [pushed[1], pushed[3]]


# A stream of the released package


@pytest.mark.parametrize("subject", [None, "own"])
async def test_entries_of_the_released_package_are_read_and_removed(
    subject: str | None, settings: NatsEventBusSettings, nc: Client
) -> None:
    root = (
        f"{settings.subject_prefix}.__dlq__" if subject is None else settings.stream_name + "-own"
    )
    ids = await make_legacy_stream(nc, settings, root)
    options: dict[str, Any] = {} if subject is None else {"dlq_subject": root}
    async with NatsDLQ(settings, **options) as dlq:
        new = entry(channel="orders.eu")
        await dlq.push(new)
        listed = await dlq.list_entries(channel="orders.eu")
        assert [entry.entry_id for entry in listed] == [*ids, new.entry_id]
        assert all(isinstance(entry.event, OrderPlaced) for entry in listed)
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


@pytest.mark.parametrize("channel_prefix", ["", "staging."])
async def test_bus_starts_beside_a_stream_of_the_released_package(
    channel_prefix: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(channel_prefix=channel_prefix)
    await make_legacy_stream(nc, settings)
    async with NatsDLQ(settings), NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_stream_with_other_subjects_is_refused(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await nc.jetstream().add_stream(name=dlq_stream(settings), subjects=["something.else"])

    with pytest.raises(
        StreamMismatchError, match=r"NatsDLQ\(settings, dlq_subject='something\.else'"
    ):
        await NatsDLQ(settings).start()


async def test_missing_stream_is_an_error_where_none_may_be_created(
    make_settings: MakeSettings,
) -> None:
    with pytest.raises(StreamNotFoundError):
        await NatsDLQ(make_settings(auto_create_stream=False)).start()
