"""Many dead letters are fixed at once, planned and replayed."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetters

from tests.conftest import MakeSettings
from tests.waiting import until
from tests.widgets.dead_letters.helpers import entries, entry, payloads, push, shown
from tests.widgets.drawing import drawn_elsewhere
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ


class FixedParcel(Event):
    __event_type__ = "fixed.parcel"

    number: int
    country: str


def parcel(number: int, country: Any) -> DeadLetterEntry:
    event = {"__event_type__": "fixed.parcel", "number": number, "country": country}
    return DeadLetterEntry(
        payload=json.dumps(event).encode(), channel="parcels", error_type="ValidationError"
    )


CODES = {"country": {"france": "FR", "italy": "IT"}}


async def test_what_is_fixed_is_what_a_replay_stores_and_what_is_refused_stays(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    countries = ["france", "italy", "FR", 7, "france"]
    pushed = [parcel(number, country) for number, country in enumerate(countries)]
    await push(settings, *pushed, entry(1))
    letters = await shown(lab)
    aio, by_hand = letters.aio, pushed[4].entry_id
    await aio.edit(by_hand, {"__event_type__": "fixed.parcel", "number": 40, "country": "italy"})

    fields: Any = await aio.fields(channel="parcels")
    assert fields.at["country", "values"] == {'"france"': 1, '"italy"': 2, '"FR"': 1, "7": 1}
    seen: list[Any] = []
    letters.observe(lambda change: seen.append(change["new"]), "doing")
    steps: Any = {"map": CODES | {"number": {3: "x"}}, "channel": "parcels"}
    dry: Any = await aio.fix(**steps)
    assert seen == ["fixing", ""]
    assert list(letters.edits) == [str(by_hand)]  # nothing is changed by that
    assert letters.fix_table is dry
    assert dry["entries"].to_dict() == {
        ("country", '"italy"', '"IT"'): 2,
        ("country", '"france"', '"FR"'): 1,
        ("number", "3", '"x"'): 1,
    }
    assert (dry.attrs["changed"], dry.attrs["unchanged"], dry.attrs["refused"]) == (3, 1, 1)
    assert str(dry.loc[("number", "3", '"x"'), "why"]).startswith("number: ")
    assert dry.loc[("number", "3", '"x"'), "example"] == str(pushed[3].entry_id)

    plan = await aio.plan(channel="parcels")
    kept = await aio.fix(**steps, keep=True)
    assert kept.attrs == dry.attrs | {"kept": True}
    assert (letters.kept_fixes, len(letters.edits)) == (1, 3)
    assert letters.planned is None  # it would send what was planned before
    plan = await aio.plan(channel="parcels")
    assert letters.plan_table["edited"].tolist() == [True, True, False, False, True]
    await aio.run(plan, word="nobody")
    stored = [(each["number"], each["country"]) for each in await payloads(nc, settings)]
    assert stored == [(0, "FR"), (1, "IT"), (2, "FR"), (3, 7), (40, "IT")]
    assert letters.edits == {}
    with pytest.raises(ValueError, match="there is no fix to undo"):
        await aio.undo_fix()
    assert letters.entries == 1


async def test_fixes_are_undone_one_after_the_other(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    pushed = [parcel(number, "france") for number in range(4)]
    await push(settings, *pushed)
    letters = await shown(lab)
    first, second, *_ = ids = [each.entry_id for each in pushed]
    await letters.aio.edit(first, {"number": 9, "country": "italy"})
    by_hand = letters.edits

    def numbers() -> dict[int, Any]:
        return {ids.index(UUID(name)): json.loads(e.data) for name, e in letters.edits.items()}

    await asyncio.to_thread(letters.fix, "matching", keep=True, map=CODES)
    assert {edit["country"] for edit in numbers().values()} == {"FR", "IT"}
    assert numbers()[0]["number"] == 9  # on top of what was edited before
    await letters.aio.fix(ids[:2], keep=True, remove="number", set={"note": "x"})
    await letters.aio.edit(second, {"number": 7, "country": "IT"})  # not to be undone
    assert await letters.aio.undo_fix() == 1
    assert numbers()[0] == {"number": 9, "country": "IT"}
    assert numbers()[1] == {"number": 7, "country": "IT"}
    assert await asyncio.to_thread(letters.undo_fix) == 3
    assert letters.edits.keys() == {str(first), str(second)}
    assert letters.edits[str(first)] is by_hand[str(first)]
    assert letters.kept_fixes == 0

    await letters.aio.fix("matching", keep=True, absolute="number", set={"note": "y"})
    letters.selected_ids = [str(first)]
    await letters.aio.revert("selected")
    assert str(first) not in letters.edits
    await letters.aio.revert(second)
    await letters.aio.revert(str(ids[2]))
    assert len(letters.edits) == 1
    await letters.aio.revert(channel="parcels")
    assert letters.edits == {}
    with pytest.raises(ValueError, match="say which entries"):
        await letters.aio.revert()
    with pytest.raises(ValueError, match="'x' is no entry's id"):
        await letters.aio.revert("x")


async def test_what_is_asked_for_wrongly_is_said_before_anything_is_read(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    letters = lab.dead_letters
    with pytest.raises(ValueError, match="say what to do, such as set="):
        await letters.aio.fix("matching")
    with pytest.raises(
        TypeError, match=r"there is no filter sett; there are .*; and to change events, set, "
    ):
        await letters.aio.fix("matching", sett={"a": 1})  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="say which entries"):
        await letters.aio.fix(set={"a": 1})
    with pytest.raises(ValueError, match="python: line 1: "):
        await letters.aio.fix("matching", python="event[")
    empty = await letters.aio.fix("matching", set={"a": 1}, keep=True)
    assert (empty.empty, empty.attrs["entries"], letters.kept_fixes) == (True, 0, 0)


async def test_an_error_in_a_line_of_python_names_entry_line_and_exception(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    pushed = entries(3)
    await push(settings, *pushed, parcel(1, "france"))
    letters = await shown(lab)
    line = "event['total'] = abs(event['total'])\nevent['tenant'] = headers.get('tenant')"
    frame: Any = await letters.aio.fix("matching", python=line)
    row = frame.xs("(Python)").iloc[0]
    assert row["why"] == "line 1: KeyError: 'total'  (event['total'] = abs(event['total']))"
    assert letters.page.loc[row["example"], "event_type"] == "fixed.parcel"
    assert frame.attrs["changed"] == 3


async def test_many_are_read_in_batches_that_can_be_stopped(
    lab: Lab, make_settings: MakeSettings, settings: NatsEventBusSettings
) -> None:
    await push(settings, *(parcel(number, "france") for number in range(600)))
    letters = await shown(lab)
    progress: list[tuple[int, int]] = []
    letters.observe(lambda change: progress.append(change["new"]), "progress")
    frame: Any = await letters.aio.fix("matching", map=CODES)
    assert frame.attrs["changed"] == 600
    assert progress[-1] == (600, 600)

    wait = "import time\ntime.sleep(0.005)"
    fixing = asyncio.ensure_future(letters.aio.fix("matching", keep=True, python=wait))
    await until(lambda: letters.doing == "fixing")
    letters.stop()
    with pytest.raises(asyncio.CancelledError):
        await fixing
    assert (letters.edits, letters.kept_fixes) == ({}, 0)  # all or nothing


async def test_what_a_run_sends_is_not_fixed_meanwhile(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *(parcel(number, "france") for number in range(20)))
    letters = await shown(lab)
    await letters.aio.plan("matching")
    running = asyncio.ensure_future(letters.aio.run(rate=5, word="nobody"))
    await until(lambda: letters.run_progress[1] > 0)
    with pytest.raises(ValueError, match=r"a run that sends dead letter .* is under way"):
        await letters.aio.fix("matching", keep=True, map=CODES)
    letters.cancel()
    await running
    assert letters.edits == {}


async def test_a_fix_in_a_masked_lab_knows_no_masked_value(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    event = {"number": 1, "country": "france", "email": "ada@example.org"}
    await push(settings, DeadLetterEntry(payload=json.dumps(event).encode(), channel="parcels"))
    with Lab(settings, mask="email") as lab:
        letters: DeadLetters = await shown(lab)
        fields: Any = await letters.aio.fields("matching")
        assert fields.at["email", "values"] == {'"***"': 1}
        copy: Any = await letters.aio.fix(
            "matching", keep=True, python="event['to'] = event['email']"
        )
        assert copy.attrs["refused"] == 1
        assert "masked here" in copy["why"].iloc[0]
        assert letters.edits == {}
        kept = await letters.aio.fix("matching", keep=True, map=CODES)
        for text in (copy.to_string(), kept.to_string(), repr(letters.edits)):
            assert "ada@" not in text
        [edit] = letters.edits.values()
        assert "ada@" not in edit.diff
        await letters.aio.plan("matching")
        await letters.aio.run(word="nobody")
    assert await payloads(nc, settings) == [event | {"country": "FR"}]


async def test_the_panel_fixes_what_is_chosen(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *(parcel(n, "france" if n % 3 else "italy") for n in range(9)))
    letters = await shown(lab)
    view = letters.view()
    panel, step = view.fix, view.fix.editor
    view.flush()
    elsewhere = drawn_elsewhere(view, panel.reading, panel.message, panel.show, panel.keep)
    view.tabs.selected_index = view.tabs.children.index(panel.box)
    panel.which.control.value = "matching"
    await until(lambda: "country (9)" in dict(step.field.options))
    assert not elsewhere
    step.field.value = "country"
    view.flush()
    labels = [each.description for each in step.values.children]
    assert labels == ['"france" (6)', '"italy" (3)', "Others"]
    for each, code in zip(step.values.children, ("FR", "IT"), strict=False):
        each.value = code
    panel.show.click()
    await until(lambda: len(panel.table.frame) == 2)
    assert panel.table.frame["after"].tolist() == ['"FR"', '"IT"']
    await until(lambda: "9 of 9 entries would change" in panel.message.value)
    assert letters.edits == {}
    await until(lambda: not panel.keep.disabled)

    step.action.value = "set"
    step.field.value, step.name.value, step.value.value = "\0", "checked.by", "me"
    panel.add.click()
    await until(lambda: len(panel.list.children) == 2)
    await until(lambda: panel.keep.disabled)  # what is shown is not what is asked for
    assert 'set checked.by to "me"' in panel.list.children[1].children[0].value.replace(
        "&quot;", '"'
    )
    panel.list.children[1].children[1].click()
    await until(lambda: len(panel.list.children) == 1 and not panel.keep.disabled)
    panel.keep.click()
    await until(lambda: len(letters.edits) == 9)
    await until(lambda: "9 entries changed; plan a replay" in panel.message.value)
    await until(lambda: "country (9)" in dict(step.field.options) and not panel.undo.disabled)
    panel.undo.click()
    await until(lambda: letters.edits == {})
    await until(lambda: "undone for 9 entries" in panel.message.value)

    step.action.value = "python"
    step.python.value = "event['x'] ="
    panel.show.click()
    await until(lambda: "python: line 1: invalid syntax" in panel.message.value)
    assert panel.list.children == ()


async def test_entries_that_leave_meanwhile_are_counted(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    pushed = [parcel(number, "france") for number in range(3)]
    await push(settings, *pushed)
    letters = await shown(lab)
    async with NatsDLQ(settings) as dlq:
        await dlq.ack(pushed[0].entry_id)
    frame: Any = await letters.aio.fix([each.entry_id for each in pushed], map=CODES)
    assert (frame.attrs["changed"], frame.attrs["gone"]) == (2, 1)
