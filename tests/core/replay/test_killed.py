"""A replay that is killed at any step: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.replay.helpers import (
    SHORT,
    all_stored_once,
    balance,
    check_stored_once,
    died,
    fill,
    nothing_lost,
    replay_rest,
)
from tests.events import OrderPlaced
from tests.processes import replay_process
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats import NatsEventBus, Replayer
from varco_nats.replay import ReplayOutcome, ReplayState
from varco_nats.server import LocalNats


@pytest.mark.parametrize(
    ("config", "stored_then", "window"),
    [
        pytest.param(config, stored_then, window, id=f"{step}, {'after' if window < 1 else 'in'}")
        for step, config, stored_then, windows in (
            ("before publish", {"die": "planned"}, 0, (120, SHORT)),
            ("before removal", {"die": "stored", "run": {"in_flight": 1}}, 1, (120, SHORT)),
            ("mid batch", {"die": "stored", "after": 7, "run": {"in_flight": 4}}, 7, (120, SHORT)),
            ("all sent", {"die": "stored", "after": 30}, 30, (120, SHORT)),
            ("plan just written", {"die": "claimed"}, 0, (120,)),
            ("after a removal", {"die": "removed", "after": 3}, 3, (SHORT,)),
            ("in the canary", {"die": "canary", "run": {"canary": 4}}, 4, (SHORT,)),
        )
        for window in windows
    ],
)
async def test_killed(
    config: dict[str, Any], stored_then: int, window: float, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=window)
    ids = await fill(settings, 30)
    await died(settings, **config)
    then = await balance(settings, "killed")
    nothing_lost(ids, then)
    assert then.stored.total() >= stored_then
    if window == SHORT:
        await asyncio.sleep(window * 2)  # the server forgets the message ids

    report = await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
    still_there = len(then.entries & set(then.stored))
    assert report.counts.get(ReplayOutcome.DUPLICATE, 0) == still_there
    assert all(row.removed and row.seq for row in report.rows)


@pytest.mark.parametrize("window", [120, SHORT], ids=["inside the window", "after the window"])
async def test_killed_after_publish_and_before_the_pubacks(
    window: float, make_settings: MakeSettings, server: LocalNats
) -> None:
    settings = make_settings(duplicate_window_seconds=window)
    ids = await fill(settings, 100)  # so many that it is not done before the answers are cut
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        target = through.model_dump(mode="json")
        async with replay_process(settings, target=target, run={"rate": 20.0}) as child:
            await child.wait_for("stored 2")
            proxy.drop(ANSWERS)
            before = (await balance(settings, "answers cut")).stored.total()

            async def went_on() -> bool:
                return (await balance(settings, "on")).stored.total() > before + 2

            await until(went_on, every=0.05)
            await child.kill()
    then = await balance(settings, "killed")
    nothing_lost(ids, then)
    assert then.entries & set(then.stored)  # stored, but nobody knows
    if window == SHORT:
        await asyncio.sleep(window * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_kernel_killed(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    config = {"settings": settings.model_dump(mode="json"), "run": {"rate": 40.0}}
    kernel = AsyncKernelManager(kernel_name="python3")
    await kernel.start_kernel(cwd=str(Path(__file__).parents[3]))
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=50)
        client.execute(f"from tests.replay_process import main; await main({config!r})")

        async def some_stored() -> bool:
            return (await balance(settings, "replaying")).stored.total() >= 5

        await until(some_stored)
    finally:
        client.stop_channels()
        await kernel.shutdown_kernel(now=True)  # SIGKILL
    nothing_lost(ids, await balance(settings, "killed"))
    await asyncio.sleep(SHORT * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_killed_while_it_discarded(make_settings: MakeSettings) -> None:
    settings = make_settings()
    ids = await fill(settings, 300)
    await died(settings, discard=True, die="removed", after=7)
    left = (await balance(settings, "killed")).entries
    assert 0 < len(left) <= 293

    async with Replayer(settings) as replayer:
        report = await replayer.discard(ids, confirm="discard")
        states = [record.state for record in await replayer.log()]

    assert report.counts == {
        ReplayOutcome.DISCARDED: len(left),
        ReplayOutcome.SKIPPED: 300 - len(left),
    }
    assert states == [ReplayState.DONE, ReplayState.DIED]
    after = await balance(settings, "repeated")
    assert (after.entries, after.stored) == (set(), Counter())


async def test_killed_while_it_replayed_history(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    async with NatsEventBus(settings) as bus:
        events = [OrderPlaced(order_id=str(number)) for number in range(30)]
        await bus.publish_many([(event, "orders") for event in events])
    await died(settings, history=True, die="stored", after=7)
    await balance(settings, "killed")
    await asyncio.sleep(SHORT * 2)

    async with Replayer(settings) as replayer:
        await replayer.run(await replayer.plan_history("orders", to="copy"))

    stored = (await balance(settings, "repeated")).stored
    del stored[""]  # the originals
    keys = [f"{settings.stream_name}:{seq}" for seq in range(1, 31)]
    assert stored == Counter(dict.fromkeys(keys, 1))


async def test_runs_that_die_one_after_the_other(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 30)
    for _ in range(2):
        await died(settings, die="stored", after=5, run={"in_flight": 2})
        nothing_lost(ids, await balance(settings, "killed"))
        await asyncio.sleep(SHORT * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
    async with Replayer(settings) as replayer:
        states = [record.state for record in await replayer.log()]
    assert states == [ReplayState.DONE, *[ReplayState.DIED] * 2]


async def test_killed_while_it_replayed_to_another_server(
    make_settings: MakeSettings, own_server: LocalNats
) -> None:
    settings = make_settings()
    target = make_settings(servers=own_server.url, duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, target=target.model_dump(mode="json"), die="stored", after=5)
    await asyncio.sleep(SHORT * 2)

    here = await replay_rest(settings)

    assert here.counts.keys() == {ReplayOutcome.SKIPPED}
    assert all("its target was" in row.why for row in here.rows)
    async with Replayer(settings, target=target) as replayer:
        report = await replayer.run(await replayer.plan(), confirm="nobody")
    assert report.counts.keys() <= {ReplayOutcome.REPLAYED, ReplayOutcome.DUPLICATE}
    left = await balance(settings, "source")
    assert left.entries == set()
    await check_stored_once(ids, target)


async def test_what_nobody_can_look_up_any_more_is_not_replayed_unless_told_to(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, die="stored", after=5, run={"in_flight": 2})
    left = len((await balance(settings, "killed")).entries)
    await nc.jetstream().purge_stream(settings.stream_name)
    await asyncio.sleep(SHORT * 2)

    report = await replay_rest(settings)

    assert report.counts == {ReplayOutcome.SKIPPED: left}
    assert "gone from the stream" in report.rows[0].why
    async with Replayer(settings) as replayer:
        report = await replayer.run(await replayer.plan(again=True), confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: left}
    found = await balance(settings, "again")
    assert set(found.stored) <= ids
    nothing_lost(set(found.stored), found)


async def test_a_message_deleted_since_a_run_died_may_have_been_its_own(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, die="stored", after=5, run={"in_flight": 2})
    await nc.jetstream().delete_msg(settings.stream_name, 2)
    then = await balance(settings, "killed, and one deleted")
    await asyncio.sleep(SHORT * 2)

    report = await replay_rest(settings)

    found = len(then.entries & set(then.stored))
    assert report.counts.get(ReplayOutcome.DUPLICATE, 0) == found
    assert report.counts[ReplayOutcome.SKIPPED] == len(then.entries) - found
    assert "gone from the stream" in report.of(ReplayOutcome.SKIPPED)[0].why
    after = await balance(settings, "repeated")
    assert after.stored == then.stored
    assert len(after.entries | set(after.stored)) == len(ids) - 1
