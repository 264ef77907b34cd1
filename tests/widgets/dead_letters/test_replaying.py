"""Plans and runs from a notebook."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import Canary, ConfirmationError, DeadLetters

from tests.conftest import MakeSettings
from tests.waiting import until
from tests.widgets.dead_letters.helpers import (
    LetterOrder,
    entries,
    entry,
    numbers,
    payloads,
    push,
    shown,
)
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import ReplayOutcome


async def test_plan_look_run_and_the_log(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(12))
    letters = await shown(lab)
    aio = letters.aio
    group = letters.group_table.index[0]
    await aio.choose(group)
    first = letters.page.index[-1]
    opened = await aio.open(first)
    await aio.edit(first, {**opened.payload, "total": 77.0})
    plan = await aio.plan("groups", note="gateway is back")
    assert letters.planned is plan
    assert len(letters.plan_table) == plan.to_replay == 8
    assert letters.plan_table["edited"].tolist() == [True] + [False] * 7
    assert letters.plan_table["decision"].unique().tolist() == ["replay"]
    assert await payloads(nc, settings) == []  # a plan sends nothing

    progress: list[tuple[str, int, int]] = []
    letters.observe(lambda change: progress.append(change["new"]), "run_progress")
    report = await aio.run(word="nobody")
    assert letters.report is report
    assert report.state == "done"
    assert letters.report_table["outcome"].tolist() == ["replayed"] * 8
    assert letters.report_table["removed"].all()
    assert progress[-1] == ("done", 8, 8)
    stored = await payloads(nc, settings)
    assert [payload["number"] for payload in stored] == [1, 2, 4, 5, 7, 8, 10, 11]
    assert stored[0]["total"] == 77.0
    assert letters.planned is None
    assert letters.edits == {}
    assert (letters.entries, letters.matching) == (4, 4)  # at once, nobody watches
    assert letters.chosen_groups == ()  # as there is nothing left of that group
    assert numbers(letters.page) == [12, 9, 6, 3]

    log = await lab.aio.replays()
    assert log["outcome"].tolist() == [{"replayed": 8}]
    row = log.iloc[0]
    assert (row["kind"], row["state"], row["note"]) == ("replay", "done", "gateway is back")
    assert "@" in row["who"]
    assert row["ended_at"] >= row["started_at"]
    assert (await asyncio.to_thread(lab.replays)).index.tolist() == log.index.tolist()

    view = letters.view()
    view.tabs.selected_index = view.tabs.children.index(view.log.box)
    await until(lambda: len(letters.log_table) == 1)
    assert view.log.rows.frame.empty
    rows = await aio.replays(log.index[0])  # each entry, for whoever asks tomorrow
    assert rows["outcome"].tolist() == ["replayed"] * 8
    assert set(rows.index[rows["edited"]]) == {first}
    assert rows["removed"].all()
    view.flush()
    assert len(view.log.rows.frame) == 8
    assert f"Run {log.index[0]}: 8 replayed" in view.log.of_run.value
    with pytest.raises(LookupError, match="no run 'x'"):
        await lab.aio.replays("x")


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_plan_is_made_from_the_queue_as_it_is(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path, stopped: bool
) -> None:
    pushed = entries(6)
    await push(settings, *pushed[:2])
    letters = await shown(lab, channel="orders")
    assert (await asyncio.to_thread(letters.count), letters.matching) == (2, 2)
    await letters.aio.choose(letters.group_table.index[0])
    if stopped:
        await asyncio.to_thread(letters.stop)
    async with NatsDLQ(settings) as dlq:
        for entry in pushed[2:]:
            await dlq.push(entry)  # nobody watches
        await dlq.ack(pushed[0].entry_id)
    wanted = [str(pushed[number].entry_id) for number in (1, 3, 4)]  # the others are payments

    for which in ("matching", "groups"):
        plan = await letters.aio.plan(which)
        assert ([row.key for row in plan.rows], plan.to_replay) == (wanted, 3)
        assert letters.planned is plan
    assert letters.matching == 3
    exported = await letters.aio.export(tmp_path / "dead.ndjson", "matching")
    assert exported.rows == 3


async def test_a_plan_of_nothing_makes_no_stream_and_its_run_says_so(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    letters = lab.dead_letters
    plan = await letters.aio.plan([uuid4()])
    names = {str(info.config.name) for info in await nc.jetstream().streams_info()}
    assert not any(name.startswith(settings.stream_name) for name in names)
    report = await letters.aio.run(plan, word="nobody")
    assert report.state == "nothing done"
    assert letters.outcome == "nothing done: 1 left out by the plan"
    log = await lab.aio.replays()
    assert log["state"].tolist() == ["nothing done"]


async def test_entries_are_named_by_ids_frames_rows_and_filters(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    aio = letters.aio
    frame = await aio.frame()
    picked = frame[frame["data.number"] > 4]

    def planned(plan: Any) -> list[str]:
        return [row.key for row in plan.rows]

    assert planned(await aio.plan(picked)) == picked.index.tolist()
    assert planned(await aio.plan([UUID(frame.index[0])])) == [frame.index[0]]
    letters.selected_ids = [frame.index[3], frame.index[1]]
    assert set(planned(await aio.plan("selected"))) == {frame.index[3], frame.index[1]}
    assert planned(await aio.plan(channel="payments")) == frame.index[[2, 5]].tolist()
    assert planned(await aio.plan("matching")) == frame.index.tolist()
    gone = uuid4()
    plan = await aio.plan([gone])
    assert (plan.rows[0].key, str(plan.rows[0].decision)) == (str(gone), "skip")
    to_other = await aio.plan(picked, to="elsewhere", transform=lambda fields: None)
    assert letters.plan_table["decision"].tolist() == ["skip", "skip"]
    assert to_other.to_replay == 0


async def test_a_plan_is_dropped_when_it_is_not_what_is_meant_any_more(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(9))
    letters = await shown(lab)
    aio, groups = letters.aio, letters.group_table.index
    first = letters.page.index[-1]
    payload = (await aio.open(first)).payload

    async def change(which: str) -> None:
        match which:
            case "edit":
                await aio.edit(first, {**payload, "total": 3.0})
            case "revert":
                await aio.revert(first)
            case "selected":
                letters.selected_ids = [first]
            case "groups":
                await aio.choose(groups[1])
            case "filter":
                await aio.filter(channel="orders")

    letters.selected_ids = [first, letters.page.index[1]]
    await aio.choose(groups[0])
    for which, changed in (
        ("matching", "edit"),
        ([first], "revert"),
        ("selected", "selected"),
        ("groups", "groups"),
        ("matching", "filter"),
    ):
        await aio.plan(which)
        assert letters.planned is not None
        await change(changed)
        assert letters.planned is None, changed
        assert letters.plan_table.empty
    await aio.plan(channel="payments")  # says by itself what it means
    await aio.filter()
    assert letters.planned is not None

    plan = await aio.plan([first])
    edit = await aio.edit(first, {**payload, "total": 5.0})
    with pytest.raises(ValueError, match="there is no plan yet"):
        await aio.run(word="nobody")
    await aio.run(plan, word="nobody")  # as planned, and what was edited since is not forgotten
    assert [payload["total"] for payload in await payloads(nc, settings)] == [1.5]
    assert letters.edits == {first: edit}


async def test_two_people_replay_one_queue(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(60))
    one, other = await shown(lab), DeadLetters(lab)
    await other.aio.filter()
    for letters in (one, other):
        await letters.aio.plan("matching")
    reports = await asyncio.gather(
        one.aio.run(rate=200, word="nobody"), other.aio.run(rate=200, word="nobody")
    )
    assert sorted(fields["number"] for fields in await payloads(nc, settings)) == list(range(1, 61))
    assert sum(report.counts.get(ReplayOutcome.REPLAYED, 0) for report in reports) == 60
    assert await one.aio.count() == 0


async def test_an_interrupted_run_says_what_it_sent(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(60))
    letters = await shown(lab)
    plan = await letters.aio.plan("matching")
    seen: list[tuple[int, int]] = []
    running = asyncio.create_task(
        letters.aio.run(rate=40, progress=lambda *at: seen.append(at), word="nobody")
    )
    await until(lambda: letters.seconds_left is not None and letters.run_outcomes)
    with pytest.raises(ValueError, match="is under way"):
        await letters.aio.edit(plan.rows[0].key, {})
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not letters.running)
    report = letters.report
    assert report is not None
    assert report.state == "cancelled"
    assert letters.planned is None
    replayed = len(await payloads(nc, settings))
    assert {str(name): n for name, n in report.counts.items()} == {
        "replayed": replayed,
        "not tried": 60 - replayed,
    }
    assert await letters.aio.count() == letters.entries == 60 - replayed
    assert seen[-1][1] == 60


async def test_what_nobody_would_handle_needs_a_word(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(3))
    letters = await shown(lab)
    plan = await letters.aio.plan("matching")
    assert plan.unhandled == 3
    targets = letters.plan_table.attrs["targets"]
    assert [(each["channel"], each["count"]) for each in targets] == [
        ("orders", 2),
        ("payments", 1),
    ]
    assert "nobody consumes orders" in repr(plan)
    with pytest.raises(ReplayRefusedError, match=r"no one; .*, say word='nobody'"):
        await letters.aio.run()
    assert letters.outcome.startswith("it did not begin: nobody consumes orders")
    assert "word=" not in letters.outcome  # what to do is said where it can be done
    assert letters.planned is plan
    assert await payloads(nc, settings) == []
    with pytest.raises(ReplayRefusedError, match="or say word='discard'"):
        await letters.aio.discard("matching", word="nobody")
    assert await letters.aio.count() == 3
    assert (await letters.aio.run(word="nobody")).state == "done"


async def test_an_observer_that_fails_leaves_no_run_behind(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(1))
    letters = await shown(lab)
    await letters.aio.plan("matching")

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    letters.observe(broken, "run_progress")
    with pytest.raises(RuntimeError, match="broken"):
        await letters.aio.run(word="nobody")
    await letters.aio.revert("matching")  # which is refused while a run sends them


async def test_many_entries_need_their_number(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *(entry(number) for number in range(1, 152)))
    letters = await shown(lab)
    aio = letters.aio
    plan = await aio.plan("matching")
    for given in (None, 150, 0):
        with pytest.raises(ConfirmationError) as refused:
            await aio.run(confirm=given, word="nobody")
        assert (refused.value.count, refused.value.given) == (151, given)
    with pytest.raises(ConfirmationError):
        await aio.discard("matching", word="discard")
    assert await aio.count() == 151
    assert (await aio.replays()).empty
    assert (await aio.run(plan, confirm=151, word="nobody")).state == "done"
    assert await aio.count() == 0


async def test_a_run_is_paused_resumed_and_cancelled(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(60))
    letters = await shown(lab)
    await letters.aio.plan("matching")
    running = asyncio.create_task(letters.aio.run(rate=40, word="nobody"))
    await until(lambda: letters.running and letters.run_progress[1] >= 5)
    with pytest.raises(RuntimeError, match="a run is under way"):
        await letters.aio.run(word="nobody")
    with pytest.raises(RuntimeError, match="a run is under way"):
        await letters.aio.discard("matching", word="discard")
    letters.pause()
    assert letters.paused
    await until(lambda: letters.run_progress[0] == "paused")
    await letters.aio.refresh()  # looking goes on meanwhile
    sent = letters.run_progress[1]
    letters.resume()
    assert not letters.paused
    await until(lambda: letters.run_progress[1] > sent)
    letters.cancel()
    report = await running
    assert not letters.running
    assert report.state == "cancelled"
    outcomes = letters.report_table["outcome"].value_counts().to_dict()
    assert outcomes["replayed"] + outcomes["not tried"] == 60
    assert await letters.aio.count() == outcomes["not tried"] == letters.entries
    assert len(await payloads(nc, settings)) == outcomes["replayed"]

    await letters.aio.plan("matching")  # the rest
    await letters.aio.run(word="nobody")
    stored = [payload["number"] for payload in await payloads(nc, settings)]
    assert sorted(stored) == list(range(1, 61))
    assert (await letters.aio.replays())["state"].tolist() == ["done", "cancelled"]


async def test_a_discard_is_paused_and_cancelled(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(60))
    letters = await shown(lab)
    await letters.aio.export(tmp_path / "dead.csv", "matching")

    def pause(change: Any) -> None:
        if change["new"][0] == "preparing":
            letters.pause()

    letters.observe(pause, "run_progress")
    discarding = asyncio.create_task(letters.aio.discard("matching", note="known"))
    await until(lambda: letters.run_progress[0] == "paused")
    assert (letters.doing, letters.running, letters.paused) == ("discarding", True, True)
    letters.cancel()
    report = await discarding
    assert (report.state, await letters.aio.count()) == ("cancelled", 60)
    letters.unobserve(pause, "run_progress")
    await letters.aio.discard("matching", note="known")
    log = await letters.aio.replays()
    assert log["outcome"].tolist() == [{"discarded": 60}, {"not tried": 60}]
    assert log["exported_to"].tolist() == [str(tmp_path / "dead.csv")] * 2
    assert log["note"].tolist() == ["known"] * 2


async def test_what_came_back_is_marked_and_needs_a_word(
    lab: Lab, make_settings: MakeSettings
) -> None:
    settings = make_settings(max_deliver=1)
    repaired = threading.Event()
    handled: list[int] = []

    async def fragile(event: LetterOrder) -> None:
        if not repaired.is_set():
            raise TimeoutError(f"no answer for o-{event.number}")
        handled.append(event.number)

    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(LetterOrder, fragile, channel="orders")  # type: ignore[arg-type]
        for number in range(8):
            await bus.publish(LetterOrder(number=number), channel="orders")
        letters = lab.dead_letters
        await until(lambda: dlq_has(dlq, 8))
        await letters.aio.filter()
        assert letters.group_table["came_back"].tolist() == [0]
        await letters.aio.plan("matching")
        report = await letters.aio.run(canary=Canary(2, 5.0), word="nobody")
        assert report.state == "canary failed"
        await until(lambda: dlq_has(dlq, 8))
        await letters.aio.refresh()
        assert letters.group_table["came_back"].tolist() == [2]
        frame = await letters.aio.frame()
        assert frame["replay_count"].tolist() == [0] * 6 + [1] * 2
        plan = await letters.aio.plan("matching")
        assert plan.to_replay == 6
        assert "again=True" in letters.plan_table["why"].iloc[-1]
        repaired.set()
        await letters.aio.plan("matching", again=True)
        await letters.aio.run(canary=Canary(2, 0.2), word="nobody")
        await until(lambda: len(handled) == 8)
        assert sorted(handled) == list(range(8))
        assert await dlq.count() == 0


async def dlq_has(dlq: NatsDLQ, count: int) -> bool:
    return await dlq.count() == count
