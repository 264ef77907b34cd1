"""Starting while a cluster elects its leaders, and when it cannot."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from varco_core.event.base import Event

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from tests.memory import files_in_memory
from tests.waiting import until
from varco_nats._nats.client import connect
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import stream_info
from varco_nats.bus import NatsEventBus
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ServerUnreachableError, StreamUnavailableError
from varco_nats.history import Batch, History
from varco_nats.history._reader import StreamReader
from varco_nats.replay import Replayer
from varco_nats.server import LocalCluster, LocalNats

ACCOUNTS = """
accounts {
  SYS { users = [{ user: sys, password: sys }] }
  APP { jetstream: enabled
        users = [{ user: app, password: app }
                 { user: few, password: few
                   permissions: { publish: { deny: ["$JS.API.STREAM.MSG.GET.>"] } } }] }
}
system_account: SYS
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with files_in_memory():
        local = LocalCluster(3, token=None, config=ACCOUNTS).start()
    with local:
        yield local


@pytest.fixture
def make_settings(cluster: LocalCluster) -> MakeSettings:
    unique = f"t-{uuid.uuid4().hex[:10]}"

    def make(**changes: object) -> NatsEventBusSettings:
        values: dict[str, Any] = {
            "servers": ",".join(login(node, "app") for node in cluster.nodes),
            "stream_name": unique,
            "subject_prefix": unique,
            "durable_name": "svc",
            "stream_replicas": 3,
            "drain_timeout_seconds": 1,
        }
        return NatsEventBusSettings(**(values | changes))

    return make


def login(node: LocalNats, user: str) -> str:
    return f"nats://{user}:{user}@127.0.0.1:{node.port}"


async def leader_of(nc: Client, cluster: LocalCluster, stream: str) -> LocalNats:
    """The node that leads `stream`, once there is one."""
    found: list[LocalNats] = []

    async def known() -> bool:
        with suppress(NatsError):
            info = await nc.jetstream().stream_info(stream)
            assert info.cluster is not None
            found[:] = [node for node in cluster.nodes if node._name == info.cluster.leader]
        return bool(found)

    await until(known)
    return found[0]


async def until_leaderless(node: LocalNats, *streams: str) -> None:
    """Wait until `node` does not lead any of these itself, as it may have begun to meanwhile."""
    nc = await nats.connect(login(node, "app"))

    async def silent() -> bool:
        for stream in streams:
            with suppress(NatsError):
                await nc.jetstream(timeout=0.3).stream_info(stream)
                return False
        return True

    try:
        await until(silent)
    finally:
        await nc.close()


@asynccontextmanager
async def paused(*nodes: LocalNats) -> AsyncIterator[None]:
    for node in nodes:
        node.pause()
    try:
        yield
    finally:
        for node in nodes:
            node.resume()


@asynccontextmanager
async def elections(cluster: LocalCluster, stream: str) -> AsyncIterator[None]:
    """The leaders of the cluster, the streams and their consumers step down again and again."""
    system = await nats.connect(login(cluster.nodes[0], "sys"))
    app = await nats.connect(login(cluster.nodes[0], "app"))

    async def step_down() -> None:
        while True:
            for nc, of in (
                (app, f"STREAM.LEADER.STEPDOWN.{stream}"),
                (app, f"STREAM.LEADER.STEPDOWN.{stream}-dlq"),
                (app, f"CONSUMER.LEADER.STEPDOWN.{stream}.svc-orders"),
                (system, "META.LEADER.STEPDOWN"),
            ):
                await nc.publish(f"$JS.API.{of}", b"")
                await asyncio.sleep(0.02)

    task = asyncio.create_task(step_down())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await system.close()
        await app.close()


async def listen(event: Event) -> None:
    """A handler that has nothing to do."""


def started(kind: str, settings: NatsEventBusSettings) -> AbstractAsyncContextManager[object]:
    """What is started by `async with`."""
    match kind:
        case "bus":
            bus = NatsEventBus(settings)
            bus.subscribe(OrderPlaced, listen, channel="orders")
            return bus
        case "dead letters":
            return NatsDLQ(settings)
        case "replayer":
            return Replayer(settings)
        case "history":
            return History(settings)
    values = settings.model_dump(include=set(NatsChannelManagerSettings.model_fields))
    return NatsStreamManager(NatsChannelManagerSettings(**values))


KINDS = ["bus", "dead letters", "replayer", "history", "channel manager"]


async def test_everything_starts_while_a_lost_leader_is_replaced(
    cluster: LocalCluster, make_settings: MakeSettings
) -> None:
    settings = make_settings()
    for kind in KINDS:
        async with started(kind, settings):
            pass
    nc = await nats.connect(login(cluster.nodes[0], "app"))
    leader = await leader_of(nc, cluster, settings.stream_name)
    await nc.close()
    others = [login(node, "app") for node in cluster.nodes if node is not leader]
    settings = make_settings(servers=",".join(others), leader_timeout_seconds=40)

    async def start(kind: str) -> None:
        async with started(kind, settings) as it:
            if isinstance(it, History):
                assert await it.channels() == []

    async with paused(leader):
        await asyncio.gather(*map(start, KINDS))


async def test_starts_between_elections_raise_nothing_and_warn_of_nothing(
    cluster: LocalCluster,
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(leader_timeout_seconds=40)
    async with elections(cluster, settings.stream_name):
        for _ in range(40):
            async with started("bus", settings), started("dead letters", settings):
                pass
    assert "was deleted" not in caplog.text


async def test_a_bus_whose_leaders_change_says_nothing_of_a_deleted_durable(
    cluster: LocalCluster,
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No message was delivered yet, so that the durable looks like a new one."""
    async with started("bus", make_settings(leader_timeout_seconds=40)) as bus:
        assert isinstance(bus, NatsEventBus)
        consumer = bus._consumers["orders"]
        consumer._consumer_gone("no responders")
        await until(lambda: consumer._gone is None)
        await until(lambda: not bus.consumer_errors)
    assert "was deleted" not in caplog.text


async def test_a_deleted_durable_is_told(
    cluster: LocalCluster,
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(leader_timeout_seconds=40)
    async with started("bus", settings):
        nc = await nats.connect(login(cluster.nodes[0], "app"))
        await nc.jetstream().delete_consumer(settings.stream_name, "svc-orders")
        await nc.close()
        await until(lambda: "durable svc-orders of channel 'orders' was deleted" in caplog.text)


@pytest.mark.timeout(120)
async def test_without_a_majority_the_stream_is_named_in_time(
    cluster: LocalCluster, make_settings: MakeSettings
) -> None:
    settings = make_settings()
    for kind in KINDS:
        async with started(kind, settings):
            pass
    nc = await nats.connect(login(cluster.nodes[0], "app"))
    streams = [settings.stream_name, f"{settings.stream_name}-dlq"]
    leaders = [await leader_of(nc, cluster, stream) for stream in streams]
    await nc.close()
    alone = next(node for node in cluster.nodes if node not in leaders)
    settings = make_settings(servers=login(alone, "app"), leader_timeout_seconds=2)

    async def begin(kind: str) -> None:
        async with asyncio.timeout(20), started(kind, settings) as it:
            if isinstance(it, History):
                await it.channels()

    async def start(kind: str) -> None:
        with pytest.raises(StreamUnavailableError) as caught:
            await begin(kind)
        assert "has no leader" in str(caught.value)
        assert "app" not in str(caught.value)
        assert caught.value.servers == (f"nats://127.0.0.1:{alone.port}",)
        if kind != "history":  # which first asks whether there is JetStream at all
            assert str(caught.value.stream).startswith(settings.stream_name)
            assert repr(caught.value.stream) in str(caught.value)

    async with paused(*(node for node in cluster.nodes if node is not alone)):
        await until_leaderless(alone, *streams)
        await asyncio.gather(*map(start, KINDS))
    settings = make_settings(leader_timeout_seconds=60)
    for kind in KINDS:
        async with started(kind, settings):
            pass


async def test_a_single_server_that_does_not_answer_is_unreachable() -> None:
    with LocalNats() as own:
        settings = NatsEventBusSettings(servers=own.url, leader_timeout_seconds=0.5)
        history = History(settings)
        await history.start()
        own.pause()
        try:
            with pytest.raises(ServerUnreachableError, match="JetStream gave no answer"):
                await history.select("orders")
        finally:
            own.resume()
            await history.stop()


async def test_too_few_servers_for_the_replicas_are_told(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(leader_timeout_seconds=40)
    async with started("history", settings):
        pass  # the cluster has a leader
    settings = make_settings(stream_replicas=5, leader_timeout_seconds=5)
    with pytest.raises(StreamUnavailableError, match="no suitable peers") as caught:
        await NatsEventBus(settings).start()
    assert caught.value.stream == settings.stream_name


async def test_what_the_cluster_said_is_told_though_its_last_answer_was_late(
    cluster: LocalCluster, make_settings: MakeSettings
) -> None:
    settings = make_settings(leader_timeout_seconds=40)
    async with started("history", settings):
        pass  # the cluster has a leader
    connection = await connect(settings, name="t")
    answers = 0

    async def ask() -> None:
        nonlocal answers
        if answers:
            await asyncio.sleep(60)
        answers += 1
        name = settings.stream_name
        await connection.js.add_stream(name=name, subjects=[name], num_replicas=5)

    try:
        with pytest.raises(StreamUnavailableError, match="no suitable peers"):
            await with_leader(connection, settings.stream_name, ask, wait=8, attempt=5)
    finally:
        await connection.close()


async def test_a_leader_that_stood_still_is_not_believed_while_it_does_not_know_of_the_next(
    cluster: LocalCluster, make_settings: MakeSettings
) -> None:
    """It answers what was sent to it meanwhile, from what it had when it stopped."""
    settings = make_settings(ping_interval_seconds=60)
    stream, js = settings.stream_name, None
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        assert bus._connection is not None
        leader = await leader_of(bus._connection.nc, cluster, stream)
    [other, _] = (node for node in cluster.nodes if node is not leader)
    plain = await nats.connect(login(other, "app"))
    connection = await connect(
        settings.model_copy(update={"servers": login(leader, "app")}), name="t"
    )
    try:
        async with paused(leader):
            js = plain.jetstream(timeout=1)

            async def stored() -> bool:
                with suppress(NatsError):
                    await js.publish(settings.subject_name("orders"), b"{}")
                    return True
                return False

            await until(stored)
            first = connection.js.stream_info(stream)  # what nats-py alone is told
            asked = [
                asyncio.create_task(first),
                asyncio.create_task(stream_info(connection, stream, state=True)),
            ]
            await asyncio.sleep(0.2)  # both requests are on their way
        _, info = await asyncio.gather(*asked)
        last = (await js.stream_info(stream)).state.last_seq
    finally:
        await connection.close()
        await plain.close()
    assert info.state.last_seq == last


@pytest.mark.parametrize(("user", "found"), [("app", [1, 2, 3, 4, 5]), ("few", [1, 2])])
async def test_a_login_that_may_not_ask_the_leader_gets_what_the_replica_has(
    cluster: LocalCluster,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    found: list[int],
) -> None:
    read, ends = StreamReader._read, [2]

    def behind(self: StreamReader, first: int, last: int, *, page: int) -> AsyncGenerator[Batch]:
        """At the first read the replica has two messages."""
        return read(self, first, ends.pop() if ends else last, page=page)

    settings = make_settings()
    async with NatsEventBus(settings) as bus:
        await bus.publish_many([(OrderPlaced(order_id=str(n)), "orders") for n in range(5)])
    monkeypatch.setattr(StreamReader, "_read", behind)
    servers = ",".join(login(node, user) for node in cluster.nodes)
    async with History(make_settings(servers=servers)) as history:
        assert [message.seq async for message in history.read("orders")] == found
