"""Entries that are acknowledged, listed by filters and deleted by conditions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource, InMemoryDeadLetterQueue

from tests.conftest import MakeSettings
from tests.core.helpers import START, dlq_stream, entry, push
from varco_nats._nats import provenance
from varco_nats.dlq import NatsDLQ


async def test_ack_removes_for_good_popped_or_not(dlq: NatsDLQ) -> None:
    pushed = [entry(number) for number in range(4)]
    await push(dlq, *pushed)
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
    await push(dlq, *some_entries())
    await push(reference, *await dlq.list_entries(limit=100))

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
    await push(dlq, *some_entries())
    await push(reference, *await dlq.list_entries(limit=100))

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


async def test_delete_where_needs_a_predicate(dlq: NatsDLQ) -> None:
    await dlq.push(entry())
    with pytest.raises(ValueError, match="predicate"):
        await dlq.delete_where()
    with pytest.raises(ValueError, match="predicate"):
        await dlq.delete_where(limit=5)

    assert await dlq.count() == 1


async def test_times_without_zone_are_taken_as_utc(dlq: NatsDLQ) -> None:
    pushed = [entry(number) for number in range(3)]
    await push(dlq, *pushed)
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
        await push(relay, *(entry(number) for number in range(10)))
        await relay.pop_batch(limit=4)
        before = (await js.stream_info(stream)).state, await js.consumers_info(stream)

        for each in await looker.list_entries():
            assert await looker.get(each.entry_id) == each
        await looker.count()
        await looker.count_by_channel()

        assert ((await js.stream_info(stream)).state, await js.consumers_info(stream)) == before
        assert len(await relay.pop_batch()) == 6


async def test_entries_read_are_marked_with_their_origin(dlq: NatsDLQ) -> None:
    pushed = entry()
    await dlq.push(pushed)
    read = [await dlq.get(pushed.entry_id), *await dlq.list_entries(), *await dlq.pop_batch()]

    assert len(read) == 3
    for message in read:
        assert message is not None
        assert message.event is not None
        assert (provenance.headers_of(message.event) or {}).get(provenance.REPLAY_OF) == str(
            pushed.entry_id
        )
    assert pushed.event is not None
    assert provenance.headers_of(pushed.event) is None
