"""Dead letters in a notebook, on a real queue: looking, deciding, replaying."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource
from varco_nats_widgets import Lab
from varco_nats_widgets._session import background
from varco_nats_widgets.dead_letters import (
    Canary,
    ConfirmationError,
    DeadLetterNotFoundError,
    DeadLetters,
    InvalidPayloadError,
    _dead_letters,
)
from varco_nats_widgets.dead_letters._reader import DlqReader
from varco_nats_widgets.dead_letters._words import count_of, number_of, report_words, word_and_count
from varco_nats_widgets.replays import plan_frame, report_frame

from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ReplayRefusedError, ServerUnreachableError
from varco_nats.replay import ReplayControl, Replayer, ReplayOutcome

START = datetime(2026, 5, 4, 8, tzinfo=UTC)
HOSTILE = '<img src=x onerror="x()"> $x^2$ =cmd()'


class LetterOrder(Event):
    __event_type__ = "letter.order"

    number: int
    total: float = 1.0
    customer: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it


class LetterRefund(Event):
    __event_type__ = "letter.refund"

    number: int


@pytest.fixture
def lab(settings: NatsEventBusSettings) -> Iterator[Lab]:
    with Lab(settings) as opened:
        yield opened


def entry(number: int, **fields: Any) -> DeadLetterEntry:
    """Every third one fails for another reason, in another channel."""
    odd = number % 3 == 0
    values: dict[str, Any] = {
        "event": LetterOrder(number=number, total=number * 1.5, customer={"name": "Ada"}),
        "channel": "payments" if odd else "orders",
        "handler_name": "Shop.on_payment" if odd else "Shop.on_order",
        "error_type": "KeyError" if odd else "TimeoutError",
        "error_message": f"'k{number}'" if odd else f"no answer for o-{number}",
        "attempts": 3,
        "first_failed_at": START + timedelta(minutes=number),
        "last_failed_at": START + timedelta(minutes=number, seconds=5),
    }
    return DeadLetterEntry(**(values | fields))


async def push(settings: NatsEventBusSettings, *entries: DeadLetterEntry) -> None:
    async with NatsDLQ(settings) as dlq:
        for one in entries:
            await dlq.push(one)


def entries(count: int) -> list[DeadLetterEntry]:
    return [entry(number) for number in range(1, count + 1)]


async def shown(lab: Lab, **filters: Any) -> DeadLetters:
    letters = lab.dead_letters
    await letters.aio.filter(**filters)
    return letters


def numbers(frame: pd.DataFrame) -> list[int]:
    return [int(number) for number in frame["data.number"]]


async def payloads(nc: Client, settings: NatsEventBusSettings) -> list[dict[str, Any]]:
    """What is stored in the channels, oldest first."""
    js = nc.jetstream()
    try:
        state = (await js.stream_info(settings.stream_name)).state
    except NotFoundError:
        return []
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await js.get_msg(settings.stream_name, seq)
        found.append(json.loads(message.data or b""))
    return found


# Looking


async def test_a_frame_of_what_failed(lab: Lab, settings: NatsEventBusSettings) -> None:
    pushed = entries(7)
    await push(settings, *pushed)
    frame = await lab.dead_letters.aio.frame()
    assert frame.index.tolist() == [str(one.entry_id) for one in pushed]
    assert numbers(frame) == list(range(1, 8))
    assert frame["data.customer.name"].tolist() == ["Ada"] * 7
    assert frame["error_message"].tolist()[1:3] == ["no answer for o-2", "'k3'"]
    assert frame["last_failed_at"].tolist()[0] == START + timedelta(minutes=1, seconds=5)
    assert frame.attrs["completeness"] == {
        "expected": 7,
        "loaded": 7,
        "filtered": 0,
        "gaps": 0,
        "truncated_by": None,
    }
    plain = await asyncio.to_thread(lab.dead_letters.frame)
    pd.testing.assert_frame_equal(plain.drop(columns="age"), frame.drop(columns="age"))
    assert await lab.dead_letters.aio.count() == 7
    assert repr(lab.dead_letters) == f"DeadLetters({settings.stream_name}-dlq)"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"channel": "payments"}, [3, 6, 9]),
        ({"channel": ["payments", "orders"], "error_type": "KeyError"}, [3, 6, 9, 12]),
        ({"channel": "nowhere"}, []),
        ({"handler": "Shop.on_order", "limit": 2}, [1, 2]),
        ({"error": "O-1"}, [1, 10, 11]),
        ({"event_type": LetterRefund}, [11]),
        ({"tenant_id": "t"}, [12]),
        ({"text": "ada", "until": START + timedelta(minutes=3)}, [1, 2]),
        ({"since": START + timedelta(minutes=9)}, [9, 10, 11, 12]),
        ({"source": "outbox_relay"}, [11]),
        ({"limit": 3, "newest_first": True}, [12, 11, 10]),
        ({"channel": "payments", "limit": 2, "newest_first": True}, [9, 6]),
        ({"newest_first": True}, list(range(12, 0, -1))),
    ],
)
async def test_filters(
    lab: Lab, settings: NatsEventBusSettings, given: dict[str, Any], found: list[int]
) -> None:
    await push(
        settings,
        *entries(10),
        entry(11, event=LetterRefund(number=11), source=DeadLetterSource.OUTBOX_RELAY),
        entry(12, tenant_id="t", channel="orders"),
    )
    frame = await lab.dead_letters.aio.frame(**given)
    assert numbers(frame) == found if found else frame.empty
    completeness = frame.attrs["completeness"]
    assert completeness["gaps"] == 0
    assert completeness["truncated_by"] == ("limit" if "limit" in given else None)


async def test_reading_backwards_over_many_windows(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, entry(0))
    stream = f"{settings.stream_name}-dlq"
    js = nc.jetstream()
    acks = [
        await js.publish_async(f"{settings.subject_prefix}-dlq.{uuid4()}.orders", b'{"n": %d}' % n)
        for n in range(2500)
    ]
    await asyncio.gather(*acks)
    removals = (
        nc.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", b'{"seq": %d, "no_erase": true}' % seq)
        for seq in range(600, 2300)
        if seq % 500
    )
    await asyncio.gather(*removals)
    letters = lab.dead_letters.aio
    forwards = await letters.frame()
    backwards = await letters.frame(newest_first=True)
    assert backwards.index.tolist() == forwards.index.tolist()[::-1]
    assert len(forwards) == (await js.stream_info(stream)).state.messages
    assert (await letters.groups())["count"].sum() == len(forwards)


async def test_looking_takes_nothing_and_sees_what_is_leased(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    pushed = entries(6)
    async with NatsDLQ(settings) as dlq:
        for one in pushed:
            await dlq.push(one)
        leased = await dlq.pop_batch(limit=2)
        letters = await shown(lab)
        letters.watch()
        frame = await letters.aio.frame()
        await letters.aio.groups()
        await letters.aio.entry(frame.index[0])
        await letters.aio.open(frame.index[5])
        assert len(frame) == 6
        rest = await dlq.pop_batch(limit=10)
        assert {one.entry_id for one in leased + rest} == {one.entry_id for one in pushed}
        for consumer in await nc.jetstream().consumers_info(f"{settings.stream_name}-dlq"):
            assert consumer.name == "__varco_dlq_relay__"
            assert consumer.num_redelivered == 0
        assert await dlq.count() == 6


async def test_a_queue_that_does_not_exist_is_empty_and_stays_so(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    letters = await shown(lab)
    frame = await letters.aio.frame()
    assert frame.empty
    assert {"channel", "handler", "error_message"} <= set(frame.columns)
    assert (await letters.aio.groups()).empty
    assert (await letters.aio.replays()).empty
    assert (await lab.aio.replays()).empty
    with pytest.raises(LookupError, match="nothing was replayed yet"):
        await lab.aio.replays("x")
    with pytest.raises(DeadLetterNotFoundError):
        await letters.aio.entry(uuid4())
    assert letters.entries == 0
    names = [info.config.name for info in await nc.jetstream().streams_info()]
    assert f"{settings.stream_name}-dlq" not in names
    assert f"{settings.stream_name}-replays" not in names


async def test_groups(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(9))
    groups = await lab.dead_letters.aio.groups()
    assert groups["count"].tolist() == [6, 3]
    assert groups["message"].tolist() == ["no answer for o-<n>", "<value>"]
    assert groups["channels"].tolist() == [["orders"], ["payments"]]
    frame = await lab.dead_letters.aio.frame(group=groups.index[1])
    assert numbers(frame) == [3, 6, 9]
    assert (await lab.dead_letters.aio.groups(channel="payments"))["share"].tolist() == [1.0]


async def test_an_entry_whole(lab: Lab, settings: NatsEventBusSettings, nc: Client) -> None:
    bus = lab.bus
    event = LetterOrder(number=1)
    ack = await bus.publish_acked(event, channel="orders")
    gone = await bus.publish_acked(LetterOrder(number=2), channel="orders")
    await nc.jetstream().delete_msg(settings.stream_name, gone.seq)
    reference = f"{settings.stream_name}:{ack.seq}"
    pushed = [
        entry(1, event=event, source_ref=reference, tenant_id="t"),
        entry(2, event=event, source_ref=reference, handler_name="other"),
        entry(4, source_ref=reference),
        entry(5, source_ref=f"{settings.stream_name}:{gone.seq}"),
        entry(6, source_ref="job-17"),
        entry(7),
    ]
    await push(settings, *pushed)
    letters = lab.dead_letters.aio
    ids = [one.entry_id for one in pushed]
    first = await letters.entry(ids[0])
    assert first.original == "stored"
    assert first.copies == (ids[1],)
    assert first.payload["number"] == 1
    assert json.loads(first.data) == first.payload
    assert (first.event_type, first.event_id) == ("letter.order", str(event.event_id))
    assert (first.channel, first.handler, first.attempts) == ("orders", "Shop.on_order", 3)
    assert (first.tenant_id, first.replay_count, first.problem) == ("t", 0, None)
    assert repr(first) == f"DeadLetter({ids[0]})"
    originals = [(await letters.entry(str(one))).original for one in ids[2:]]
    assert originals == [
        f"another event is stored there now: {event.event_id}",
        "no longer stored",
        "no longer stored",
        "",
    ]
    with pytest.raises(DeadLetterNotFoundError, match="no dead letter 0000"):
        await letters.entry(UUID(int=1))
    with pytest.raises(ValueError, match="'x' is no entry's id"):
        await letters.entry("x")


async def test_wrong_arguments_are_refused(lab: Lab) -> None:
    letters = lab.dead_letters
    with pytest.raises(TypeError, match="there is no filter chanel"):
        await letters.aio.frame(chanel="x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="limit=0"):
        await letters.aio.frame(limit=0)
    with pytest.raises(ValueError, match="say which entries"):
        await letters.aio.plan()
    with pytest.raises(ValueError, match="not both"):
        await letters.aio.plan("matching", channel="x")
    with pytest.raises(ValueError, match="no row is chosen"):
        await letters.aio.plan("selected")
    with pytest.raises(ValueError, match="'everything': write 'selected'"):
        await letters.aio.plan("everything")
    with pytest.raises(TypeError, match="there is no filter rat"):
        await letters.aio.plan([uuid4()], rat=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="there is no plan yet"):
        await letters.aio.run()
    with pytest.raises(TypeError, match="takes a NatsDLQ or a Lab, not str"):
        DeadLetters("orders")  # type: ignore[arg-type]


# The widget's model


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
    assert set(view.entries.selected) == {one[:8] for one in picked}
    assert which.control.label == "3 selected rows"
    await letters.aio.discard(picked, word="discard")
    view.flush()
    assert letters.selected_ids == []
    assert which.entries is None
    assert view.replay.plan.disabled
    assert view.keep.discard.disabled
    assert len({*letters.page.index} & {*picked}) == 0


async def test_filters_that_no_control_can_show_are_shown_and_removed(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    now = datetime.now(UTC)
    await push(settings, *(entry(n, last_failed_at=now) for n in range(1, 8)))
    letters = DeadLetters(lab)
    await letters.aio.filter(last="12h", channel=["orders", "payments"], event_type=LetterOrder)
    view = letters.view()
    view.flush()
    assert letters.choices == {
        "channel": {"orders": 5, "payments": 2},
        "event_type": {"letter.order": 7},
        "handler": {"Shop.on_order": 5, "Shop.on_payment": 2},
        "error_type": {"KeyError": 2, "TimeoutError": 5},
    }
    assert [one.description for one in view.others.children] == [
        "last: 12h",
        "channel: orders, payments",
        "event_type: letter.order",
    ]
    assert {control.value for control in view.filters.values()} == {""}
    assert ("Shop.on_payment (2)", "Shop.on_payment") in view.filters["handler"].options
    view.others.children[1].click()
    await until(lambda: letters.filters == {"last": "12h", "event_type": LetterOrder})
    view.filters["since"].value = "1h"  # instead of last=
    await until(lambda: letters.filters == {"event_type": LetterOrder, "since": "1h"})
    await until(lambda: not letters.busy)
    assert (letters.matching, letters.error) == (7, "")


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
    monkeypatch.setattr(background, "_WATCH_SECONDS", 0.1)
    pushed = entries(12)
    async with NatsDLQ(settings) as dlq:
        for one in pushed[:9]:
            await dlq.push(one)
        letters = await shown(lab)
        seen: list[int] = []
        letters.observe(lambda change: seen.append(change["new"]), "entries")
        letters.watch()
        for one in pushed[9:]:
            await dlq.push(one)
        await until(lambda: letters.matching == 12)
        for one in pushed[2:6]:
            await dlq.ack(one.entry_id)
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
    with pytest.raises(InvalidPayloadError, match="a JSON array, not an object"):
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
    assert letters._start(letters.aio.refresh) is None
    assert "closed" in letters.error


# Replaying


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
    report = await aio.run()
    assert letters.report is report
    assert report.state == "done"
    assert letters.report_table["outcome"].tolist() == ["replayed"] * 8
    assert letters.report_table["removed"].all()
    assert progress[-1] == ("done", 8, 8)
    stored = await payloads(nc, settings)
    assert [one["number"] for one in stored] == [1, 2, 4, 5, 7, 8, 10, 11]
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
    view.tabs.selected_index = 4
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
        for one in pushed[2:]:
            await dlq.push(one)  # nobody watches
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
    report = await letters.aio.run(plan)
    assert report_words(report) == "nothing done: 1 skipped"
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
        await aio.run()
    await aio.run(plan)  # as planned, and what was edited since is not forgotten
    assert [one["total"] for one in await payloads(nc, settings)] == [1.5]
    assert letters.edits == {first: edit}


async def test_two_people_replay_one_queue(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(60))
    one, other = await shown(lab), DeadLetters(lab)
    await other.aio.filter()
    for letters in (one, other):
        await letters.aio.plan("matching")
    reports = await asyncio.gather(one.aio.run(rate=200), other.aio.run(rate=200))
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
    running = asyncio.create_task(letters.aio.run(rate=40, progress=lambda *at: seen.append(at)))
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


async def test_many_entries_need_their_number(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *(entry(number) for number in range(1, 152)))
    letters = await shown(lab)
    aio = letters.aio
    plan = await aio.plan("matching")
    for given in (None, 150, 0):
        with pytest.raises(ConfirmationError) as refused:
            await aio.run(confirm=given)
        assert (refused.value.count, refused.value.given) == (151, given)
    with pytest.raises(ConfirmationError):
        await aio.discard("matching", word="discard")
    assert await aio.count() == 151
    assert (await aio.replays()).empty
    assert (await aio.run(plan, confirm=151)).state == "done"
    assert await aio.count() == 0


async def test_a_run_is_paused_resumed_and_cancelled(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(60))
    letters = await shown(lab)
    await letters.aio.plan("matching")
    running = asyncio.create_task(letters.aio.run(rate=40))
    await until(lambda: letters.running and letters.run_progress[1] >= 5)
    with pytest.raises(RuntimeError, match="a run is under way"):
        await letters.aio.run()
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
    await letters.aio.run()
    stored = [one["number"] for one in await payloads(nc, settings)]
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
    lab: Lab, make_settings: Callable[..., NatsEventBusSettings]
) -> None:
    settings = make_settings(max_deliver=1)
    repaired = threading.Event()
    handled: list[int] = []

    async def fragile(event: LetterOrder) -> None:
        if not repaired.is_set():
            raise TimeoutError(f"no answer for o-{event.number}")
        handled.append(event.number)

    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(LetterOrder, fragile, channel="orders")
        for number in range(8):
            await bus.publish(LetterOrder(number=number), channel="orders")
        letters = lab.dead_letters
        await until(lambda: dlq_has(dlq, 8))
        await letters.aio.filter()
        assert letters.group_table["came_back"].tolist() == [0]
        await letters.aio.plan("matching")
        report = await letters.aio.run(canary=Canary(2, 5.0))
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
        await letters.aio.run(canary=Canary(2, 0.2))
        await until(lambda: len(handled) == 8)
        assert sorted(handled) == list(range(8))
        assert await dlq.count() == 0


async def dlq_has(dlq: NatsDLQ, count: int) -> bool:
    return await dlq.count() == count


# Discarding and exporting


async def test_nothing_is_discarded_without_a_word_or_an_export(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    aio = letters.aio
    with pytest.raises(ReplayRefusedError):
        await aio.discard(channel="payments")
    with pytest.raises(ReplayRefusedError):
        await aio.discard(channel="payments", word="yes")
    with pytest.raises(ReplayRefusedError, match="there is no"):
        await aio.discard(channel="payments", exported_to=tmp_path / "missing.csv")
    assert await aio.count() == 6
    exported = await aio.export(tmp_path / "dead.parquet", channel="payments")
    with pytest.raises(ReplayRefusedError):  # others were not exported
        await aio.discard("matching")
    await aio.export(tmp_path / "others.csv", channel="orders")
    with pytest.raises(ReplayRefusedError):  # no file has all of them
        await aio.discard("matching")
    report = await aio.discard(channel="payments", note="known")
    assert letters.report_table["outcome"].tolist() == ["discarded"] * 2
    assert report.state == "done"
    await aio.discard("matching", word="discard", confirm=4)
    assert await aio.count() == 0
    log = await aio.replays()
    assert log["kind"].tolist() == ["discard", "discard"]
    assert log["note"].tolist()[1] == "known"
    assert exported.rows == 2


async def test_only_what_is_in_the_file_is_discarded_without_a_word(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(9))
    aio = (await shown(lab)).aio
    ids = (await aio.frame()).index.tolist()
    path = tmp_path / "dead.csv"
    await aio.export(path, ids[:3])
    await aio.export(path, ids[3:6], overwrite=True)
    with pytest.raises(ReplayRefusedError):
        await aio.discard(ids[:3])
    with pytest.raises(ReplayRefusedError, match=r"3 of 3 dead letters are not in 'dead\.csv'"):
        await aio.discard(ids[:3], exported_to=path)
    whole = await asyncio.to_thread(path.read_bytes)
    for spoil in (lambda: path.write_bytes(whole[:-10]), path.unlink):
        await aio.export(path, ids[3:6], overwrite=True)
        await asyncio.to_thread(spoil)
        with pytest.raises(ReplayRefusedError, match="not as it was exported"):
            await aio.discard(ids[3:6])
        with pytest.raises(ReplayRefusedError):
            await aio.discard(ids[3:6], exported_to=path)
    assert await aio.count() == 9
    await aio.export(path, ids[3:6], overwrite=True)
    await aio.discard(ids[3:5])
    assert (await aio.frame()).index.tolist() == ids[:3] + ids[5:]


async def test_an_export_has_every_byte(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, tmp_path: Path
) -> None:
    pushed = [
        entry(1, error_message=HOSTILE, handler_name="=1+1"),
        entry(2, event=None, payload=b"\xff\x00"),
        entry(4, event=None, payload=b'{"total": "text", "number": [1, {"a": 2}]}'),
    ]
    await push(settings, *pushed)
    js, stream = nc.jetstream(), f"{settings.stream_name}-dlq"
    await js.publish(f"{settings.subject_prefix}-dlq.{uuid4()}.orders", b"no dead letter")
    stored = [(await js.get_msg(stream, seq)).data for seq in range(1, 5)]
    aio = lab.dead_letters.aio
    for suffix in ("parquet", "ndjson", "csv"):
        done = await aio.export(tmp_path / f"dead.{suffix}", channel=["orders"])
        assert repr(done) == f"DeadLetterExport(dead.{suffix}: 4 entries)"
        assert done.bytes == done.path.stat().st_size
    frame = pd.read_parquet(tmp_path / "dead.parquet")
    assert frame["entry"].tolist() == stored
    assert frame["error_message"].tolist()[0] == HOSTILE
    assert frame["data.total"].tolist()[2] == '"text"'
    lines = (tmp_path / "dead.ndjson").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [decoded(row["entry"]) for row in rows] == stored
    assert rows[2]["data.number"] == [1, {"a": 2}]
    cells = pd.read_csv(tmp_path / "dead.csv", encoding="utf-8-sig")
    assert [decoded(cell) for cell in cells["entry"]] == stored
    assert cells["handler"].tolist()[0] == "'=1+1"

    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        await aio.export(tmp_path / "dead.csv", channel="orders")
    with pytest.raises(ValueError, match=r"use \.parquet, \.ndjson, \.csv"):
        await aio.export(tmp_path / "dead.xlsx", channel="orders")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        await aio.export(tmp_path / "no" / "dead.csv", channel="orders")
    assert (await aio.export(tmp_path / "dead.csv", channel="none", overwrite=True)).rows == 0
    await asyncio.to_thread((tmp_path / "folder.csv").mkdir)
    with pytest.raises(OSError, match="folder"):
        await aio.export(tmp_path / "folder.csv", channel="orders", overwrite=True)
    names = await asyncio.to_thread(os.listdir, tmp_path)
    assert sorted(names) == ["dead.csv", "dead.ndjson", "dead.parquet", "folder.csv"]


def decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


# Another queue, another place


async def test_a_queue_of_the_users_own(
    make_settings: Callable[..., NatsEventBusSettings], nc: Client
) -> None:
    settings = make_settings()
    prefix = settings.subject_prefix
    other = make_settings(stream_name=f"{prefix}-other", subject_prefix=f"{prefix}-other")
    async with (
        NatsDLQ(settings, dlq_stream=f"{prefix}-mine", dlq_subject=f"{prefix}-mine") as dlq,
        NatsEventBus(other) as bus,
    ):
        for one in entries(3):
            await dlq.push(one)
        letters = await asyncio.to_thread(DeadLetters, dlq, bus)
        try:
            assert repr(letters) == f"DeadLetters({prefix}-mine)"
            assert numbers(await letters.aio.frame()) == [1, 2, 3]
            await letters.aio.plan("matching")
            await letters.aio.run()
        finally:
            await asyncio.to_thread(letters.close)
        assert await dlq.count() == 0
    stored = await payloads(nc, other)
    assert [one["number"] for one in stored] == [1, 2, 3]
    assert await payloads(nc, settings) == []
    await asyncio.to_thread(letters.close)
    with pytest.raises(RuntimeError, match="closed"):
        await letters.aio.frame()


async def test_a_canary_where_the_bus_is_the_queues_own(
    make_settings: Callable[..., NatsEventBusSettings], nc: Client
) -> None:
    settings = make_settings()
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings.model_copy()) as bus:
        for one in entries(3):
            await dlq.push(one)
        letters = await asyncio.to_thread(DeadLetters, dlq, bus)
        try:
            await letters.aio.plan("matching")
            assert not letters.plan_elsewhere
            report = await letters.aio.run(canary=Canary(1, 0.1))
        finally:
            await asyncio.to_thread(letters.close)
        assert (report.state, await dlq.count()) == ("done", 0)


async def test_a_plan_goes_to_another_lab(
    lab: Lab, make_settings: Callable[..., NatsEventBusSettings], nc: Client
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
        assert f"to orders, 1 to payments of {prefix}-sand" in view.replay.said.value
        assert view.replay.canary.disabled
        await letters.aio.run(plan)
    finally:
        await sandbox.aio.close()
    assert [one["number"] for one in await payloads(nc, other)] == [1, 2, 3]
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
    slow = {"to": "slow", "rate": 40, "control": control}
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


async def test_history_goes_to_another_lab(
    lab: Lab, make_settings: Callable[..., NatsEventBusSettings]
) -> None:
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


# The view, without a browser


async def test_the_view_draws_the_model_as_text(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *(entry(n, error_message=HOSTILE, channel=HOSTILE) for n in range(1, 4)))
    letters = await shown(lab)
    view = letters.view()
    assert letters.view() is view
    await letters.aio.open(letters.page.index[0])
    view.flush()
    assert view.status.place == "3 dead letters · 2 groups"
    assert "1 to 3 of 3" in view.place.value
    assert view.letter.message["title"] == f"letter.order of {HOSTILE}"
    bundle = letters._repr_mimebundle_()
    assert bundle["text/plain"] == repr(letters)
    for markup in (bundle["text/html"], view.replay.said.value, view.place.value):
        assert "<img" not in markup
        assert "$x" not in markup
    assert "&lt;img" in bundle["text/html"]
    opened = letters.letter
    assert opened is not None
    await letters.aio.edit(opened.entry_id, {**opened.payload, "customer": {"name": HOSTILE}})
    view.flush()
    assert "&lt;img" in view.edit.diff.value
    assert "<img" not in view.edit.diff.value
    letters.close()


async def test_what_is_typed_and_not_kept_is_remembered(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(2))
    letters = await shown(lab)
    view = letters.view()
    first, second = letters.page.index
    await letters.aio.open(first)
    view.flush()
    view.edit.editor.value = draft = view.edit.editor.value.replace("3.0", "oops")
    view.flush()
    assert view.edit.drafts == 1
    assert "1 changed and not kept" in view.status.place
    await letters.aio.open(second)
    view.flush()
    assert "oops" not in view.edit.editor.value
    await letters.aio.open(first)
    view.flush()
    assert view.edit.editor.value == draft
    assert "changed and not kept: a replay sends it as it came" in view.edit.state.value
    view.edit.check.click()
    await until(lambda: "not JSON" in view.edit.said.value)
    assert view.edit.drafts == 1
    view.edit.editor.value = draft.replace("oops", "8.5")
    view.edit.check.click()
    await until(lambda: first in letters.edits)
    await until(lambda: view.edit.drafts == 0)
    view.edit.revert.click()
    await until(lambda: not letters.edits)
    await until(lambda: "as it came" in view.edit.state.value)
    assert "oops" not in view.edit.editor.value


async def test_many_are_run_and_discarded_by_hand_only_with_their_number(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *(entry(number) for number in range(1, 152)))
    letters = await shown(lab)
    view = letters.view()
    keep, replay = view.keep, view.replay
    view.flush()
    keep.which.control.value = replay.which.control.value = "matching"
    keep.confirm.value = "discard"
    keep.discard.click()
    await until(lambda: "type 151 beside the button" in keep.said.value)
    replay.plan.click()
    await until(lambda: letters.planned is not None)
    replay.dry_run.value = False
    replay.rate.value = "fast"
    replay.run.click()
    await until(lambda: "rate: 'fast' is no number" in replay.said.value.replace("&#x27;", "'"))
    assert await letters.aio.count() == 151
    replay.rate.value, replay.canary.value, replay.confirm.value = "", 0, "151"
    replay.run.click()
    await until(lambda: letters.report is not None)
    await until(lambda: replay.dry_run.value)
    assert await letters.aio.count() == 0


def test_what_people_type() -> None:
    assert [count_of(text) for text in ("", "40,000", " 40 000 ", "7")] == [None, 40_000, 40_000, 7]
    with pytest.raises(ValueError, match="'many' is no number"):
        count_of("many")
    assert (number_of("rate", ""), number_of("rate", "1,000.5")) == (None, 1000.5)
    with pytest.raises(ValueError, match="rate: 'fast' is no number"):
        number_of("rate", "fast")
    assert word_and_count("Discard 4,000") == ("discard", 4000)
    assert word_and_count("discard") == ("discard", None)
    assert word_and_count("12") == ("", 12)
