from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from tests.conftest import MakeSettings
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats._nats import tail_consumer
from varco_nats._nats.client import Connection, connect
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ServerUnreachableError
from varco_nats.history._tail import Tail
from varco_nats.server import LocalNats


async def make_stream(nc: Client, settings: NatsEventBusSettings, **changes: Any) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            allow_direct=True,
            **changes,
        )
    )


class Reading:
    """A tail that is read in the background, and what it gave."""

    def __init__(
        self, connection: Connection, settings: NatsEventBusSettings, *channels: str
    ) -> None:
        subjects = [settings.subject_name(channel) for channel in channels]
        self.states: list[str] = []
        self.seqs: list[int] = []
        self.batches: list[int] = []
        self.tail = Tail(connection, settings.stream_name, subjects or None, self._changed)

    def _changed(self) -> None:
        if not self.states or self.states[-1] != self.tail.state:
            self.states.append(self.tail.state)

    async def run(self) -> None:
        async with contextlib.aclosing(self.tail.batches()) as batches:
            async for batch in batches:
                self.seqs += [message.seq for message in batch]
                self.batches.append(len(batch))

    async def has(self, count: int) -> None:
        await until(lambda: len(self.seqs) >= count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def store(
    nc: Client, settings: NatsEventBusSettings, channels: list[str], data: bytes = b"{}"
) -> None:
    """One message for each name in `channels`, in that order."""
    js = nc.jetstream()
    await asyncio.gather(
        *[await js.publish_async(settings.subject_name(name), data) for name in channels]
    )


async def tails(js: JetStreamContext, settings: NatsEventBusSettings) -> list[str]:
    infos = await js.consumers_info(settings.stream_name)
    return [info.name for info in infos if info.name.startswith("tail-")]


async def test_from_now_on(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 3)
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    await store(nc, settings, ["orders", "other", "orders"])  # before the reading begins
    async with reading.running():
        await reading.has(2)
        await store(nc, settings, ["other", "orders"])
        await reading.has(3)
        assert await tails(js, settings) != []
    assert reading.seqs == [4, 6, 8]
    assert reading.states[-1] == "live"
    assert (reading.tail.next_seq, reading.tail.gaps, reading.tail.behind) == (9, 0, 0)
    assert await tails(js, settings) == []


async def test_its_consumer_is_in_memory_and_acknowledges_nothing(
    connection: Connection, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    reading = Reading(connection, settings, "orders", "payments")
    await reading.tail.seek()
    async with reading.running():
        await until(lambda: reading.tail.state == "live")
        (info,) = await js.consumers_info(settings.stream_name)
        assert info.config.ack_policy == "none"
        assert info.config.mem_storage
        assert info.config.inactive_threshold == 30
        assert len(info.config.filter_subjects or []) == 2


async def test_from_a_point_in_the_past(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 3000)
    await asyncio.sleep(0.005)
    moment = datetime.now(UTC)
    await store(nc, settings, ["orders"] * 3000)
    for where, first in (
        ({"start_seq": 1}, 1),
        ({"start_seq": 5}, 5),
        ({"since": moment}, 3001),
        ({"since": moment, "start_seq": 4000}, 4000),
        ({"start_seq": 6001}, 6001),
    ):
        reading = Reading(connection, settings, "orders")
        await reading.tail.seek(**where)
        async with reading.running():
            await reading.has(6000 - first + 1)
            await until(lambda reading=reading: reading.tail.state == "live")  # type: ignore[misc]
        assert reading.seqs == list(range(first, 6001))
        assert reading.tail.gaps == 0


async def test_catching_up_is_seen(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 10)
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek(start_seq=1)
    async with reading.running():
        await reading.has(10)
        await until(lambda: reading.tail.state == "live")
    assert reading.states == ["live"]  # it begins as catching up
    reading = Reading(connection, settings, "orders")
    assert reading.tail.state == "catching up"


async def test_waits_for_a_stream_that_is_not_there(
    connection: Connection, nc: Client, settings: NatsEventBusSettings
) -> None:
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    assert reading.tail.state == "waiting"
    assert "does not exist" in str(reading.tail.problem)
    async with reading.running():
        await make_stream(nc, settings)
        await store(nc, settings, ["orders"] * 3)
        await reading.has(3)
        await nc.jetstream().delete_stream(settings.stream_name)
        await until(lambda: reading.tail.state == "waiting")
        await make_stream(nc, settings)
        await store(nc, settings, ["other", "orders"])
        await reading.has(4)
    assert reading.seqs == [1, 2, 3, 2]
    assert reading.tail.gaps == 0


async def test_goes_on_when_its_consumer_is_deleted(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    deleted: list[str] = []

    async def follows_anew() -> bool:
        names = await tails(js, settings)
        return len(names) == 1 and names[0] not in deleted

    async with reading.running():
        for part in range(1, 6):
            await until(follows_anew)
            deleted += await tails(js, settings)
            await asyncio.gather(
                js.delete_consumer(settings.stream_name, deleted[-1]),
                store(nc, settings, ["orders"] * 500),
            )
            await reading.has(500 * part)
    assert reading.seqs == list(range(1, 2501))
    assert reading.tail.gaps == 0
    assert await tails(js, settings) == []


async def test_goes_on_after_cut_connections(
    js: JetStreamContext,
    nc: Client,
    server: LocalNats,
    make_settings: MakeSettings,
) -> None:
    async with Proxy(server.port) as proxy:
        settings = make_settings(servers=proxy.url_for(server.url))
        connection = await connect(settings, name="test-tail")
        reading = Reading(connection, settings, "orders")
        await reading.tail.seek()
        async with reading.running():
            for part in range(1, 5):
                publishing = asyncio.create_task(store(nc, settings, ["orders"] * 2000))
                await reading.has(2000 * (part - 1) + 1)
                proxy.disconnect()
                await publishing
                await reading.has(2000 * part)
            await until(lambda: proxy.connections == 5 and connection.is_connected)
        assert reading.seqs == list(range(1, 8001))
        assert "reconnecting" in reading.states
        assert reading.tail.gaps == 0
        await until(lambda: _none(tails(js, settings)))
        await connection.close()


async def _none(names: Any) -> bool:
    return await names == []


async def test_notices_messages_that_never_arrive(
    js: JetStreamContext,
    nc: Client,
    server: LocalNats,
    make_settings: MakeSettings,
) -> None:
    """Answers are dropped for a while, on a connection that stays open."""
    async with Proxy(server.port) as proxy:
        settings = make_settings(servers=proxy.url_for(server.url))
        connection = await connect(settings, name="test-tail")
        reading = Reading(connection, settings, "orders")
        await reading.tail.seek()
        async with reading.running():
            await store(nc, settings, ["orders"] * 10)
            await reading.has(10)
            proxy.drop(ANSWERS)
            await store(nc, settings, ["orders"] * 10)
            await asyncio.sleep(0.1)
            proxy.drop()
            await reading.has(20)  # the next heartbeat tells
        assert reading.seqs == list(range(1, 21))
        await connection.close()


async def test_goes_on_after_a_killed_server() -> None:
    with LocalNats() as local:
        settings = NatsEventBusSettings(servers=local.url, stream_name="s", subject_prefix="s")
        connection = await connect(settings, name="test-tail")
        nc = await nats.connect(local.url)
        await make_stream(nc, settings)
        reading = Reading(connection, settings, "orders")
        lost = f"the connection to {connection.servers[0]} is lost"
        await reading.tail.seek()
        async with reading.running():
            for part in range(1, 4):
                await store(nc, settings, ["orders"] * 300)
                await reading.has(300 * part)
                await nc.close()
                await asyncio.to_thread(local.kill)
                await until(lambda: reading.tail.problem == lost)
                assert reading.tail.state == "reconnecting"
                await asyncio.to_thread(local.restart)
                nc = await nats.connect(local.url)
            await store(nc, settings, ["orders"] * 300)
            await reading.has(1200)
            assert reading.tail.state == "live"
        assert reading.seqs == list(range(1, 1201))
        assert reading.tail.gaps == 0
        assert await tails(nc.jetstream(), settings) == []
        await nc.close()
        await connection.close()


async def test_a_reader_that_does_not_read_holds_little(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 20_000)
    tail = Tail(connection, settings.stream_name)
    await tail.seek(start_seq=1)
    async with contextlib.aclosing(tail.batches()) as batches:
        first = await anext(batches)
        await store(nc, settings, ["orders"] * 2)  # time for more to arrive
        (info,) = await js.consumers_info(settings.stream_name)
        assert info.delivered is not None
        sent = info.delivered.consumer_seq
        assert len(first) <= sent <= 3 * tail_consumer.PAGE
        assert tail.next_seq == first[-1].seq + 1
        assert tail.state == "catching up"
        assert tail.behind > 0


async def test_large_payloads(
    connection: Connection,
    js: JetStreamContext,
    nc: Client,
    settings: NatsEventBusSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_consumer, "_MAX_BYTES", 1)  # then twice max_payload is the bound
    await store(nc, settings, ["orders"] * 12, b"x" * 900_000)
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek(start_seq=1)
    async with reading.running():
        await reading.has(12)
    assert reading.seqs == list(range(1, 13))


async def test_counts_what_the_stream_dropped_while_nobody_read(
    connection: Connection, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(nc, settings, max_msgs=100)
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    async with reading.running():
        await store(nc, settings, ["orders"] * 5)
        await reading.has(5)
    await store(nc, settings, ["orders"] * 150)
    async with reading.running():
        await reading.has(105)
    assert reading.seqs == [*range(1, 6), *range(56, 156)]
    assert reading.tail.gaps == 50


async def test_counts_what_the_stream_dropped_before_it_was_read(
    connection: Connection, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(nc, settings, max_msgs=10_000, discard=DiscardPolicy.OLD)
    await store(nc, settings, ["orders"] * 10_000)
    tail = Tail(connection, settings.stream_name)
    await tail.seek(start_seq=1)
    seqs: list[int] = []
    async with contextlib.aclosing(tail.batches()) as batches:
        seqs += [message.seq for message in await anext(batches)]
        await store(nc, settings, ["orders"] * 10_000)  # overtakes the reader
        while seqs[-1] < 20_000:
            seqs += [message.seq for message in await anext(batches)]
    assert seqs == sorted(set(seqs))
    assert tail.gaps == 20_000 - len(seqs) > 0


async def test_a_purge_behind_it_is_no_gap(
    connection: Connection, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    async with reading.running():
        await store(nc, settings, ["orders"] * 5)
        await reading.has(5)
        await js.purge_stream(settings.stream_name)
    async with reading.running():
        await store(nc, settings, ["orders"] * 5)
        await reading.has(10)
    assert reading.seqs == list(range(1, 11))
    assert reading.tail.gaps == 0


async def test_a_stream_that_lost_its_end_is_read_on(
    connection: Connection, nc: Client, settings: NatsEventBusSettings
) -> None:
    """As after a power failure: sequences are given out a second time."""
    await make_stream(nc, settings)
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    reading.tail._known_last, reading.tail.next_seq = 7, 8
    await store(nc, settings, ["orders"] * 4)
    async with reading.running():
        await until(lambda: reading.tail.state == "live")
        await store(nc, settings, ["orders"] * 2)
        await reading.has(2)
    assert reading.seqs == [5, 6]


@pytest.mark.parametrize("retention", [RetentionPolicy.WORK_QUEUE, RetentionPolicy.INTEREST])
async def test_takes_nothing_from_a_work_queue(
    connection: Connection, nc: Client, settings: NatsEventBusSettings, retention: RetentionPolicy
) -> None:
    await make_stream(nc, settings, retention=retention)
    js = nc.jetstream()
    subject = settings.subject_name("orders")
    service = await js.pull_subscribe(subject, durable="service")
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    async with reading.running():
        await store(nc, settings, ["orders"] * 3)
        await reading.has(3)
        assert [info.name for info in await js.consumers_info(settings.stream_name)] == ["service"]
        assert len(await service.fetch(3)) == 3
        await store(nc, settings, ["orders"] * 2)
        await reading.has(5)
    assert reading.seqs == [1, 2, 3, 4, 5]
    await service.unsubscribe()


async def test_counts_what_services_take_before_it_is_seen(
    connection: Connection, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(nc, settings, retention=RetentionPolicy.WORK_QUEUE)
    js = nc.jetstream()
    service = await js.pull_subscribe(settings.subject_name("orders"), durable="service")
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    assert reading.tail.forgets

    async def work() -> None:
        await store(nc, settings, ["orders"] * 30 + ["other"])
        for message in await service.fetch(30):
            await message.ack_sync()

    await work()
    async with reading.running():
        await until(lambda: reading.tail.state == "live")
        assert reading.tail.gaps == 30
        await work()
        await work()
        await store(nc, settings, ["orders"])
        await until(lambda: reading.seqs[-1:] == [94])
    assert reading.tail.gaps == 91 - len(reading.seqs)
    await service.unsubscribe()


async def test_ends_when_the_connection_is_closed(
    js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    connection = await connect(settings, name="test-tail")
    reading = Reading(connection, settings, "orders")
    await reading.tail.seek()
    task = asyncio.create_task(reading.run())
    await until(lambda: reading.tail.state == "live")
    await connection.close()
    with pytest.raises(ServerUnreachableError, match="closed"):
        await task
