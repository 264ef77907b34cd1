"""Settings that say `read_only`: what looks works, and what would change something is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig
from varco_core.event.base import CHANNEL_ALL
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from varco_nats import NatsDLQ, NatsEventBus, NatsStreamManager, Replayer
from varco_nats._nats.client import connect
from varco_nats._read_only import check_only_looks
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReadOnlyError, StreamNotFoundError
from varco_nats.health import NatsHealthCheck
from varco_nats.history import History
from varco_nats.history._tail import Tail
from varco_nats.upgrade import upgrade

ORDER = OrderPlaced(order_id="1")
READER = "history-0123456789abcdef0123456789abcdef"
READS = {"name": READER, "ack_policy": "none"}


def published(subject: str, payload: bytes = b"", reply: str = "_INBOX.a.1") -> bytes:
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)


def creating(**config: object) -> bytes:
    return json.dumps({"stream_name": "S", "config": config}).encode()


# ---- which commands a connection that only looks sends ----------------------------------------

LOOKS = {
    "INFO": b"",
    "STREAM.NAMES": b"{}",
    "STREAM.LIST": b"{}",
    "STREAM.INFO.S": b"{}",
    "STREAM.MSG.GET.S": b'{"seq": 1}',
    "DIRECT.GET.S": b'{"seq": 1}',
    "DIRECT.GET.S.orders.eu": b"",
    "CONSUMER.NAMES.S": b"",
    "CONSUMER.LIST.S": b"",
    "CONSUMER.INFO.S.svc-orders": b"",
    "CONSUMER.CREATE.S": creating(**READS),
    f"CONSUMER.MSG.NEXT.S.{READER}": b'{"batch": 5}',
    f"CONSUMER.DELETE.S.{READER}": b"",
}
CHANGES = {
    "STREAM.CREATE.S": "create stream S",
    "STREAM.UPDATE.S": "change stream S",
    "STREAM.DELETE.S": "delete stream S",
    "STREAM.PURGE.S": "delete messages of stream S",
    "STREAM.MSG.DELETE.S": "delete a message of stream S",
    "STREAM.LEADER.STEPDOWN.S": "publish to 'API.STREAM.LEADER.STEPDOWN.S'",
    "CONSUMER.CREATE.S.svc-orders.orders.>": "create a consumer of stream S",
    f"CONSUMER.CREATE.S.{READER}": "create a consumer of stream S",
    "CONSUMER.DURABLE.CREATE.S.svc-orders": "create a consumer of stream S",
    "CONSUMER.DELETE.S.svc-orders": "delete a consumer of stream S",
    "CONSUMER.MSG.NEXT.S.svc-orders": "take messages from a consumer of stream S",
    "CONSUMER.PAUSE.S.svc-orders": "publish to 'API.CONSUMER.PAUSE.S.svc-orders'",
    "ACCOUNT.PURGE.A": "publish to 'API.ACCOUNT.PURGE.A'",
    "INFO.more": "publish to 'API.INFO.more'",
}
BAD_CONSUMERS = [
    creating(**READS, durable_name=READER),
    creating(**READS, deliver_subject="orders"),
    creating(name="svc-orders", ack_policy="none"),
    creating(name=READER, ack_policy="explicit"),
    creating(ack_policy="none"),
    b"{}",
    b"[]",
    b"not JSON",
]
OTHERS = ["varco.orders", "$JS.ACK.S.svc.1.1.1.1.0", "$JS.API.INFO", "APIx.INFO", "_INBOX"]


@pytest.mark.parametrize("api", ["$JS.API", "$JS.hub.API", "from.hub"])
def test_what_is_sent_and_what_is_refused(api: str) -> None:
    def check(commands: bytes) -> None:
        check_only_looks(commands, api, "_MINE")

    def refused(commands: bytes) -> str:
        with pytest.raises(ReadOnlyError) as caught:
            check(commands)
        assert "nothing was sent" in str(caught.value)
        assert "VARCO_NATS_READ_ONLY" in str(caught.value)
        return caught.value.operation

    good = [published(f"{api}.{request}", payload) for request, payload in LOOKS.items()]
    good += [b"SUB varco.orders  7\r\n", b"UNSUB 7 1\r\n", b"PING\r\n", b"PONG\r\n"]
    good += [published("_INBOX.abc.1"), published("_MINE.abc")]  # is that process still there?
    for commands in [*good, b"".join(good)]:
        check(commands)
    for request, words in CHANGES.items():
        assert refused(published(f"{api}.{request}", b"{}")) == words.replace("API.", f"{api}.")
    for payload in BAD_CONSUMERS:
        assert refused(published(f"{api}.CONSUMER.CREATE.S", payload)).startswith("create a cons")
    others = [subject for subject in OTHERS if subject != f"{api}.INFO"]
    assert [refused(published(subject)) for subject in others] == [
        f"publish to {subject!r}" for subject in others
    ]
    assert refused(published("_INBOX.abc.1", b"an answer")) == "publish to '_INBOX.abc.1'"
    assert refused(b"HPUB varco.x 14 15\r\nNATS/1.0\r\n\r\n\r\nx\r\n") == "publish to 'varco.x'"
    # the second of several, and one whose name stands in the payload of another
    assert refused(good[0] + published("varco.orders", b"x")) == "publish to 'varco.orders'"
    check(published(f"{api}.STREAM.LIST", b'{"x": "\r\nPUB varco.orders 1\r\nx"}'))


# ---- settings ---------------------------------------------------------------------------------


def test_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not NatsEventBusSettings().read_only
    monkeypatch.setenv("VARCO_NATS_READ_ONLY", "1")
    assert NatsEventBusSettings().read_only
    assert not NatsEventBusSettings(read_only=False).read_only
    assert not NatsChannelManagerSettings().read_only  # which has a login of its own
    monkeypatch.setenv("VARCO_NATS_ADMIN_READ_ONLY", "true")
    assert NatsChannelManagerSettings().read_only


# ---- on a server ------------------------------------------------------------------------------


async def state_of(nc: Client, settings: NatsEventBusSettings) -> object:
    """All that the test's streams and their consumers are, without readers that come and go."""
    js, found = nc.jetstream(), []
    for info in await js.streams_info():
        name = str(info.config.name)
        if not name.startswith(settings.stream_name):
            continue
        consumers = {
            str(each.name): (each.config, each.num_ack_pending, each.delivered)
            for each in await js.consumers_info(name)
            if each.config.durable_name
        }
        found.append((name, info.config, info.state.messages, info.state.last_seq, consumers))
    return sorted(found, key=lambda each: each[0])


@pytest.fixture
async def used(settings: NatsEventBusSettings) -> NatsEventBusSettings:
    """The settings of a service that has a stream, a durable, two dead letters and a log."""
    seen = asyncio.Event()
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(OrderPlaced, lambda _: seen.set(), channel="orders")
        await bus.publish_many([(ORDER, "orders")] * 3)
        async with asyncio.timeout(20):
            await seen.wait()
        for number in range(3):
            await dlq.push(DeadLetterEntry(event=OrderPlaced(order_id=f"{number}"), channel="late"))
        async with Replayer(settings) as replayer:
            plan = await replayer.plan(limit=1)
            await replayer.run(plan, confirm="nobody")
    return settings


async def test_all_that_looks_works_and_leaves_everything_as_it_was(
    used: NatsEventBusSettings, nc: Client
) -> None:
    looking = used.model_copy(update={"read_only": True})
    before = await state_of(nc, used)
    async with History(looking) as history:
        assert [message.seq async for message in history.read("orders")] == [1, 2, 3]
        assert [m.seq async for m in history.read("orders", newest_first=True, limit=1)] == [3]
    connection = await connect(looking, name="test")
    tail = Tail(connection, used.stream_name, [used.subject_name("orders")])
    await tail.seek(start_seq=2)
    async with asyncio.timeout(20):
        batch = await anext(batches := tail.batches())
    assert batch[0].seq == 2
    await batches.aclose()
    await connection.close()
    async with NatsDLQ(looking) as dlq, Replayer(looking) as replayer:
        first, _ = await dlq.list_entries()
        assert await dlq.get(first.entry_id) == first
        assert await dlq.count_by_channel() == {"late": 2}
        assert (await replayer.plan()).to_replay == 2
        assert len((await replayer.plan_history("orders", to="copies")).rows) == 3
        [logged] = await replayer.log()
        assert len(await replayer.log_rows(logged.replay_id)) == 1
        assert len(await replayer.find_exhausted("orders")) == 0
    assert (await NatsHealthCheck(looking).check()).latency_ms is not None
    assert (await upgrade(looking, dry_run=True)).dry_run
    assert await state_of(nc, used) == before
    left = await nc.jetstream().consumers_info(used.stream_name)
    assert [each.name for each in left if not each.config.durable_name] == []


async def test_all_that_changes_is_refused_by_name(
    used: NatsEventBusSettings, nc: Client, make_settings: MakeSettings
) -> None:
    looking = used.model_copy(update={"read_only": True})
    elsewhere = make_settings("2", read_only=True)
    before = await state_of(nc, used)
    bus, dlq, writing = NatsEventBus(looking), NatsDLQ(looking), NatsDLQ(used)
    replayer = Replayer(looking)
    to_elsewhere = Replayer(used, target=elsewhere)
    admin = NatsChannelManagerSettings(
        **{
            name: getattr(looking, name)
            for name in ("servers", "stream_name", "subject_prefix", "read_only")
        }
    )
    async with bus, dlq, writing, replayer, to_elsewhere:
        plan = await replayer.plan()
        history = await to_elsewhere.plan_history("orders")
        [entry, _] = await dlq.list_entries()

        async def subscribe() -> None:
            bus.subscribe(OrderPlaced, lambda _: None, channel=CHANNEL_ALL)

        manager = NatsStreamManager(admin)
        tried: dict[str, Callable[[], Awaitable[Any]]] = {
            "publish()": lambda: bus.publish(ORDER, channel="orders"),
            "publish_many()": lambda: bus.publish_many([(ORDER, "orders")]),
            "subscribe()": subscribe,
            "push()": lambda: dlq.push(entry),
            "pop_batch()": dlq.pop_batch,
            "ack()": lambda: dlq.delete(entry.entry_id),
            "delete_where()": lambda: dlq.delete_where(channel="late"),
            "run()": lambda: replayer.run(plan),
            "discard()": lambda: replayer.discard([entry.entry_id], confirm="discard"),
            "capture_exhausted()": replayer.capture_exhausted,
            "stop_capturing_exhausted()": replayer.stop_capturing_exhausted,
            "upgrade()": lambda: upgrade(looking, dry_run=False),
            f"create stream {used.stream_name}-channels": manager.start,
        }
        for operation, attempt in tried.items():
            with pytest.raises(ReadOnlyError) as caught:
                await attempt()
            assert caught.value.operation == operation
            assert not isinstance(caught.value, NatsError)  # so that no retry catches it
        with pytest.raises(ReadOnlyError):  # the target counts, too
            await to_elsewhere.run(history)
    assert await state_of(nc, used) == before


async def test_what_forgets_to_ask_is_refused_by_the_connection(
    used: NatsEventBusSettings, nc: Client
) -> None:
    """Whatever part of nats-py or of this package sends it."""
    connection = await connect(used.model_copy(update={"read_only": True}), name="test")
    before, stream = await state_of(nc, used), used.stream_name
    subject, client, js = used.subject_name("orders"), connection.nc, connection.js
    durable = used.durable_for("orders")
    ways: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.publish(subject, b"x"),
        lambda: client.publish(subject, b"x", headers={"A": "b"}),
        lambda: client.request(subject, b"x"),
        lambda: client.ask(subject, b"x", 1),
        lambda: client.ask(subject, b"x", 1, {"A": "b"}),
        lambda: client.answer(subject, b"x"),
        lambda: client.publish_with_headers(subject, "", {"A": "b"}, b"x"),
        lambda: client.send(published(f"{connection.api}.INFO") + published(subject)),
        lambda: asyncio.to_thread(client.send_soon, published(subject)),
        lambda: connection.store(subject, b"x", {}, 1),
        lambda: js.publish(subject, b"x"),
        lambda: js.add_stream(name=f"{stream}-new"),
        lambda: js.update_stream(name=stream),
        lambda: js.delete_stream(stream),
        lambda: js.purge_stream(stream),
        lambda: js.delete_msg(stream, 1),
        lambda: js.delete_consumer(stream, durable),
        lambda: js.add_consumer(stream, ConsumerConfig(durable_name="new")),
        lambda: js.add_consumer(stream, ConsumerConfig(name=READER)),
        lambda: js.pull_subscribe(subject, "new"),
        lambda: js.subscribe(subject),
    ]
    outcomes = await asyncio.gather(*(way() for way in ways), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ReadOnlyError] * len(ways)
    pull = await js.pull_subscribe_bind(durable, stream)
    with pytest.raises(ReadOnlyError):
        await pull.fetch(1, timeout=1)
    await client.flush()
    await connection.close()
    assert await state_of(nc, used) == before


async def test_the_streams_that_are_not_there_are_not_made(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    looking = settings.model_copy(update={"read_only": True})
    async with Replayer(looking) as replayer:
        assert (await replayer.plan()).rows == ()
        assert await replayer.log() == []
    with pytest.raises(ReadOnlyError, match=f"create stream {settings.stream_name}:"):
        await NatsEventBus(looking).start()
    with pytest.raises(StreamNotFoundError):
        await NatsDLQ(looking).start()
    assert await state_of(nc, settings) == []


async def test_a_queue_of_the_released_package_is_read_and_stays_as_it_is(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    js, root = nc.jetstream(), f"{settings.subject_prefix}-dlq"
    await js.add_stream(name=f"{settings.stream_name}-dlq", subjects=[root])
    before = await state_of(nc, settings)
    async with NatsDLQ(settings.model_copy(update={"read_only": True})) as dlq:
        assert await dlq.count() == 0
    assert await state_of(nc, settings) == before
