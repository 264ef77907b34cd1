"""Entries that are popped: leased, shared and given back."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.core.helpers import dlq_stream, entry, push
from tests.waiting import until
from varco_nats._nats.delivery import entry_id_of
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ, _store, _stream
from varco_nats.errors import ConsumerMismatchError, DeadLetterError


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


async def test_pop_leases_oldest_first_until_acknowledged(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(ack_wait_seconds=600)
    pushed = [entry(number) for number in range(5)]
    async with NatsDLQ(settings) as dlq, NatsDLQ(settings) as other:
        await push(dlq, *pushed)
        assert await dlq.pop_batch(limit=3) == pushed[:3]
        assert await other.pop_batch(limit=10) == pushed[3:]
        assert await dlq.pop_batch() == []
        assert await dlq.count() == 5  # leased, not gone
        for each in pushed[:4]:
            await dlq.ack(each.entry_id)
        js, stream = nc.jetstream(), dlq_stream(settings)
        durable = (await js.consumer_info(stream, "__varco_dlq_relay__")).config
        await js.add_consumer(stream, durable, ack_wait=0.1)  # the lease ends
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
        pushed = {entry.entry_id for entry in entries}
        popped: list[UUID] = []

        async def drain(queue: NatsDLQ) -> None:
            while batch := await queue.pop_batch(limit=7):
                popped.extend(each.entry_id for each in batch)

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


async def test_pop_of_an_empty_queue_returns_at_once(
    dlq: NatsDLQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "_LATE_SECONDS", 60)
    async with asyncio.timeout(20):
        assert await dlq.pop_batch() == []
        assert await dlq.pop_batch(limit=5000) == []


async def test_pop_takes_more_than_one_pull_request(dlq: NatsDLQ) -> None:
    await asyncio.gather(*(dlq.push(entry(number)) for number in range(2500)))

    assert len(await dlq.pop_batch(limit=2200)) == 2200
    assert len(await dlq.pop_batch(limit=2200)) == 300


async def test_pop_goes_on_when_the_durable_was_deleted(
    settings: NatsEventBusSettings, dlq: NatsDLQ, nc: Client
) -> None:
    await push(dlq, entry(0))
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
    await js.add_consumer(
        stream, ConsumerConfig(durable_name="theirs", ack_policy=AckPolicy.EXPLICIT)
    )
    with pytest.raises(DeadLetterError, match="theirs"):
        await dlq.pop_batch()
    await js.delete_consumer(stream, "theirs")
    await js.add_consumer(
        stream,
        ConsumerConfig(
            durable_name="__varco_dlq_relay__", ack_policy=AckPolicy.EXPLICIT, deliver_subject="x"
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
    assert [entry.payload for entry in listed] == [b"\xff not json", b"[1, 2]"]
    assert {entry.error_type for entry in listed} == {"UnreadableEntry"}
    assert await dlq.pop_batch() == listed
    assert await dlq.count_by_channel() == {"": 1, "orders": 1}
    assert await dlq.get(UUID(int=listed[0].entry_id.int + 1)) is None
    async with NatsDLQ(settings) as other:  # which has not seen them
        for entry in listed:
            assert await other.get(entry.entry_id) == entry
            await other.ack(entry.entry_id)
    assert await dlq.count() == 0


async def test_an_id_that_is_not_there_does_not_read_the_queue(
    dlq: NatsDLQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(dlq, *(entry(number) for number in range(3)))
    monkeypatch.delattr(_store, "decode_named")
    assert await dlq.get(entry_id_of("events", "svc-orders", 7, b"{}")) is None
