"""The wall clock of the kernel is set while somebody works with it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import Canary

from tests.waiting import until
from tests.widgets.dead_letters.helpers import LetterOrder, entry, payloads, push, shown
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ

SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the clock of this process to so much after the server's."""
    ahead = timedelta()
    time_now, time_ns_now = time.time, time.time_ns

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Clock(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead

    modules = {name: vars(module) for name, module in sys.modules.items() if "varco_nats" in name}
    for name, names in modules.items():
        if names.get("datetime") is datetime:
            monkeypatch.setattr(f"{name}.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: time_now() + ahead.total_seconds())
    monkeypatch.setattr(
        time, "time_ns", lambda: time_ns_now() + ahead // timedelta(microseconds=1) * 1000
    )

    def set_to(wanted: timedelta) -> None:
        nonlocal ahead
        ahead = wanted

    return set_to


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_jumps_disturbs_no_step_of_a_morning(
    lab: Lab,
    settings: NatsEventBusSettings,
    nc: Client,
    tmp_path: Path,
    set_clock: SetClock,
    hours: int,
) -> None:
    once = settings.model_copy(update={"max_deliver": 1})
    jump, handled = timedelta(hours=hours), list[int]()
    failed = [
        entry(
            number, channel="orders", last_failed_at=datetime.now(UTC) - timedelta(minutes=number)
        )
        for number in range(1, 61)
    ]

    async def handle(event: Event) -> None:
        assert isinstance(event, LetterOrder)
        handled.append(event.number)

    async with NatsDLQ(once) as dlq, NatsEventBus(once, dlq=dlq) as bus:
        bus.subscribe(LetterOrder, handle, channel="orders")
        await push(settings, *failed[:50])
        letters = await shown(lab, last="12h")
        letters.watch()
        assert letters.matching == 50
        set_clock(jump)
        await push(settings, *failed[50:])  # what comes meanwhile is shown
        await until(lambda: letters.matching == 60)
        set_clock(-jump)
        await letters.aio.filter(last="12h")
        assert letters.matching == 60

        # the clock is set after the plan, while the canary is watched, in the run and in a pause
        path, ids = tmp_path / "five.ndjson", [str(each.entry_id) for each in failed]
        plan = await letters.aio.plan(ids[5:])
        assert plan.to_replay == 55
        set_clock(jump)
        running = asyncio.create_task(letters.aio.run(rate=50, canary=Canary(3, wait_seconds=5)))
        await until(lambda: letters.run_progress[0] == "canary" or letters.run_outcomes)
        set_clock(-jump)
        await until(lambda: letters.run_outcomes.get("replayed", 0) > 5)
        letters.pause()
        await until(lambda: letters.run_progress[0] == "paused")
        set_clock(jump)
        letters.resume()
        report = await running
        assert (report.state, report.counts) == ("done", {"replayed": 55})
        await until(lambda: len(handled) == 55)

        # between a discard and its undoing, twice
        await letters.aio.export(path, ids[:5])
        await letters.aio.discard(ids[:5])
        set_clock(-jump)
        assert (await letters.aio.restore(path)).counts == {"restored": 5}
        set_clock(jump)
        assert (await letters.aio.restore(path)).counts == {"skipped": 5}
        await letters.aio.discard(ids[:5])
        assert await letters.aio.count() == letters.matching == 0
        assert sorted(handled) == list(range(6, 61))

    stored = [payload["number"] for payload in await payloads(nc, settings)]
    assert sorted(stored) == list(range(6, 61))
    # the log has the times of the server, and its order
    log = await letters.aio.replays()
    assert log["kind"].tolist() == ["discard", "restore", "restore", "discard", "replay"]
    assert log["started_at"].is_monotonic_decreasing
    assert (log["ended_at"] >= log["started_at"]).all()
    set_clock(timedelta())
    assert (abs(log["started_at"] - datetime.now(UTC)) < timedelta(minutes=5)).all()


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_filter_counts_by_the_clock_of_the_server_and_says_where_ours_differs(
    lab: Lab, settings: NatsEventBusSettings, set_clock: SetClock, hours: int
) -> None:
    now = datetime.now(UTC)
    minutes = (5, 30, 90, 200)
    await push(settings, *[entry(n, last_failed_at=now - timedelta(minutes=n)) for n in minutes])
    set_clock(timedelta(hours=hours))
    letters = await shown(lab, last="1h")
    assert letters.matching == 2
    which = "ahead of" if hours > 0 else "behind"
    said = f"this computer's clock is 2:00:00 {which} the server's, by which the filter counts"
    assert letters.notice == said
    assert len(await letters.aio.frame(since="100m", until="10m")) == 2
    assert (await letters.aio.groups(last="1h"))["count"].sum() == 2
    await letters.aio.refresh()
    assert (letters.matching, letters.notice) == (2, said)
    await letters.aio.filter(since=f"{now - timedelta(minutes=100):%Y-%m-%d %H:%M:%S}")
    assert (letters.matching, letters.notice) == (3, "")  # this time is the same by any clock
    set_clock(timedelta(0))
    await letters.aio.filter(last="1h")
    assert (letters.matching, letters.notice) == (2, "")
