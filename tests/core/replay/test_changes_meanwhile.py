"""Streams and entries that change between the plan and the end of its run."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry

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
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, Replayer
from varco_nats._nats.client import connect
from varco_nats.dlq._remover import SOMEBODY_ELSE, Remover
from varco_nats.replay import ReplayControl, ReplayOutcome, ReplayState

# Again, and inside windows


async def test_the_same_plan_run_twice(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    async with Replayer(settings) as replayer:
        plan = await replayer.plan()
        first = await replayer.run(plan, confirm="nobody")
        await asyncio.sleep(SHORT * 2)
        second = await replayer.run(plan, confirm="nobody")

    all_stored_once(ids, await balance(settings, "twice"))
    assert first.counts == {ReplayOutcome.REPLAYED: 20}
    assert second.counts == {ReplayOutcome.SKIPPED: 20}


async def test_replay_inside_the_duplicate_window_of_the_original(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(delivery_semantics="exactly_once")
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus:
        events = [OrderPlaced(order_id=str(number)) for number in range(10)]
        await bus.publish_many([(event, "orders") for event in events])
        for event in events:
            await dlq.push(DeadLetterEntry(event=event, channel="orders"))
    before = await balance(settings, "before")

    report = await replay_rest(settings)

    after = await balance(settings, "after")
    assert report.counts == {ReplayOutcome.REPLAYED: 10}
    assert after.entries == set()
    assert after.stored == before.stored + Counter(dict.fromkeys(before.entries, 1))


# A stream that does not take it


@pytest.mark.parametrize(
    ("full", "why"),
    [
        ({"max_msgs": 10}, "maximum messages exceeded"),
        ({"max_bytes": 5000}, "maximum bytes exceeded"),
    ],
    ids=["max_msgs", "max_bytes"],
)
async def test_full_stream(
    full: dict[str, int], why: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, 60)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    await js.update_stream(config, discard="new", **full)

    report = await replay_rest(settings, in_flight=1)

    then = await balance(settings, "full")
    nothing_lost(ids, then)
    assert len(then.entries) == 60 - then.stored.total() >= 20
    assert report.state is ReplayState.STOPPED
    assert report.counts == {
        ReplayOutcome.REPLAYED: then.stored.total(),
        ReplayOutcome.FAILED: 20,
        ReplayOutcome.NOT_TRIED: 40 - then.stored.total(),
    }
    assert why in report.of(ReplayOutcome.FAILED)[0].why
    await js.update_stream(config, **dict.fromkeys(full, -1))
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "with room again"))


@pytest.mark.parametrize(
    ("elsewhere", "why"),
    [(False, "no stream captures"), (True, "expected stream does not match")],
    ids=["to no stream", "to another stream"],
)
async def test_channel_that_no_longer_fits_the_stream(
    elsewhere: bool, why: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, 10)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    async with Replayer(settings) as replayer:
        plan = await replayer.plan()
        control = ReplayControl()
        control.pause()
        run = asyncio.create_task(replayer.run(plan, control=control, confirm="nobody"))

        async def begun() -> bool:
            return bool(await replayer.log())

        await until(begun)
        await js.update_stream(config, subjects=[f"{settings.subject_prefix}.other.>"])
        other = f"{settings.stream_name}-other"
        if elsewhere:
            await js.add_stream(name=other, subjects=[settings.subject_name("orders")])
        control.resume()
        report = await run

    nothing_lost(ids, await balance(settings, "moved away"))
    assert report.counts == {ReplayOutcome.FAILED: 10}
    assert why in report.rows[0].why
    if elsewhere:
        assert (await js.stream_info(other)).state.messages == 0
        await js.delete_stream(other)
    await js.update_stream(config)
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "moved back"))


async def test_entry_removed_between_plan_and_run(make_settings: MakeSettings) -> None:
    settings = make_settings()
    ids = await fill(settings, 10)
    async with Replayer(settings) as replayer, NatsDLQ(settings) as dlq:
        plan = await replayer.plan()
        gone = sorted(ids)[:3]
        for entry_id in gone:
            await dlq.ack(UUID(entry_id))
        report = await replayer.run(plan, confirm="nobody")

    all_stored_once(ids - set(gone), await balance(settings, "after"))
    skipped = report.of(ReplayOutcome.SKIPPED)
    assert {str(row.entry_id) for row in skipped} == set(gone)
    assert {row.why for row in skipped} == {"no longer in the queue"}


async def test_entries_removed_while_a_run_is_on_its_way(make_settings: MakeSettings) -> None:
    """As another tool does that works on the same queue."""
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 40)
    async with NatsDLQ(settings) as dlq, Replayer(settings) as replayer:
        run = await under_way(replayer, 3, rate=20)
        await asyncio.gather(*(dlq.ack(UUID(entry_id)) for entry_id in ids))
        report = await run

    after = await balance(settings, "after")
    assert set(report.counts) == {ReplayOutcome.REPLAYED, ReplayOutcome.SKIPPED}
    assert len(report.of(ReplayOutcome.SKIPPED)) >= 30  # one or two were looked up just before
    assert {row.why for row in report.of(ReplayOutcome.SKIPPED)} == {"no longer in the queue"}
    assert set(after.stored) == {row.key for row in report.of(ReplayOutcome.REPLAYED)}


async def test_entry_removed_and_pushed_again_between_plan_and_run(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 2)
    async with Replayer(settings) as replayer, NatsDLQ(settings) as dlq:
        plan = await replayer.plan()
        entries = await dlq.list_entries()
        for entry in entries:
            await dlq.ack(entry.entry_id)
            await dlq.push(entry)
        for report in (
            await replayer.run(plan, confirm="nobody"),
            await replayer.discard(plan, confirm="discard"),
        ):
            assert report.counts == {ReplayOutcome.SKIPPED: 2}
            assert "pushed again since it was planned" in report.rows[0].why
            assert not report.rows[0].removed
        assert (await balance(settings, "nothing done")).entries == ids
        await replayer.run(await replayer.plan(), confirm="nobody")

    all_stored_once(ids, await balance(settings, "planned again"))


async def test_entry_that_somebody_else_removes_first(make_settings: MakeSettings) -> None:
    settings = make_settings()
    await fill(settings, 1)
    removed: list[tuple[int, bool, str]] = []
    connection = await connect(settings, name="test")
    remover = Remover(connection, f"{settings.stream_name}-dlq", timeout=5, attempts=2, patience=5)
    remover.on_removed = lambda *args: removed.append(args)
    try:
        await remover.start()
        for index in (0, 1):
            remover.remove(index, 1)
            await remover.finish()
    finally:
        await remover.stop()
        await connection.close()
    assert removed == [(0, True, ""), (1, True, SOMEBODY_ELSE)]


async def test_task_cancelled_in_the_middle(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 100)
    stored = asyncio.Event()
    async with Replayer(settings) as replayer:
        replayer.observe(lambda event: stored.set())
        run = asyncio.create_task(replayer.run(await replayer.plan(), rate=200, confirm="nobody"))
        await stored.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        [record] = await replayer.log()
        assert record.state is ReplayState.CANCELLED
        then = await balance(settings, "cancelled")
        nothing_lost(ids, then)
        assert not then.entries & set(then.stored)  # what was stored is removed

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
