"""Other queues than a lab's own, and replays to other labs and of history."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import Canary, DeadLetters
from varco_nats_widgets.replays import plan_frame, report_frame

from tests.conftest import MakeSettings
from tests.waiting import until
from tests.widgets.dead_letters.helpers import LetterOrder, entries, numbers, payloads, push, shown
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import ReplayControl


async def test_a_queue_of_the_users_own(make_settings: MakeSettings, nc: Client) -> None:
    settings = make_settings()
    prefix = settings.subject_prefix
    other = make_settings(stream_name=f"{prefix}-other", subject_prefix=f"{prefix}-other")
    async with (
        NatsDLQ(settings, dlq_stream=f"{prefix}-mine", dlq_subject=f"{prefix}-mine") as dlq,
        NatsEventBus(other) as bus,
    ):
        for entry in entries(3):
            await dlq.push(entry)
        letters = await asyncio.to_thread(DeadLetters, dlq, bus)
        try:
            assert repr(letters) == f"DeadLetters({prefix}-mine)"
            assert numbers(await letters.aio.frame()) == [1, 2, 3]
            await letters.aio.plan("matching")
            await letters.aio.run(word="nobody")
        finally:
            await asyncio.to_thread(letters.close)
        assert await dlq.count() == 0
    stored = await payloads(nc, other)
    assert [each["number"] for each in stored] == [1, 2, 3]
    assert await payloads(nc, settings) == []
    await asyncio.to_thread(letters.close)
    with pytest.raises(RuntimeError, match="closed"):
        await letters.aio.frame()


async def test_a_canary_where_the_bus_is_the_queues_own(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings.model_copy()) as bus:
        for entry in entries(3):
            await dlq.push(entry)
        letters = await asyncio.to_thread(DeadLetters, dlq, bus)
        try:
            await letters.aio.plan("matching")
            assert not letters.plan_elsewhere
            report = await letters.aio.run(canary=Canary(1, 0.1), word="nobody")
        finally:
            await asyncio.to_thread(letters.close)
        assert (report.state, await dlq.count()) == ("done", 0)


async def test_a_plan_goes_to_another_lab(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    prefix = lab.settings.subject_prefix
    other = make_settings(stream_name=f"{prefix}-sand", subject_prefix=f"{prefix}-sand")
    await push(lab.settings, *entries(3))
    letters = await shown(lab)
    sandbox = await asyncio.to_thread(Lab, other)
    try:
        plan = await letters.aio.plan("matching", target=sandbox)
        view = letters.view()
        view.flush()
        assert f"to orders, 1 to payments of {prefix}-sand" in view.replay.message.value
        assert view.replay.canary.disabled
        await letters.aio.run(plan, word="nobody")
    finally:
        await sandbox.aio.close()
    assert [payload["number"] for payload in await payloads(nc, other)] == [1, 2, 3]
    assert await payloads(nc, lab.settings) == []


async def test_history_goes_to_another_channel_once(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    for number in range(20):
        await lab.bus.publish(LetterOrder(number=number), channel="orders")
    with pytest.raises(ReplayRefusedError, match="live=True"):
        await lab.aio.replay("orders")
    plan = await lab.aio.plan_replay("orders", to="again", limit=15, note="try")
    assert plan.to_replay == 15
    seen: list[tuple[int, int]] = []
    report = await lab.aio.replay(plan, progress=lambda *at: seen.append(at))
    assert report.state == "done"
    assert seen[-1] == (15, 15)
    again = await asyncio.to_thread(
        lambda: lab.replay("orders", to="again", last="1h", progress=False)
    )
    assert {str(name): n for name, n in again.counts.items()} == {"duplicate": 15, "replayed": 5}
    frame = await lab.aio.frame("again")
    assert frame["number"].tolist() == list(range(20))
    assert (await lab.aio.replays())["kind"].tolist() == ["history", "history"]
    with pytest.raises(TypeError, match="limit: the plan has these"):
        await lab.aio.replay(plan, limit=1)
    with pytest.raises(ValueError, match="not both"):
        await lab.aio.plan_replay("orders", last="1h", since="2h")


async def test_history_by_time_changed_paused_interrupted_and_live(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    for number in range(30):
        await lab.bus.publish(LetterOrder(number=number), channel="orders")
    stored = (await lab.aio.frame("orders"))["stored_at"]
    plan = await lab.aio.plan_replay("orders", to="x", since=stored.iloc[5], until=stored.iloc[9])
    assert plan_frame(plan).index.tolist() == [f"{settings.stream_name}:{n}" for n in range(6, 10)]

    def doubled(fields: dict[str, Any]) -> dict[str, Any] | None:
        return {**fields, "total": 2.0} if fields["number"] % 2 else None

    report = await lab.aio.replay("orders", to="changed", transform=doubled, limit=10)
    assert report_frame(report)["outcome"].tolist() == ["skipped", "replayed"] * 5
    changed = await lab.aio.frame("changed")
    assert changed["number"].tolist() == [1, 3, 5, 7, 9]
    assert changed["total"].unique().tolist() == [2.0]

    seen: list[int] = []
    control = ReplayControl()
    control.pause()
    slow: dict[str, Any] = {"to": "slow", "rate": 40, "control": control}
    running = asyncio.create_task(
        lab.aio.replay("orders", progress=lambda done, _: seen.append(done), **slow)
    )
    await until(lambda: seen)
    control.resume()
    await until(lambda: seen[-1] >= 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async def settled() -> bool:
        return (await lab.aio.replays())["state"].iloc[0] == "cancelled"

    await until(settled)
    assert 0 < len(await lab.aio.frame("slow")) < 30
    await lab.aio.replay("orders", to="slow")
    assert (await lab.aio.frame("slow"))["number"].tolist() == list(range(30))

    await lab.aio.replay("orders", live=True, limit=2)
    assert (await lab.aio.frame("orders"))["number"].tolist() == [*range(30), 0, 1]


async def test_history_goes_to_another_lab(lab: Lab, make_settings: MakeSettings) -> None:
    prefix = lab.settings.subject_prefix
    other = make_settings(stream_name=f"{prefix}-sand", subject_prefix=f"{prefix}-sand")
    for number in range(5):
        await lab.bus.publish(LetterOrder(number=number), channel="orders")
    sandbox = await asyncio.to_thread(Lab, other)
    try:
        await lab.aio.replay("orders", target=sandbox, speed=100)
        frame = await sandbox.aio.frame("orders")
    finally:
        await sandbox.aio.close()
    assert frame["number"].tolist() == list(range(5))
    assert frame["event_id"].tolist() == (await lab.aio.frame("orders"))["event_id"].tolist()
