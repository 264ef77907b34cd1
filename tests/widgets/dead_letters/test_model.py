"""The widget's model: pages, selections, filters and edits."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets._session import worker
from varco_nats_widgets.dead_letters import (
    DeadLetterNotFoundError,
    DeadLetters,
    InvalidPayloadError,
    _dead_letters,
)
from varco_nats_widgets.dead_letters._index import queue
from varco_nats_widgets.dead_letters._index.groups import Selection
from varco_nats_widgets.dead_letters._index.reader import DlqReader
from varco_nats_widgets.dead_letters._view import keep_panel
from varco_nats_widgets.explorer import ConditionError

from tests.waiting import until
from tests.widgets.dead_letters.helpers import LetterOrder, entries, entry, numbers, push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ServerUnreachableError
from varco_nats.replay import Replayer


async def test_pages_of_the_chosen_group(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(30))
    letters = DeadLetters(lab, page_size=8)
    await letters.aio.filter()
    assert (letters.entries, letters.matching, letters.page_total) == (30, 30, 30)
    assert letters.channels == {"orders": 20, "payments": 10}
    assert numbers(letters.page) == list(range(30, 22, -1))
    await letters.aio.choose(letters.group_table.index[1])
    assert letters.page_total == 10
    assert numbers(letters.page) == [30, 27, 24, 21, 18, 15, 12, 9]
    await letters.aio.older()
    assert numbers(letters.page) == [6, 3]
    await letters.aio.older()
    assert numbers(letters.page) == [6, 3]
    await letters.aio.newer()
    assert letters.page_start == 0
    with pytest.raises(ValueError, match="group 'x' is not among"):
        await letters.aio.choose("x")
    assert "group 'x'" in letters.error
    await letters.aio.choose()
    assert letters.error == ""
    assert letters.page_total == 30
    await letters.aio.oldest()
    assert numbers(letters.page) == [6, 5, 4, 3, 2, 1]
    await letters.aio.newest()
    assert letters.page_start == 0
    await letters.aio.filter(channel="payments", text="")
    assert letters.filters == {"channel": "payments"}
    assert (letters.entries, letters.matching) == (30, 10)
    assert len(letters.group_table) == 1


async def test_a_selection_stays_over_pages_and_is_never_widened(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(30))
    letters = DeadLetters(lab, page_size=8)
    await letters.aio.filter()
    view = letters.view()
    which = view.replay.which
    view.flush()
    assert which.entries is None
    assert view.replay.plan.disabled
    await letters.aio.choose(letters.group_table.index[0])
    view.flush()
    assert which.entries == "groups"
    picked = letters.page.index[:3].tolist()
    letters.selected_ids = picked[:1]  # a look at one row
    view.flush()
    assert which.entries == "groups"
    letters.selected_ids = picked
    view.flush()
    assert which.entries == "selected"
    await letters.aio.older()
    view.flush()
    assert letters.selected_ids == picked
    assert set(view.entries.selected) == {entry_id[:8] for entry_id in picked}
    assert which.control.label == "3 selected rows"
    await letters.aio.discard(picked, word="discard")
    view.flush()
    assert letters.selected_ids == []
    assert which.entries is None
    assert view.replay.plan.disabled
    assert view.keep.discard.disabled
    assert len({*letters.page.index} & {*picked}) == 0


async def test_all_that_match_a_filter_do_not_become_more_by_another(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(30))
    letters = await shown(lab)
    await letters.aio.filter(channel="payments")
    view = letters.view()
    panels = (view.fix, view.replay, view.keep)

    def chosen() -> set[str | None]:
        view.flush()
        return {panel.which.control.label for panel in panels if panel.which.entries == "matching"}

    view.flush()
    for panel in panels:
        panel.which.control.value = "matching"
    assert chosen() == {"all 10 that match the filter"}
    await letters.aio.filter(channel="payments", text="k3")
    await until(lambda: chosen() == {f"all {letters.matching} that match the filter"})
    assert letters.matching == 2
    await letters.aio.filter()
    await until(lambda: not chosen())
    assert view.keep.discard.disabled


async def test_what_comes_while_a_discard_begins_is_not_discarded_unseen(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(settings, *entries(3))
    letters = await shown(lab)
    view = letters.view()
    keep = view.keep
    view.flush()
    keep.which.control.value, keep.confirm.field.value = "matching", "discard"
    view.flush()
    await push(settings, entry(4))
    monkeypatch.setattr(keep_panel, "fields_are_here", letters.aio.refresh)
    keep.discard.click()
    await until(lambda: "this would discard 4 dead letters, not 3" in keep.message.value)
    assert await letters.aio.count() == 4
    view.flush()
    keep.confirm.field.value = "discard"
    keep.discard.click()
    await until(lambda: letters.outcome == "done: 4 discarded")


async def test_what_is_selected_while_the_page_is_renewed_stays_selected(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(settings, *entries(3))
    letters = await shown(lab)
    first, second, _ = letters.page.index
    letters.selected_ids = [first]
    among = Selection.among

    def meanwhile(*args: Any) -> list[UUID]:
        letters.selected_ids = [second]
        return among(*args)

    monkeypatch.setattr(Selection, "among", meanwhile)
    await letters.aio.refresh()
    assert letters.selected_ids == [second]


async def test_filters_that_no_control_can_show_are_shown_and_removed(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    now = datetime.now(UTC)
    await push(settings, *(entry(n, last_failed_at=now, tenant_id="north") for n in range(1, 8)))
    letters = DeadLetters(lab)
    await letters.aio.filter(last="12h", channel=["orders", "payments"], event_type=LetterOrder)
    view = letters.view()
    view.flush()
    assert letters.choices == {
        "channel": {"orders": 5, "payments": 2},
        "event_type": {"letter.order": 7},
        "handler": {"Shop.on_order": 5, "Shop.on_payment": 2},
        "error_type": {"KeyError": 2, "TimeoutError": 5},
        "tenant_id": {"north": 7},
    }
    assert [button.description for button in view.others.children] == [
        "last: 12h",
        "event_type: letter.order",
    ]
    assert {control.value for control in view.filters.values()} == {""}
    assert view.choices["channel"].values == ["orders", "payments"]
    view.choices["channel"].chosen = []
    await until(lambda: letters.filters == {"last": "12h", "event_type": LetterOrder})
    view.filters["since"].value = "1h"  # instead of last=
    await until(lambda: letters.filters == {"event_type": LetterOrder, "since": "1h"})
    await until(lambda: not letters.busy)
    assert (letters.matching, letters.error) == (7, "")


async def test_a_condition_is_typed_and_what_is_wrong_with_it_is_said(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(7))
    letters = DeadLetters(lab)
    view = letters.view()
    view.filters["condition"].value = "total >= 6 and customer.name startswith 'a'"
    await until(lambda: letters.matching == 4)
    assert letters.group_table["count"].tolist() == [3, 1]
    view.filters["condition"].value = "total >="
    await until(lambda: "total >=" in letters.error)
    assert letters.matching == 4
    view.filters["condition"].value = "totl > 1"
    await until(lambda: "did you mean 'total'" in letters.notice)
    assert (letters.matching, letters.error) == (0, "")
    with pytest.raises(ConditionError, match="total >="):
        await letters.aio.groups(condition="total >=")
    await letters.aio.plan(condition="number == 4")
    assert letters.planned is not None
    assert letters.planned.to_replay == 1


async def test_in_a_notebook_the_widget_does_not_wait_for_the_queue(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(settings, *entries(9))
    group = (await lab.dead_letters.aio.groups()).index[1]
    held, reading = threading.Event(), DlqReader.state

    async def state(reader: DlqReader) -> Any:
        await asyncio.to_thread(held.wait)
        return await reading(reader)

    monkeypatch.setattr(DlqReader, "state", state)
    monkeypatch.setattr(_dead_letters, "in_notebook", lambda: True)
    letters = await asyncio.to_thread(lab.dead_letters)
    assert letters is lab.dead_letters
    assert letters.matching == 0
    choosing = asyncio.create_task(letters.aio.choose(group))  # waits for what is being read
    await until(lambda: letters.busy)
    held.set()
    await choosing
    assert numbers(letters.page) == [9, 6, 3]
    with pytest.raises(TypeError, match="no filter chanel"):
        letters(chanel="x")  # type: ignore[call-arg]


async def test_a_group_that_is_chosen_before_the_end_of_reading_is_shown(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(settings, *entries(9))
    letters = DeadLetters(lab)
    group = (await letters.aio.groups()).index[1]
    held, is_last = threading.Event(), threading.Event()
    matching = queue._shown

    def shown_late(*args: Any) -> Any:
        is_last.set()
        held.wait(20)
        return matching(*args)

    monkeypatch.setattr(queue, "_shown", shown_late)
    reading = asyncio.create_task(letters.aio.filter())
    await until(is_last.is_set)  # all is read, and what matches is not known yet
    choosing = asyncio.create_task(letters.aio.choose(group))
    await asyncio.wait([choosing], timeout=0.3)
    held.set()
    await asyncio.gather(reading, choosing)
    assert numbers(letters.page) == [9, 6, 3]


async def test_what_can_be_stopped_and_what_can_be_tried_again(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await push(settings, *entries(3))
    letters = await shown(lab)
    held = asyncio.Event()

    async def never(*_: Any, **__: Any) -> None:
        held.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Replayer, "plan", never)
    planning = asyncio.create_task(letters.aio.plan("matching"))
    await until(held.is_set)
    assert (letters.doing, letters.progress) == ("planning", (0, 0))
    letters.stop()
    with pytest.raises(asyncio.CancelledError):
        await planning
    await until(lambda: not letters.busy)
    monkeypatch.undo()

    with pytest.raises(ValueError, match="no row is chosen"):
        await letters.aio.plan("selected")
    assert not letters.can_retry
    reading = DlqReader.state
    monkeypatch.setattr(DlqReader, "state", lambda _: unreachable())
    with pytest.raises(ServerUnreachableError):
        await letters.aio.refresh()
    assert letters.can_retry
    monkeypatch.setattr(DlqReader, "state", reading)
    await letters.aio.retry()
    assert (letters.error, letters.can_retry) == ("", False)


async def unreachable() -> None:
    raise ServerUnreachableError(["nats://nowhere"], "it is gone")


async def test_the_widget_follows_what_comes_and_goes(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.1)
    pushed = entries(12)
    async with NatsDLQ(settings) as dlq:
        for entry in pushed[:9]:
            await dlq.push(entry)
        letters = await shown(lab)
        seen: list[int] = []
        letters.observe(lambda change: seen.append(change["new"]), "entries")
        letters.watch()
        for entry in pushed[9:]:
            await dlq.push(entry)
        await until(lambda: letters.matching == 12)
        for entry in pushed[2:6]:
            await dlq.ack(entry.entry_id)
        await until(lambda: letters.matching == 8)
        assert letters.entries == 8
        await until(lambda: numbers(letters.page) == [12, 11, 10, 9, 8, 7, 2, 1])
        assert letters.group_table["count"].sum() == 8
    await nc.jetstream().delete_stream(f"{settings.stream_name}-dlq")
    await until(lambda: letters.entries == 0 and letters.page.empty)
    await push(settings, *pushed[:2])
    await until(lambda: letters.matching == 2)
    assert letters.error == ""
    letters.watch(False)


async def test_opening_and_editing(lab: Lab, settings: NatsEventBusSettings) -> None:
    known = entry(1)
    unknown = entry(
        2, event=None, payload=b'{"__event_type__": "nobody.knows", "a": 1, "b": "\\u00e9"}'
    )
    odd = entry(4, event=None, payload=b"\xff\xfe")
    await push(settings, known, unknown, odd)
    letters = await shown(lab)
    aio = letters.aio
    opened = await aio.open(known.entry_id)
    assert letters.letter is opened

    edit = await aio.edit(known.entry_id, {**opened.payload, "total": 9.5})
    assert edit.checked_by == "LetterOrder"
    assert '-  "total": 1.5,' in edit.diff.splitlines()
    assert '+  "total": 9.5,' in edit.diff.splitlines()
    assert letters.edits == {str(known.entry_id): edit}
    assert json.loads(edit.data)["total"] == 9.5
    with pytest.raises(InvalidPayloadError) as refused:
        await aio.edit(known.entry_id, {**opened.payload, "total": "much", "number": None})
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["number", "total"]
    with pytest.raises(InvalidPayloadError, match=r"not JSON: .* at line 2, column 1"):
        await aio.edit(known.entry_id, '{"a":\n}')
    with pytest.raises(InvalidPayloadError, match="no JSON object, which an event is"):
        await aio.edit(known.entry_id, "[1]")
    with pytest.raises(InvalidPayloadError, match="as JSON: Out of range float"):
        await aio.edit(known.entry_id, {"a": float("nan")})
    assert letters.edits == {str(known.entry_id): edit}  # a refused edit changes nothing

    edit = await aio.edit(str(unknown.entry_id), '{"__event_type__": "nobody.knows", "b": "é"}')
    assert edit.checked_by is None
    changed = [line for line in edit.diff.splitlines()[2:] if line[0] in "+-"]
    assert changed == ['-  "a": 1,']
    edit = await aio.edit(odd.entry_id, {"a": 1})
    assert "-\\xff\\xfe" in edit.diff
    await aio.revert(odd.entry_id)
    assert set(letters.edits) == {str(known.entry_id), str(unknown.entry_id)}
    with pytest.raises(DeadLetterNotFoundError):
        await aio.edit(UUID(int=5), {})


async def test_an_unused_model_is_garbage(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(3))
    letters = DeadLetters(lab)
    await letters.aio.filter()
    letters.watch()
    await until(lambda: letters.matching == 3)
    letters.view().flush()
    gone = weakref.ref(letters)
    letters = None  # type: ignore[assignment]

    def collected() -> bool:
        gc.collect()
        return gone() is None

    await until(collected, every=0.1)


async def test_a_closed_lab_says_so(settings: NatsEventBusSettings) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    letters = await shown(lab)
    await lab.aio.close()
    with pytest.raises(RuntimeError, match="this Lab is closed"):
        await letters.aio.frame()
    assert letters._worker.start(letters.aio.refresh) is None
    assert "closed" in letters.error
