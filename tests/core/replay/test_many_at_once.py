"""What a run does for many entries by one request: the looks before sending, and the removal."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.core.replay.helpers import (
    SHORT,
    all_stored_once,
    balance,
    died,
    fill,
    nothing_lost,
    push_orders,
    replay_rest,
)
from tests.events import OrderPlaced
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer
from varco_nats._nats.client import Connection, connect
from varco_nats.dlq import _remover
from varco_nats.dlq._remover import SOMEBODY_ELSE, Remover
from varco_nats.dlq._sequences import Sequences
from varco_nats.replay import ReplayControl, ReplayOutcome, ReplayState
from varco_nats.server import LocalCluster, LocalNats

MANY = 600


@asynccontextmanager
async def requests(nc: Client, settings: NatsEventBusSettings) -> AsyncIterator[Counter[str]]:
    """How many requests of each kind the server gets about the queue meanwhile."""
    found: Counter[str] = Counter()
    stream = f"{settings.stream_name}-dlq"

    async def count(msg: Msg) -> None:
        found[msg.subject.removeprefix("$JS.API.").removesuffix(f".{stream}")] += 1

    subscription = await nc.subscribe(f"$JS.API.*.*.*.{stream}", cb=count)
    others = await nc.subscribe(f"$JS.API.*.*.{stream}", cb=count)
    await nc.flush()
    try:
        yield found
    finally:
        await nc.flush()
        await subscription.drain()
        await others.drain()


# Removal


async def test_a_whole_queue_is_looked_at_and_removed_by_few_requests(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, MANY)
    async with requests(nc, settings) as asked:
        report = await replay_rest(settings)
    print(asked)
    assert report.counts == {ReplayOutcome.REPLAYED: MANY}
    assert all(row.removed and not row.why for row in report.rows)
    all_stored_once(ids, await balance(settings, "replayed"))
    assert asked["STREAM.PURGE"] >= 1
    assert asked["STREAM.MSG.DELETE"] < MANY
    assert asked["DIRECT.GET"] < MANY / 10  # reading the queue, and none for each entry


async def test_a_replicated_queue_whose_leader_stands_still_in_a_purge_is_emptied_once(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    ids = await fill(settings, MANY)
    nc = await nats.connect(settings.to_servers_list())
    info = await nc.jetstream().stream_info(f"{settings.stream_name}-dlq")
    assert info.cluster is not None
    [leader] = [node for node in cluster.nodes if node._name == info.cluster.leader]
    async with Replayer(settings) as replayer, requests(nc, settings) as asked:
        plan = await replayer.plan()
        run = asyncio.create_task(replayer.run(plan, confirm="nobody"))
        await until(lambda: asked["STREAM.PURGE"] > 0)
        leader.pause()
        try:
            await asyncio.sleep(6)  # an election takes 4 to 9 s, and may come after it
        finally:
            leader.resume()
        report = await run
    await nc.close()
    print(report, asked)
    nothing_lost(ids, await balance(settings, "leader stood still"))
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "repeated"))


async def test_what_is_not_in_the_plan_stays(make_settings: MakeSettings, nc: Client) -> None:
    """In the middle of what is removed, after it, and pushed while it is removed."""
    settings = make_settings()
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push_orders(dlq, 300)
        [kept] = await push_orders(dlq, 1, handler_name="other")
        await push_orders(dlq, 300)
        pushed: list[DeadLetterEntry] = []

        async def push_more() -> None:
            for _ in range(50):
                pushed.extend(await push_orders(dlq, 1, handler_name="late"))

        plan = await replayer.plan(handler="")
        async with requests(nc, settings) as asked:
            report, _ = await asyncio.gather(replayer.run(plan, confirm="nobody"), push_more())
        left = {entry.entry_id for entry in await dlq.list_entries(limit=MANY)}
    print(asked)
    assert report.counts == {ReplayOutcome.REPLAYED: MANY}
    assert left == {kept.entry_id, *(entry.entry_id for entry in pushed)}
    assert asked["STREAM.MSG.DELETE"] >= 300


async def test_where_nothing_may_be_purged_each_is_removed(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, MANY)
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-dlq")).config
    await js.update_stream(config, deny_purge=True)
    report = await replay_rest(settings)
    assert all(row.removed and not row.why for row in report.rows)
    all_stored_once(ids, await balance(settings, "replayed"))


async def test_a_login_that_may_not_purge_removes_each(make_settings: MakeSettings) -> None:
    config = (
        "authorization { users: [{ user: u, password: u, permissions: { publish: { deny: ["
        '"$JS.API.STREAM.PURGE.>", "$JS.API.STREAM.MSG.GET.>"] } } }] }'
    )
    async with LocalNats(token=None, config=config) as local:
        settings = make_settings(servers=local.url.replace("//", "//u:u@"))
        ids = await fill(settings, MANY)
        report = await replay_rest(settings)
        assert all(row.removed and not row.why for row in report.rows)
        all_stored_once(ids, await balance(settings, "replayed"))


@asynccontextmanager
async def removing(
    settings: NatsEventBusSettings, connection: Connection, in_place: bool = True
) -> AsyncIterator[tuple[Remover, dict[int, tuple[bool, str]]]]:
    """A remover that is told that all is in place, and what it says of each index."""
    found: dict[int, tuple[bool, str]] = {}
    stream = f"{settings.stream_name}-dlq"
    remover = Remover(connection, stream, timeout=2, attempts=3, patience=10)

    async def is_in_place(index: int) -> bool:
        return in_place

    def on_removed(index: int, removed: bool, why: str) -> None:
        assert index not in found
        found[index] = (removed, why)

    remover.is_in_place, remover.on_removed = is_in_place, on_removed
    await remover.start()
    try:
        yield remover, found
    finally:
        await remover.stop()


async def test_what_somebody_else_removed_is_told_from_what_was_purged(
    make_settings: MakeSettings, nc: Client, connection: Connection
) -> None:
    settings = make_settings()
    await fill(settings, MANY)
    async with (
        removing(settings, connection) as (remover, found),
        requests(nc, settings) as asked,
    ):
        for seq in (1, 7, 300):
            await nc.jetstream().delete_msg(f"{settings.stream_name}-dlq", seq)
        for index in range(MANY):
            remover.remove(index, index + 1)
        await remover.finish()
    gone = {index for index, (_, why) in found.items() if why == SOMEBODY_ELSE}
    assert gone == {0, 6, 299}
    assert found == {n: (True, SOMEBODY_ELSE if n in gone else "") for n in range(MANY)}
    assert asked["STREAM.PURGE"] == 1


async def test_a_queue_that_was_made_anew_is_not_purged(
    make_settings: MakeSettings, nc: Client, connection: Connection
) -> None:
    settings = make_settings()
    await fill(settings, MANY)
    async with (
        removing(settings, connection, in_place=False) as (remover, found),
        requests(nc, settings) as asked,
    ):
        for index in range(MANY):
            remover.remove(index, index + 1)
        await remover.finish()
    assert found == dict.fromkeys(range(MANY), (True, ""))
    assert "STREAM.PURGE" not in asked


async def test_a_purge_whose_answer_is_lost_is_followed_by_removing_each(
    make_settings: MakeSettings, server: LocalNats, nc: Client
) -> None:
    settings = make_settings()
    await fill(settings, MANY)
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        connection = await connect(through, name="test")

        async def cut(index: int) -> bool:
            proxy.drop(ANSWERS)
            return True

        async with removing(settings, connection) as (remover, found):
            remover.is_in_place = cut
            for index in range(MANY):
                remover.remove(index, index + 1)
            info = f"{settings.stream_name}-dlq"
            js = nc.jetstream()

            async def purged() -> bool:
                return (await js.stream_info(info)).state.messages == 0

            await until(purged)
            proxy.restore()
            await remover.finish()
        await connection.close()
    assert found == dict.fromkeys(range(MANY), (True, ""))


async def test_killed_with_many_stored_that_are_not_removed(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, MANY)
    await died(settings, die="stored", after=400)
    then = await balance(settings, "killed")
    nothing_lost(ids, then)
    assert then.entries & set(then.stored)
    await asyncio.sleep(SHORT * 2)
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "repeated"))


async def test_server_killed_when_a_purge_is_on_its_way(
    own_server: LocalNats, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(servers=own_server.url, duplicate_window_seconds=SHORT)
    ids = await fill(settings, MANY)
    purgeable, killed = Remover._purgeable, False

    async def kill(remover: Remover) -> dict[int, int]:
        nonlocal killed
        found = await purgeable(remover)
        if found and not killed:
            killed = True
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.restart)
        return found

    monkeypatch.setattr(Remover, "_purgeable", kill)
    async with Replayer(settings) as replayer:
        report = await replayer.run(await replayer.plan(), confirm="nobody")
    assert killed
    all_stored_once(ids, await balance(settings, "after the restart"))
    assert report.state is ReplayState.DONE


@given(
    st.sets(st.integers(1, 40)),
    st.sets(st.integers(1, 40), min_size=1),
    st.integers(1, 41),
)
def test_what_is_before_the_first_other_message(
    there: set[int], ours: set[int], first: int
) -> None:
    first, last = (min(there), max(there)) if there else (first, first - 1)
    deleted = sorted(set(range(first, last + 1)) - there)
    sequences = Sequences(first, last, deleted)
    assert sequences.missing(ours) == ours - there
    end = sequences.first_beside(ours)
    assert {seq for seq in there if seq < end} <= ours
    assert end == min((seq for seq in there - ours if seq < end + 1), default=max(ours) + 1)


# Looks before sending


async def test_a_queue_that_was_made_anew_since_the_plan_is_left_alone(
    make_settings: MakeSettings, nc: Client
) -> None:
    """Its sequences are those of the plan, and name other entries."""
    settings = make_settings()
    await fill(settings, MANY)
    async with Replayer(settings) as replayer:
        plan = await replayer.plan()
        await nc.jetstream().delete_stream(f"{settings.stream_name}-dlq")
        ids = await fill(settings, MANY)
        report = await replayer.run(plan, confirm="nobody")
    assert report.counts == {ReplayOutcome.SKIPPED: MANY}
    assert {row.why for row in report.rows} == {"no longer in the queue"}
    found = await balance(settings, "planned before")
    assert (found.entries, found.stored.total()) == (ids, 0)


async def test_a_queue_whose_end_was_made_anew_since_the_plan_is_looked_at_one_by_one(
    make_settings: MakeSettings, nc: Client
) -> None:
    """As one that was restored from a copy, and got other entries since."""
    settings = make_settings()
    js, stream = nc.jetstream(), f"{settings.stream_name}-dlq"
    await fill(settings, 20)
    config = (await js.stream_info(stream)).config
    copies = [await js.get_msg(stream, seq) for seq in range(1, 21)]
    async with NatsDLQ(settings) as dlq, Replayer(settings) as replayer:
        plan = await replayer.plan()
        await js.delete_stream(stream)
        await js.add_stream(config)
        for copy in copies[:10]:
            assert copy.subject is not None
            await js.publish(copy.subject, copy.data or b"")
        others = {str(entry.entry_id) for entry in await push_orders(dlq, 10)}
        report = await replayer.run(plan, confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 10, ReplayOutcome.SKIPPED: 10}
    assert (await balance(settings, "restored")).entries == others


async def test_entries_removed_by_the_hundred_while_a_run_is_on_its_way(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, MANY)
    control, phases = ReplayControl(), list[str]()
    async with NatsDLQ(settings) as dlq, Replayer(settings) as replayer:
        stored: list[object] = []
        replayer.observe(stored.append)
        plan = await replayer.plan()
        run = asyncio.create_task(
            replayer.run(
                plan,
                rate=500,
                control=control,
                confirm="nobody",
                progress=lambda now: phases.append(now.phase),
            )
        )
        await until(lambda: len(stored) >= 10)
        control.pause()
        await until(lambda: "paused" in phases)
        gone = [row.entry_id for row in plan.rows[400:] if row.entry_id is not None]
        await asyncio.gather(*map(dlq.ack, gone))
        control.resume()
        report = await run
    after = await balance(settings, "after")
    assert not after.entries
    assert [row.entry_id for row in report.of(ReplayOutcome.SKIPPED)] == gone
    all_stored_once(ids - set(map(str, gone)), after)


async def test_few_rows_of_a_queue_with_many_holes_are_looked_up_singly(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        [first] = await push_orders(dlq, 1)
        await asyncio.gather(
            *(
                dlq.push(DeadLetterEntry(event=OrderPlaced(order_id="x"), channel="holes"))
                for _ in range(300)
            )
        )
        [last] = await push_orders(dlq, 1)
        await dlq.delete_where(channel="holes")
        plan = await replayer.plan()
        async with requests(nc, settings) as asked:
            report = await replayer.run(plan, confirm="nobody")
        assert (await dlq.count(), report.counts) == (0, {ReplayOutcome.REPLAYED: 2})
    assert asked["DIRECT.GET"] == 2
    assert {row.entry_id for row in report.rows} == {first.entry_id, last.entry_id}


def test_only_a_plain_success_is_one() -> None:
    def problem(**answer: Any) -> str | None:
        return _remover._problem(json.dumps(answer).encode(), None)

    assert problem(success=True) is None
    assert problem() == problem(error={"code": 404, "err_code": 10043}) == ""
    assert problem(error={"code": 500, "err_code": 10057, "description": "no"}) == "no"
    assert _remover._problem(b"", {"Status": "503"}) == "JetStream is not available"
