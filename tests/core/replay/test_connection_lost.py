"""A server or a connection that goes away during a replay: nothing is lost or stored twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import MakeSettings
from tests.core.replay.helpers import (
    SHORT,
    all_stored_once,
    balance,
    fill,
    nothing_lost,
    replay_rest,
    under_way,
)
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, Replayer
from varco_nats._nats.client import connect
from varco_nats.history import History
from varco_nats.history._lookup import Lookup
from varco_nats.replay import (
    Canary,
    ReplayControl,
    ReplayOutcome,
    ReplayProgress,
    ReplayState,
)
from varco_nats.replay._run.session import RunSession
from varco_nats.server import LocalCluster, LocalNats


async def test_server_killed_and_restarted_in_the_middle(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url, duplicate_window_seconds=SHORT)
    ids = await fill(settings, 200)
    async with Replayer(settings) as replayer:
        run = await under_way(replayer, 20, rate=400)
        await asyncio.to_thread(own_server.kill)
        await asyncio.sleep(SHORT * 2)
        await asyncio.to_thread(own_server.restart)
        report = await run

    all_stored_once(ids, await balance(settings, "after the restart"))
    assert report.state is ReplayState.DONE
    assert report.counts == {ReplayOutcome.REPLAYED: 200}


async def test_connection_cut_again_and_again(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 200)
    stored = list[object]()
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(through) as replayer:
            replayer.observe(stored.append)
            run = asyncio.create_task(
                replayer.run(await replayer.plan(), rate=300, confirm="nobody")
            )
            for after in (20, 70, 120):
                await until(lambda after=after: len(stored) >= after)  # type: ignore[misc]
                proxy.disconnect()
            report = await run

    all_stored_once(ids, await balance(settings, "after the cuts"))
    assert report.counts == {ReplayOutcome.REPLAYED: 200}


async def test_connection_cut_after_publish_and_before_the_pubacks(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(settings, target=through) as replayer:
            run = await under_way(replayer, 5, rate=50)
            proxy.drop(ANSWERS)
            before = (await balance(settings, "answers cut")).stored.total()

            async def went_on() -> bool:
                return (await balance(settings, "on")).stored.total() > before + 2

            await until(went_on, every=0.05)
            await asyncio.sleep(SHORT * 2)  # the server forgets the message ids
            proxy.restore()
            report = await run

    all_stored_once(ids, await balance(settings, "after the cut"))
    assert report.counts == {ReplayOutcome.REPLAYED: 60}


async def test_target_that_stays_away_leaves_in_doubt_what_nobody_heard_of(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    async with Proxy(server.port) as proxy:
        target = make_settings(
            servers=proxy.url_for(server.url),
            duplicate_window_seconds=SHORT,
            publish_timeout_seconds=0.5,
        )
        async with Replayer(settings, target=target) as replayer:
            run = await under_way(replayer, 5, rate=50, patience_seconds=0.5)
            proxy.drop(ANSWERS)
            report = await run
            assert (report.state, report.logged) == (ReplayState.STOPPED, True)
            in_doubt = {str(row.entry_id) for row in report.of(ReplayOutcome.IN_DOUBT)}
            then = await balance(settings, "stopped")
            nothing_lost(ids, then)
            assert in_doubt >= then.entries & set(then.stored)
            assert in_doubt & set(then.stored)
            await asyncio.sleep(SHORT * 2)
            proxy.drop()
            await replayer.run(await replayer.plan(), confirm="nobody")

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_what_a_lost_connection_had_not_written_is_never_sent(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url)
    async with NatsEventBus(settings):
        pass  # makes the stream
    session = await RunSession.open(settings, "test")
    subject = settings.subject_name("orders")
    try:
        await asyncio.to_thread(own_server.kill)
        await until(lambda: session.lost)
        await session.connection.nc.publish(subject, b"late")
        session.give_up()
        await asyncio.to_thread(own_server.restart)
        assert await session.connection.wait_connected(10)
        await session.connection.nc.publish(subject, b"marker")
        await session.connection.nc.flush()
    finally:
        await session.close()
    async with History(settings) as history:
        assert [message.data async for message in history.read("orders")] == [b"marker"]


async def test_server_that_stays_away_ends_the_run_and_loses_nothing(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        servers=own_server.url, publish_timeout_seconds=0.5, publish_attempts=2
    )
    ids = await fill(settings, 100)
    async with Replayer(settings) as replayer:
        run = await under_way(replayer, 10, rate=50, patience_seconds=0.5)
        await asyncio.to_thread(own_server.kill)
        report = await run
    assert report.state is ReplayState.STOPPED
    assert not report.logged
    assert report.of(ReplayOutcome.NOT_TRIED)
    await asyncio.to_thread(own_server.restart)
    nothing_lost(ids, await balance(settings, "restarted"))

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_what_an_ended_run_left_on_its_way_is_not_sent_again(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    """The network holds what it sent until long after it gave up."""
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    async with Proxy(server.port) as proxy:
        target = make_settings(
            servers=proxy.url_for(server.url),
            duplicate_window_seconds=SHORT,
            publish_timeout_seconds=0.5,
        )
        async with Replayer(settings, target=target) as replayer:
            run = await under_way(replayer, 3, rate=20, patience_seconds=1)
            proxy.hold()
            stopped = await run
            assert stopped.of(ReplayOutcome.IN_DOUBT)
            report = await replayer.run(await replayer.plan(), confirm="nobody")
            assert len(report.of(ReplayOutcome.SKIPPED)) == len(stopped.of(ReplayOutcome.IN_DOUBT))
            proxy.release()

            async def rest_replayed() -> bool:
                await replayer.run(await replayer.plan(), confirm="nobody")
                return not (await balance(settings, "later")).entries

            await until(rest_replayed, every=0.1)

    all_stored_once(ids, await balance(settings, "what was held has arrived"))


async def test_server_that_goes_away_with_many_removals_left(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url)
    ids = await fill(settings, 2000)
    stored = 0

    def kill(event: object) -> None:
        nonlocal stored
        stored += 1
        if stored == 1000:  # so that the last ones are not sent yet
            own_server.kill()

    impatient = settings.model_copy(update={"publish_timeout_seconds": 0.5})
    async with Replayer(impatient) as replayer:
        replayer.observe(kill)
        report = await replayer.run(
            await replayer.plan(), in_flight=1000, patience_seconds=0.5, confirm="nobody"
        )
    assert report.state is ReplayState.STOPPED
    assert "could not be removed" in report.why
    await asyncio.to_thread(own_server.restart)
    nothing_lost(ids, await balance(settings, "restarted"))

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_server_away_while_the_canary_is_watched(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        servers=own_server.url, publish_timeout_seconds=0.5, leader_timeout_seconds=1.5
    )
    ids = await fill(settings, 20)
    phases: list[str] = []
    async with Replayer(settings) as replayer:
        run = asyncio.create_task(
            replayer.run(
                await replayer.plan(),
                canary=Canary(3, wait_seconds=2),
                progress=lambda now: phases.append(now.phase),
                confirm="nobody",
            )
        )
        await until(lambda: "canary" in phases)
        await asyncio.to_thread(own_server.kill)
        await asyncio.sleep(3)  # longer than a request waits
        await asyncio.to_thread(own_server.restart)
        report = await run

    assert report.counts == {ReplayOutcome.REPLAYED: 20}
    all_stored_once(ids, await balance(settings, "after the restart"))


async def test_connection_cut_while_duplicates_are_looked_up(
    server: LocalNats, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    ids = await fill(settings, 30)
    async with (
        NatsDLQ(settings) as dlq,
        Replayer(settings) as replayer,
        Proxy(server.port) as proxy,
    ):
        entries = await dlq.list_entries()
        await replayer.run(await replayer.plan(), confirm="nobody")
        for entry in entries:
            await dlq.push(entry)
        look, cuts = Lookup.get, 0

        async def get(lookup: Lookup, request: Any) -> Any:
            nonlocal cuts
            cuts += 1
            if cuts == 1:
                proxy.disconnect()
            return await look(lookup, request)

        monkeypatch.setattr(Lookup, "get", get)
        target = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(settings, target=target) as through:
            report = await through.run(await through.plan(again=True), confirm="nobody")

    assert report.counts == {ReplayOutcome.DUPLICATE: 30}
    all_stored_once(ids, await balance(settings, "looked up again"))


@pytest.mark.parametrize("kind", ["replay", "discard"])
async def test_a_run_says_that_its_queue_does_not_answer(
    kind: str, make_settings: MakeSettings, own_server: LocalNats
) -> None:
    control, phases = ReplayControl(), list[str]()
    queue = make_settings(servers=own_server.url)
    ids = await fill(queue, 30)

    def tell(now: ReplayProgress) -> None:
        phases.append(now.phase)

    async with Replayer(queue, target=make_settings()) as replayer:
        plan = await replayer.plan()
        control.pause()
        running = asyncio.create_task(
            replayer.run(plan, confirm="nobody", control=control, progress=tell)
            if kind == "replay"
            else replayer.discard(plan, confirm="discard", control=control, progress=tell)
        )
        await until(lambda: "paused" in phases)
        own_server.pause()
        control.resume()
        await until(lambda: phases[-1] == "unanswered")
        own_server.resume()
        report = await running
    done = ReplayOutcome.REPLAYED if kind == "replay" else ReplayOutcome.DISCARDED
    assert (report.state, report.counts) == (ReplayState.DONE, {done: len(ids)})
    assert phases[-1] == "done"


async def test_leader_killed_in_a_cluster(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    settings = make_settings(
        servers=cluster.servers,
        stream_replicas=3,
        duplicate_window_seconds=SHORT,
        publish_timeout_seconds=2,
        publish_attempts=60,  # until there is another leader
    )
    ids = await fill(settings, 100)
    connection = await connect(settings, name="test")
    info = await connection.js.stream_info(settings.stream_name)
    await connection.close()
    leader = int(info.cluster.leader.rpartition("-")[2]) - 1  # type: ignore[union-attr]
    async with Replayer(settings) as replayer:
        run = await under_way(replayer, 20, rate=100)
        await asyncio.to_thread(cluster.nodes[leader].kill)
        report = await run
    assert report.counts == {ReplayOutcome.REPLAYED: 100}
    all_stored_once(ids, await balance(settings, "without the leader"))
