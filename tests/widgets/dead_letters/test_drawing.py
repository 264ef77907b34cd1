"""The view is drawn from one thread, while a user and the work on the loop thread change things."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters._view import replay_panel

from tests.waiting import until
from tests.widgets.dead_letters.helpers import entries, entry, push, shown
from varco_nats.config import NatsEventBusSettings


def slow_panels(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
    """A trace function: threads often lose their turn between two lines of a panel's code."""
    if not frame.f_code.co_filename.endswith("panel.py"):
        return None
    if event == "line" and random.random() < 0.1:
        time.sleep(0.0001)
    return slow_panels


async def test_what_two_threads_change_is_drawn_as_it_is(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    view = letters.view()
    view.close()  # what follows is drawn by one whose thread begins after this
    letters._views.clear()
    view = letters.view()
    replay, which = view.replay, view.replay.which.control
    view.flush()
    await letters.aio.plan(channel="orders")
    replaying, loop = letters._replaying, letters._session.loop
    made = replaying._planned

    async def planned() -> None:
        """What a plan shows at its end; to make each anew would take minutes."""
        replaying._planned = made
        replaying._show_plan()

    def choose(wanted: str) -> None:
        """As the browser says what a user chose."""
        values = [value for _, value in which.options]
        which.set_state({"index": values.index(wanted)})

    view._coalescer.hz = 1e6
    view._parts = lambda: (replay.draw,)
    before = threading.gettrace()
    threading.settrace(slow_panels)
    try:
        await until(lambda: view._coalescer._thread is None)
        for number in range(200):
            work = planned if number % 2 else replaying.forget_plan
            changing = asyncio.wrap_future(loop.submit(work()))
            if number % 3:
                await changing
            await asyncio.sleep(random.random() * 0.003)
            wanted = "matching" if number % 4 < 2 else ""
            choose(wanted)
            await changing
            await asyncio.wrap_future(loop.submit(asyncio.sleep(0)))  # what the choice began
            view.flush()
            plan = replaying._planned
            assert letters.planned is (plan and plan.plan)
            assert which.value == wanted
            assert replay.plan.disabled == (not wanted)
            assert replay.run.disabled == (plan is None)
    finally:
        threading.settrace(before)


async def test_a_plan_is_the_dry_run_and_a_run_needs_it(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    view = letters.view()
    replay = view.replay
    view.flush()
    assert (replay.run.disabled, replay.run.description) == (True, "Run")
    replay.which.control.value = "matching"
    replay.canary.value = 0
    replay.plan.click()
    await until(lambda: not replay.run.disabled)
    assert replay.run.description == "Run: send 6"
    await until(lambda: "6 of 6 would be sent" in replay.message.value)
    replay.to.value = "elsewhere"  # the plan no longer is what the controls say
    await until(lambda: letters.planned is None)
    await until(lambda: replay.run.disabled and "plan again" in replay.message.value)
    replay.to.value = ""
    replay.plan.click()
    await until(lambda: not replay.run.disabled)
    assert replay.confirm.field.placeholder == "type nobody"
    assert "To send these 6, which nobody seems to handle, type" in replay.confirm.why.value
    replay.confirm.field.value = "nobody"
    replay.run.click()
    await until(lambda: letters.report is not None and not letters.running)
    assert await letters.aio.count() == 0
    await until(lambda: "done: 6 replayed" in replay.message.value)
    assert (replay.run.disabled, replay.run.description) == (True, "Run")


async def test_another_plan_than_the_one_that_is_shown_is_not_run(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = threading.Event()

    async def fields_are_here() -> None:
        await asyncio.to_thread(planned.wait)

    monkeypatch.setattr(replay_panel, "fields_are_here", fields_are_here)
    await push(settings, *entries(6))
    letters = await shown(lab)
    view = letters.view()
    replay = view.replay
    await letters.aio.plan(channel="orders")
    view.flush()
    replay.run.click()  # and before that arrives, a cell plans something else
    await letters.aio.plan("matching")
    planned.set()
    await until(lambda: "the plan has changed" in replay.message.value)
    assert letters.report is None
    assert await letters.aio.count() == 6


async def test_what_was_set_for_a_plan_ends_with_it(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(9))
    letters = await shown(lab)
    view = letters.view()
    replay = view.replay
    set_for_it = (replay.again, replay.new_ids, replay.note)
    view.flush()
    replay.canary.value = 0

    def fill() -> None:
        replay.again.value, replay.new_ids.value, replay.note.value = True, True, "why"

    def values() -> list[Any]:
        return [control.value for control in set_for_it]

    async def plan() -> None:
        before = letters.planned
        replay.plan.click()
        await until(lambda: letters.planned not in (None, before) and not replay.run.disabled)

    # a change of an option is for the next plan, and so are the others
    replay.which.control.value = "matching"
    await until(lambda: not replay.plan.disabled)
    await plan()
    fill()
    await until(lambda: letters.planned is None and replay.run.disabled)
    assert values() == [True, True, "why"]
    # its run
    await plan()
    assert letters.planned is not None
    assert letters.planned.note == "why"
    letters.selected_ids = [letters.page.index[0]]  # not what was planned
    assert letters.planned is not None
    replay.confirm.field.value = "nobody"
    replay.run.click()
    await until(lambda: letters.report is not None and not letters.running)
    await until(lambda: values() == [False, False, ""])
    # another choice of entries
    await push(settings, *(entry(number) for number in (1, 2, 4)))
    await letters.aio.refresh()
    view.flush()
    fill()
    replay.which.control.value = "matching"
    await until(lambda: not replay.plan.disabled)
    await plan()
    assert values() == [True, True, "why"]
    await letters.aio.filter(channel="orders")
    await until(lambda: values() == [False, False, ""])
    # forgotten
    await plan()
    replay.note.value = "another"
    await until(lambda: letters.planned is None and replay.run.disabled)
    await plan()
    await letters.aio.forget_plan()
    await until(lambda: replay.note.value == "")


async def test_no_text_asks_for_a_plan_while_a_run_takes_its_entries_away(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(30))
    letters = await shown(lab)
    view = letters.view()
    replay = view.replay
    said: set[str] = set()
    letters.watch()
    letters.selected_ids = list(letters.page.index)
    plan = await letters.aio.plan("selected")
    replay.message.observe(lambda change: said.add(change["new"]), "value")
    running = asyncio.create_task(letters.aio.run(rate=10, word="nobody"))
    await until(lambda: letters.running and letters.run_progress[1] >= 3)
    letters.pause()
    await letters.aio.refresh()
    assert len(letters.selected_ids) < 30
    assert letters.planned is plan
    view.flush()
    assert replay.run.disabled
    assert len(replay.table.frame) == 30
    letters.cancel()
    await running
    assert letters.planned is None
    assert not [text for text in said if "plan again" in text.lower() and "still in" not in text]
    await until(lambda: "plan again to go on with the" in replay.message.value)


async def test_pause_becomes_resume(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(30))
    letters = await shown(lab)
    view = letters.view()
    run = view.run
    view.flush()
    assert run.box.layout.display == "none"
    await letters.aio.plan("matching")
    running = asyncio.create_task(letters.aio.run(rate=10, word="nobody"))
    await until(lambda: run.box.layout.display is None and letters.run_progress[1] >= 2)
    assert (run.pause.description, run.pause.icon) == ("Pause", "pause")
    run.pause.click()
    assert letters.paused
    await until(lambda: run.pause.description == "Resume")
    assert run.pause.icon == "play"
    await until(lambda: run.phase.value.count("paused: "))
    left = 30 - letters.run_progress[1]
    assert f"the other {left} stay in the queue" in run.cancel.tooltip
    assert letters.status.startswith(f"paused: {30 - left} of 30")
    assert letters.status in repr(letters)
    run.pause.click()
    assert not letters.paused
    await until(lambda: run.pause.description == "Pause")
    run.cancel.click()
    await running
    await until(lambda: run.box.layout.display == "none")
    view.flush()
    assert view.status.news == letters.outcome == letters.status
    assert letters.outcome.startswith("cancelled: ")
    assert letters.outcome.endswith(" that are still in the queue")
    assert letters.outcome in repr(letters)
