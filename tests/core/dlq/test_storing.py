"""Entries that are pushed: the names on the wire, sizes, and servers that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StorageType
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from tests.conftest import MakeSettings
from tests.core.helpers import dlq_stream, entry, inside_a_delivery, push
from tests.events import OrderPlaced
from varco_nats._nats.delivery import MessageDelivery, current_delivery
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import encode
from varco_nats.errors import DeadLetterError, DeadLetterTooLargeError
from varco_nats.server import LocalNats

AWKWARD = ["", "*", ">", "orders", "orders.eu", "a b", "..", "50%", "ünï", "\n"]


async def test_entry_comes_back_as_it_was_pushed(dlq: NatsDLQ) -> None:
    pushed = [entry(number, channel=channel) for number, channel in enumerate(AWKWARD)]
    await push(dlq, *pushed)

    assert await dlq.list_entries() == pushed
    assert await dlq.pop_batch(limit=50) == pushed
    assert await dlq.count_by_channel() == dict.fromkeys(AWKWARD, 1)
    for each in pushed:
        assert await dlq.list_entries(channel=each.channel) == [each]
        assert await dlq.get(each.entry_id) == each


async def test_of_many_entries_a_few_are_looked_up_as_exactly_as_all_are_listed(
    dlq: NatsDLQ, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = await push(dlq, *map(entry, range(300)))
    store = dlq._store
    assert store is not None
    here, gone = pushed[8].entry_id, pushed[7].entry_id
    await dlq.ack(gone)
    listed, subjects = list[None](), store.subjects

    def counted() -> AsyncIterator[tuple[str, int]]:
        listed.append(None)
        return subjects()

    monkeypatch.setattr(store, "subjects", counted)
    assert await store.existing([here, gone]) == {here}
    assert listed == []
    assert await store.existing([each.entry_id for each in pushed]) == {
        each.entry_id for each in pushed if each.entry_id != gone
    }
    legacy = entry(300)  # as the released package stores it, under a subject without its id
    await nc.jetstream().publish(store.names.root, encode(legacy, JsonEventSerializer()))
    assert await store.existing([legacy.entry_id, gone]) == {legacy.entry_id}
    assert len(listed) == 2


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
    root = f"{settings.subject_prefix}-dlq"  # itself for what the released package pushes
    assert config.subjects == [f"{root}.>", root]
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
    assert (await js.stream_info(name)).config.subjects == [f"{name}.dead.>", f"{name}.dead"]
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
    assert [entry.channel for entry in await dlq.list_entries()] == long
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
    delivery = MessageDelivery(
        "orders.eu", settings.stream_name, 42, 5, {"Trace": "t"}, "svc-orders_eu"
    )
    token = current_delivery.set(delivery)
    await dlq.push(entry(channel="*"))
    current_delivery.reset(token)

    (listed,) = await dlq.list_entries()
    assert (listed.channel, listed.source_ref) == ("orders.eu", f"{settings.stream_name}:42")
    assert await dlq.count_by_channel() == {"orders.eu": 1}
    message = await nc.jetstream().get_msg(dlq_stream(settings), 1)
    fields = json.loads(message.data or b"")
    assert (fields["headers"], fields["num_delivered"]) == ({"Trace": "t"}, 5)
