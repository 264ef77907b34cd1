"""What a cluster has not decided is not taken for stored, and what it learns late is waited for."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import nats
import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.core.helpers import Durable, dlq_stream, entry, inside_a_delivery
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats._nats.client import connect
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import DlqNames
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterError, ReplayLogError
from varco_nats.replay._log import ReplayLog
from varco_nats.server import LocalCluster, LocalNats

ENTRY_ID = UUID(int=2)


@pytest.fixture
def replicated(make_settings: MakeSettings, cluster: LocalCluster) -> NatsEventBusSettings:
    """Of a queue with a replica on each node, whose pushes give up soon."""
    return make_settings(
        servers=cluster.servers,
        stream_replicas=3,
        publish_timeout_seconds=0.5,
        publish_attempts=3,
    )


async def is_stored(dlq: NatsDLQ, pushed: DeadLetterEntry) -> bool:
    """Push it, as a message that comes again does; whether the queue then has it."""
    try:
        with inside_a_delivery():
            await dlq.push(pushed)
    except DeadLetterError:
        return False
    assert await dlq.get(pushed.entry_id) is not None, "said to be stored, and is not there"
    return True


async def leader_and_others(
    settings: NatsEventBusSettings, cluster: LocalCluster, stream: str | None = None
) -> tuple[LocalNats, list[LocalNats]]:
    """Of a stream, the dead letters' by default."""
    client = await nats.connect(settings.to_servers_list())
    try:
        info = await client.jetstream().stream_info(stream or dlq_stream(settings))
    finally:
        await client.close()
    assert info.cluster is not None
    [leader] = [node for node in cluster.nodes if node._name == info.cluster.leader]
    return leader, [node for node in cluster.nodes if node is not leader]


async def test_push_without_a_quorum_says_so_and_is_stored_once_when_repeated(
    replicated: NatsEventBusSettings, cluster: LocalCluster
) -> None:
    async with NatsDLQ(replicated) as dlq:
        await dlq.push(entry(1))
        leader, others = await leader_and_others(replicated, cluster)
        async with NatsDLQ(replicated.model_copy(update={"servers": leader.url})) as of_leader:
            for node in others:
                node.pause()
            with inside_a_delivery(), pytest.raises(DeadLetterError, match="not known to be"):
                await of_leader.push(entry(2, entry_id=ENTRY_ID))
            for node in others:
                node.resume()
            await until(lambda: is_stored(of_leader, entry(2, entry_id=ENTRY_ID)))
        assert await dlq.count() == 2


async def test_push_that_only_a_killed_leader_knew_of_is_not_lost(
    replicated: NatsEventBusSettings, cluster: LocalCluster
) -> None:
    async with NatsDLQ(replicated) as dlq:
        await dlq.push(entry(1))
        leader, others = await leader_and_others(replicated, cluster)
        async with NatsDLQ(replicated.model_copy(update={"servers": leader.url})) as of_leader:
            for node in others:
                node.kill()
            with inside_a_delivery(), pytest.raises(DeadLetterError, match="not known to be"):
                await of_leader.push(entry(2, entry_id=ENTRY_ID))
            leader.kill()
        for node in others:
            await asyncio.to_thread(node.restart)
        await until(lambda: is_stored(dlq, entry(2, entry_id=ENTRY_ID)))
        await asyncio.to_thread(leader.restart)
        await asyncio.to_thread(cluster.wait_ready)
        assert await dlq.count() == 2


async def test_no_quorum_for_its_dead_letter_message_is_not_given_up(
    settings: NatsEventBusSettings,
    replicated: NatsEventBusSettings,
    cluster: LocalCluster,
    nc: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings.model_copy(update={"max_deliver": 1})
    durable = Durable(nc, settings)

    def fail(event: Event) -> None:
        raise ValueError("never works")

    async with NatsDLQ(replicated) as dlq:
        await dlq.push(entry(1))
        leader, others = await leader_and_others(replicated, cluster)
        of_leader = NatsDLQ(replicated.model_copy(update={"servers": leader.url}))
        async with of_leader, NatsEventBus(settings, dlq=of_leader) as bus:
            for node in others:
                node.pause()
            bus.subscribe(OrderPlaced, fail, channel="orders")
            await bus.publish(OrderPlaced(order_id="2"), channel="orders")
            await until(lambda: "could not be dead-lettered and comes again" in caplog.text)
            assert not await durable.is_settled(1)
            for node in others:
                node.resume()
            await until(lambda: durable.is_settled(1))
        found = await dlq.list_entries()
        assert [entry.error_message for entry in found] == ["failure 1", "never works"]


async def test_publish_without_a_quorum_is_tried_again_and_stored_once(
    replicated: NatsEventBusSettings, cluster: LocalCluster
) -> None:
    settings = replicated.model_copy(
        update={"delivery_semantics": NatsDeliverySemantics.EXACTLY_ONCE, "publish_attempts": 60}
    )
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"))
        leader, others = await leader_and_others(settings, cluster, settings.stream_name)
        async with NatsEventBus(settings.model_copy(update={"servers": leader.url})) as of_leader:
            for node in others:
                node.pause()
            undecided = asyncio.Event()
            of_leader.observe(lambda told: undecided.set() if "10158" in str(told.error) else None)
            publishing = asyncio.create_task(of_leader.publish_acked(OrderPlaced(order_id="2")))
            async with asyncio.timeout(20):
                await undecided.wait()  # the answer to the second attempt
            for node in others:
                node.resume()
            ack = await publishing
        async with NatsEventBus(settings) as bus_again:
            assert (await bus_again.publish_acked(OrderPlaced(order_id="3"))).seq == ack.seq + 1


async def test_publish_waits_out_an_election(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="0"))
        leader, others = await leader_and_others(settings, cluster, settings.stream_name)
        async with NatsEventBus(
            settings.model_copy(update={"servers": others[0].url})
        ) as publishing:
            refused = []
            publishing.observe(lambda told: refused.append(told.error) if told.error else None)
            leader.kill()
            for number in range(1, 6):
                await publishing.publish(OrderPlaced(order_id=str(number)))
    assert refused, "there was no election, so that this test shows nothing"


async def test_a_queue_is_asked_again_while_its_leader_is_elected(
    replicated: NatsEventBusSettings, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats.dlq._store._WHILE_ELECTING", (0.5,) * 100)
    async with NatsDLQ(replicated) as dlq:
        await dlq.push(entry(1))
    leader, others = await leader_and_others(replicated, cluster)
    never = {"servers": others[0].url, "publish_timeout_seconds": 600.0}
    async with NatsDLQ(replicated.model_copy(update=never)) as dlq:
        store = await dlq._open("test")
        leader.kill()
        async with asyncio.timeout(60):
            found = await store.at_sequence(1)
    assert found is not None


async def test_what_was_just_made_can_be_written_to(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    """A cluster's servers hear of a new stream one after the other."""
    connections = [
        await connect(make_settings(servers=node.url), name="test") for node in cluster.nodes
    ]
    for number in range(12):
        settings = make_settings(f"-{number}", stream_replicas=3, publish_attempts=1)
        names = DlqNames.of(settings)
        logs = [ReplayLog(connection, settings) for connection in connections]
        queues = [DlqStore(connection, settings, names, "dlq") for connection in connections]
        await logs[0].ensure()
        await asyncio.gather(*(log.write_keys("run", [uuid4()]) for log in logs))
        await queues[0].ensure()
        await asyncio.gather(*(queue.put(uuid4(), "orders", b"{}") for queue in queues))
    for connection in connections:
        await connection.close()


async def test_a_stream_that_is_gone_is_not_waited_for(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats._nats.stream._UNHEARD_SECONDS", 60)
    connection = await connect(settings, name="test")
    with pytest.raises(ReplayLogError):
        async with asyncio.timeout(20):
            await ReplayLog(connection, settings).write_keys("run", [uuid4()])
    await connection.close()
